"""Bytes from outside, drawn by Hypothesis: parsers answer with their own errors, or not at all."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.crowdsky.answers import Answer, Reader, retry_after
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.settings import load_settings
from skyrelay_cloud_agent.condition_values import AgeUnknown, observed_at, value_at

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_YAML = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(str.encode),
    st.sampled_from([b"stacking: ", b"gateway: {port: ", b"telescopes: ["]).flatmap(
        lambda start: st.text(max_size=50).map(lambda rest: start + rest.encode())
    ),
)


@settings(max_examples=25)  # each builds the whole settings
@given(_YAML)
def test_any_configuration_is_taken_or_refused_by_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_bytes(content)
        with suppress(ConfigurationError):
            load_settings(config, {})


@pytest.mark.parametrize(
    "content", ["a: 2025-13-45", "a: " + "[" * 5000, "a: " + "9" * 5000, "a: *b", "? [a]\n: b"]
)
def test_yaml_that_python_stumbles_over_is_refused(content: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        load_settings(config, {})
    with pytest.raises(ConfigurationError):
        load_settings(None, {"SKYRELAY_STACKING__EXCLUDE": content.removeprefix("a: ")})


@given(st.integers(100, 599), st.binary(max_size=300), st.dictionaries(st.just("Retry-After"), st.text()))
def test_any_answer_of_crowdsky_has_a_typed_outcome(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    reader, answer = Reader("my_stacks"), Answer(status, headers, body)
    for read in (reader.document, reader.accepted, reader.token):
        with suppress(SkyrelayError):
            read(answer)
    wait = retry_after(headers)
    assert wait is None or wait.total_seconds() >= 0


@given(_JSON, st.text())
def test_any_reading_has_an_age_or_none(document: object, path: str) -> None:
    value_at(document, path)
    with suppress(AgeUnknown):
        assert observed_at(document, path).utcoffset() is not None
