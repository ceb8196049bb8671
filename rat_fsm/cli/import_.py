"""``rat-fsm import``: makes a log again of exported frames."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import click

from rat_fsm import exports
from rat_fsm.cli.app import Failure
from rat_fsm.cli.copied import show_copied
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN: Final = "-"


@click.command("import")
@click.argument("file")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def command(file: str, url: str, *, as_json: bool) -> None:
    """Put the frames in FILE, made by rat-fsm export --frames, into the log at URL.

    FILE is verified whole before anything is written: every hash, every chain, and that its end
    is there; - is stdin. The log is made if there is none. One that is there must hold the frames
    that come before those in FILE; those that it has already are compared and left. Nobody may be
    writing it. Only frames come back: of JSON Lines, Parquet and XES no chain can be made.
    """
    with _source(file) as source, progress("importing", None) as advance:
        copied = exports.import_frames(source, url, progress=advance)
    show_copied(Screen(), url, copied, as_json=as_json)


@contextlib.contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    """The file; what comes through a pipe is kept until it has been verified."""
    with contextlib.ExitStack() as stack:
        try:
            if file == STDIN:
                source = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
                shutil.copyfileobj(sys.stdin.buffer, source)
                source.seek(0)
            else:
                source = stack.enter_context(Path(file).open("rb"))
        except OSError as problem:
            raise Failure(f"cannot read {file}: {problem.strerror}") from problem
        if not source.seekable():
            raise Failure(f"{file} can be read only once: send it to stdin, and say -")
        yield source
