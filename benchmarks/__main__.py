"""Runs the benchmarks: ``python -m benchmarks [--quick] [--only NAME …]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.connections import memory, size, stats, threads
from benchmarks.durable import durable, record
from benchmarks.histories import history
from benchmarks.imports import imports
from benchmarks.machines import machines
from benchmarks.measure import Scale, machine
from benchmarks.replaying import opening, replay
from benchmarks.report import show, write_json, write_markdown
from benchmarks.serverload import server
from benchmarks.serving import chunk, request
from benchmarks.stores import stores
from benchmarks.stores_lag import lag
from benchmarks.timetravel import travel
from benchmarks.twins import twins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.measure import Result

ROWS: Final[Mapping[str, Callable[[Scale], list[Result]]]] = {
    "durable": durable,
    "record": record,
    "replay": replay,
    "machine": machines,
    "twins": twins,
    "memory": memory,
    "stats": stats,
    "bytes": size,
    "threads": threads,
    "open": opening,
    "travel": travel,
    "history": history,
    "chunk": chunk,
    "request": request,
    "server": server,
    "stores": stores,
    "lag": lag,
    "import": imports,
}


def arguments(given: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test of some seconds")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(ROWS),
        metavar="NAME",
        help="these rows: " + ", ".join(ROWS),
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the README's section")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="where the files go: on a real disk (%(default)s)",
    )
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Runs the rows that were asked for and says what came out."""
    options = arguments(given)
    scale = Scale(options.quick, options.directory)
    results: list[Result] = []
    for name in options.only or ROWS:
        print(f"{name} …", file=sys.stderr, flush=True)
        results += ROWS[name](scale)
    facts = machine(scale.directory)
    show(facts, results)
    if options.json is not None:
        write_json(options.json, facts, results)
    if options.markdown is not None:
        write_markdown(options.markdown, facts, results)


if __name__ == "__main__":
    main(sys.argv[1:])
