"""Writes the diagrams of the two lifecycles into a folder, or checks that they are current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rat_fsm.diagrams.notations import dot, mermaid
from rat_fsm.diagrams.svg import svg
from rat_fsm.lifecycles import CONNECTION, NODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def files() -> dict[str, str]:
    """File name → content of every diagram."""
    drawers = {"mmd": mermaid, "dot": dot, "svg": svg}
    return {
        f"{lifecycle.name}.{ending}": draw(lifecycle)
        for lifecycle in (CONNECTION, NODE)
        for ending, draw in drawers.items()
    }


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Writes files, making the folder where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")


def stale(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """The names of the files that are missing or different."""
    found = {name: folder / name for name in contents}
    return [
        name
        for name, path in found.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != contents[name]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 1 where ``--check`` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m rat_fsm.diagrams", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("diagrams"))
    parser.add_argument("--check", action="store_true", help="write nothing, name stale files")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.folder, files())
        return 0
    names = stale(options.folder, files())
    for name in names:
        sys.stderr.write(f"{options.folder / name} is stale: run python -m rat_fsm.diagrams\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
