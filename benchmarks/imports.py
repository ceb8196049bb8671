"""Row ``import``: what ``import rat_fsm`` costs a program that starts."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.measure import Measure, seconds

if TYPE_CHECKING:
    from benchmarks.measure import Result, Scale


def imports(scale: Scale) -> list[Result]:
    """The median difference between starting Python with the import and without, in turns."""
    _start("import rat_fsm")  # compiles what is not compiled yet
    pairs = [
        (seconds(lambda: _start("pass")), seconds(lambda: _start("import rat_fsm")))
        for _ in range(scale.of(25, 5))
    ]
    bare = statistics.median(without for without, _ in pairs)
    added = statistics.median(with_it - without for without, with_it in pairs)
    note = f"Python itself starts in {bare * 1000:.0f} ms"
    return [Measure("import", "import rat_fsm", added * 1000, "ms", note=note)]


def _start(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter
