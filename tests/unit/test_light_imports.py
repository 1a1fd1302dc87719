"""Importing the shared library costs little: astropy and numpy come only to who computes with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
within = getattr(package, "__path__", [])
for name in [found.name for found in pkgutil.walk_packages(within, package.__name__ + ".")]:
    if ".migrations." not in name:
        importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    "package",
    ["skyrelay.service", "skyrelay.settings", "skyrelay.domain", "skyrelay.queue", "skyrelay.store"],
)
def test_what_every_process_imports_is_light(package: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, package], capture_output=True, text=True, check=True
    )
    imported = set(ran.stdout.split())
    assert "skyrelay" in imported
    assert imported & {"astropy", "astropy_healpix", "numpy", "smbclient", "fastapi"} == set()


def test_the_domain_brings_nothing_along() -> None:
    before, after = (
        subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        for code, arguments in (
            ("import sys; print(*sys.modules)", []),
            (_IMPORT_ALL, ["skyrelay.domain"]),
        )
    )
    brought = set(after.stdout.split()) - set(before.stdout.split()) - sys.stdlib_module_names
    assert brought <= {"skyrelay"}


def test_logging_does_not_load_what_draws_tracebacks_and_leaves_it_to_who_wants_it() -> None:
    code = "import sys, skyrelay.logs; print('rich' in sys.modules); import rich.console; print(bool(rich))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def test_no_service_loads_another_database_or_cryptography_before_it_needs_them() -> None:
    code = (
        "import sys, skyrelay_gateway.service, skyrelay_uploader.worker, skyrelay_stacker.scheduler; "
        "print(*(name in sys.modules for name in ('sqlalchemy', 'sqlalchemy.dialects.postgresql', "
        "'cryptography.fernet')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False", "False"]


def test_services_ask_servers_without_loading_what_guesses_encodings() -> None:
    code = (
        "import sys; from skyrelay.light_imports import read_answers_without_guessing as ahead; ahead(); "
        "import requests, charset_normalizer"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Warning" not in ran.stderr
    assert "ModuleNotFoundError: import of charset_normalizer halted" in ran.stderr
