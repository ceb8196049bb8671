"""``rat-fsm verify``: recomputes the hash chains of a log and names what is damaged or missing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click
import msgspec

from rat_fsm.cli.app import FOUND
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.text import counted
from rat_fsm.errors import DamagedFrame, InvalidArgument, StoreUnreadable
from rat_fsm.log.heads import head_path, keep_heads, read_heads, verify_log
from rat_fsm.replay.sources import last_frame, opened

if TYPE_CHECKING:
    from rat_fsm.log.heads import Problem, VerifyReport
    from rat_fsm.stores.port import Store

SHOWN: Final = 20


@click.command("verify")
@click.argument("url")
@click.option(
    "--head/--no-head",
    default=True,
    help="Hold the log against the head kept beside it, if there is one (the default), or not.",
)
@click.option("--keep-head", is_flag=True, help="Keep a head beside the log if it is sound.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@click.pass_context
def command(ctx: click.Context, url: str, *, head: bool, keep_head: bool, as_json: bool) -> None:
    """Recompute every hash chain of the log at URL; exit with 1 if anything is wrong.

    The chains show any damage inside the frames that are there. Frames missing at the end show
    against a head only: the last frame of every writer, kept in FILE.head by --keep-head. Keep
    one from time to time, and a copy of it elsewhere.
    """
    screen = Screen()
    with opened(url) as store:
        kept = _kept(store) if head else None
        report = _verify(store, kept)
        if keep_head and report.sound:
            kept = _keep(store)
        if as_json:
            screen.json(_as_json(report, kept))
        else:
            ReportLines(screen).show(name_of(store), report, kept)
    if not report.sound:
        ctx.exit(FOUND)


def _beside(store: Store) -> Path | None:
    """Where the head of a log that is a file is kept."""
    path = getattr(store, "path", None)
    return head_path(path) if isinstance(path, Path) else None


def _kept(store: Store) -> Path | None:
    path = _beside(store)
    return path if path is not None and path.exists() else None


def _verify(store: Store, kept: Path | None) -> VerifyReport:
    heads = None if kept is None else read_heads(kept)
    total = None
    with contextlib.suppress(DamagedFrame):  # it will be found again, and named
        total = last_frame(store)
    with progress("verifying", total) as advance:
        return verify_log(store, heads, advance)


def _keep(store: Store) -> Path:
    path = _beside(store)
    if path is None:
        raise InvalidArgument(f"{name_of(store)} is no file, so nothing can be kept beside it")
    try:
        keep_heads(store, path)
    except StoreUnreadable:
        raise
    except OSError as problem:
        raise StoreUnreadable(f"cannot keep {path}: {problem.strerror}") from problem
    return path


def _as_json(report: VerifyReport, kept: Path | None) -> bytes:
    head = None if kept is None else str(kept)
    return msgspec.json.encode({"sound": report.sound, **attrs.asdict(report), "head": head})


class ReportLines:
    """Writes what verifying found, the first bad frame first."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, name: str, report: VerifyReport, kept: Path | None) -> None:
        """Writes it all; ``kept`` is the head that the log was held against."""
        verdict = ("sound", "bold green") if report.sound else ("DAMAGED", "bold red")
        self._screen.line((f"{name} is ", "bold"), verdict)
        for problem in report.problems[:SHOWN]:
            self._screen.row((problem.writer or "-", 4, "bold"), rest=(_told(problem), "red"))
        more = len(report.problems) - SHOWN
        if more > 0:
            self._screen.line((f"and {counted(more, 'more problem')}, see --json", "red"))
        found = f"{counted(report.frames, 'frame')} with {counted(report.events, 'event')}"
        label = "every hash recomputed" if report.sound else "sound before that"
        who = counted(len(report.writers), "writer")
        self._screen.line((f"{label}: {found} of {who}", ""))
        self._head(kept)

    def _head(self, kept: Path | None) -> None:
        if kept is not None:
            self._screen.line((f"held against the head kept in {kept}", ""))
        else:
            self._screen.line(
                ("held against no head: what is missing at the end would not show", "yellow"),
                (" (see --keep-head)", "dim"),
            )


def _told(problem: Problem) -> str:
    """Its message, which most often says where it is."""
    frame = f"frame {problem.position}"
    return (
        problem.message
        if str(problem.position) in problem.message
        else f"{frame}: {problem.message}"
    )
