"""``python -m skyrelay.cli`` is ``skyrelay``."""

from skyrelay.cli import main

main()
