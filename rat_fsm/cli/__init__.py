"""The command line `rat-fsm`: reads the logs that servers write, while they write them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from rat_fsm.errors import MissingExtra

__all__ = ["main"]

INTERRUPTED = 130


def main() -> int:
    """Runs the command line on the arguments of this process.

    Returns:
        The exit code, where it does not raise SystemExit with it: 0 is well, 1 is a finding
        (a bad frame, a difference), 2 is an error, 130 is Ctrl-C.
    """
    if not (find_spec("click") and find_spec("rich")):
        print(f"error: {MissingExtra('the command line', 'cli')}", file=sys.stderr)  # noqa: T201 - click is what is missing
        return 2
    try:
        from rat_fsm.cli.app import cli

        cli.main(prog_name="rat-fsm")
    except KeyboardInterrupt:  # while importing; from then on the group answers
        return INTERRUPTED
