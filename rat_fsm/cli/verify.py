"""``rat-fsm verify``: recomputes the hash chains of a log and names what is damaged or missing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from rat_fsm.audit import witnesses_of
from rat_fsm.cli.app import FOUND
from rat_fsm.cli.evidence import KeptCheckpoint
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.text import counted
from rat_fsm.errors import DamagedFrame, InvalidArgument, StoreUnreadable
from rat_fsm.log.heads import KeptHeads, head_path, keep_heads, read_heads
from rat_fsm.log.snapshots import UNKNOWN_LIFECYCLES, RefoldedSnapshots
from rat_fsm.log.verifying import verify_log
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.log.verifying import Problem, VerifyReport, Witness
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

SHOWN: Final = 20


@click.command("verify")
@click.argument("url")
@click.option(
    "--head/--no-head",
    default=True,
    help="Hold the log against the head kept beside it, if there is one (the default), or not.",
)
@click.option("--keep-head", is_flag=True, help="Keep a head beside the log if it is sound.")
@click.option(
    "--head-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the head is kept instead; a log on a server has no place of its own for one.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prove that the log extends this checkpoint, which rat-fsm seal made.",
)
@click.option(
    "--public-key",
    metavar="KEY|FILE",
    help="Who must have signed the checkpoint: what rat-fsm key show prints, or a file with it.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@LIFECYCLES
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    *,
    head: bool,
    keep_head: bool,
    head_file: Path | None,
    checkpoint: Path | None,
    public_key: str | None,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
) -> None:
    """Recompute every hash chain of the log at URL; exit with 1 if anything is wrong.

    The chains show any damage inside the frames that are there. Frames missing at the end show
    against a head: the last frame of every writer, kept in LOG.head by --keep-head, or in the
    --head-file of a log on a server. Keep one from time to time, and a copy of it elsewhere.

    Who can write the log can also compute every hash of it anew, and the head beside it. That
    shows against a checkpoint only, which rat-fsm seal has signed and which was kept elsewhere:
    every event that it covers must be there, unchanged and in its place. Without one, nobody can
    tell; and of what came after the last one, neither.

    Snapshots, from which servers go on when they start, must be what their frames fold to. Where a
    log has lifecycles of your own, only their --module can tell.
    """
    screen = Screen()
    sealed = _sealed(checkpoint, public_key)
    with opened(url) as store:
        snapshots = RefoldedSnapshots(store, lifecycles.values())
        place = head_file or _beside(store)
        # One that is asked for by name must be there, unless it is only to be made.
        wanted = head_file if not keep_head else None
        held = Held((wanted or _kept(place)) if head else None, sealed, snapshots)
        report = _verify(store, held)
        if keep_head and report.sound:
            held = attrs.evolve(held, head=_keep(store, place))
        if as_json:
            screen.json(msgspec.json.encode({**_plain(report), **held.as_json()}))
        else:
            ReportLines(screen).show(name_of(store), report, held)
    if not report.sound:
        ctx.exit(FOUND)


def _sealed(checkpoint: Path | None, public_key: str | None) -> KeptCheckpoint | None:
    if checkpoint is not None:
        return KeptCheckpoint.read(checkpoint, public_key)
    if public_key is not None:
        raise InvalidArgument("--public-key says who signed a checkpoint: name it by --checkpoint")
    return None


@attrs.frozen
class Held:
    """What a log is held against, besides its own hashes.

    Attributes:
        head: the file with the head kept beside it, if any.
        sealed: the checkpoint that was kept elsewhere, if any.
        snapshots: its own snapshots.
    """

    head: Path | None
    sealed: KeptCheckpoint | None
    snapshots: RefoldedSnapshots

    def witnesses(self) -> list[Witness]:
        """All of it, for `verify_log`."""
        heads = [] if self.head is None else [KeptHeads(read_heads(self.head))]
        sealed = () if self.sealed is None else witnesses_of(self.sealed.checkpoint)
        return [*heads, *sealed, self.snapshots]

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        refolded, left = self.snapshots.refolded, self.snapshots.left_alone
        return {
            "head": None if self.head is None else str(self.head),
            "checkpoint": None if self.sealed is None else self.sealed.as_json(),
            "snapshots": {"refolded": refolded, "left_alone": left},
        }


def _plain(report: VerifyReport) -> dict[str, Any]:
    return {"sound": report.sound, **attrs.asdict(report)}


def _beside(store: Store) -> Path | None:
    """Where the head of a log that is a file is kept."""
    path = getattr(store, "path", None)
    return head_path(path) if isinstance(path, Path) else None


def _kept(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None


def _verify(store: Store, held: Held) -> VerifyReport:
    witnesses = held.witnesses()
    total = None
    with contextlib.suppress(DamagedFrame):  # it will be found again, and named
        total = last_frame(store)
    with progress("verifying", total) as advance:
        return verify_log(store, witnesses, advance)


def _keep(store: Store, path: Path | None) -> Path:
    if path is None:
        raise InvalidArgument(
            f"{name_of(store)} is no file, so nothing can be kept beside it: say --head-file FILE"
        )
    try:
        keep_heads(store, path)
    except StoreUnreadable:
        raise
    except OSError as problem:
        raise StoreUnreadable(f"cannot keep {path}: {problem.strerror}") from problem
    return path


class ReportLines:
    """Writes what verifying found, the first bad frame first."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, name: str, report: VerifyReport, held: Held) -> None:
        """Writes it all, and what the log was held against."""
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
        self._snapshots(held.snapshots)
        if held.head is not None:
            self._screen.line((f"held against the head kept in {held.head}", ""))
        if held.sealed is not None:
            self._checkpoint(held.sealed, sound=report.sound)
        else:
            self._warn(has_head=held.head is not None)

    def _snapshots(self, snapshots: RefoldedSnapshots) -> None:
        if snapshots.refolded:
            what = counted(len(snapshots.refolded), "snapshot")
            self._screen.line((f"{what} held against what the frames fold to", ""))
        for writer, reason in sorted(snapshots.left_alone.items()):
            hint = " (see --module)" if reason == UNKNOWN_LIFECYCLES else ""
            self._screen.line((f"the snapshot of {writer} was not compared: {reason}{hint}", "dim"))

    def _checkpoint(self, sealed: KeptCheckpoint, *, sound: bool) -> None:
        size, origin = counted(sealed.checkpoint.size, "event"), sealed.checkpoint.origin
        told = f"the checkpoint of {origin} in {sealed.path}"
        if sound:
            self._screen.line((f"extends {told}: all {size} sealed are there, unchanged", "green"))
        else:
            self._screen.line((f"held against {told}, which sealed {size}", ""))
        if sealed.signed_by is None:
            self._screen.line(
                ("its signature was not checked: say whose it must be", "yellow"),
                (" (see --public-key)", "dim"),
            )
        else:
            key = f"{sealed.signed_by.name}+{sealed.signed_by.id.hex()}"
            self._screen.line((f"signed by {key}, and the signature holds", ""))

    def _warn(self, *, has_head: bool) -> None:
        if not has_head:
            self._screen.line(
                ("held against no head: what is missing at the end would not show", "yellow"),
                (" (see --keep-head)", "dim"),
            )
        self._screen.line(
            ("held against no checkpoint: a rewritten past would not show", "yellow"),
            (" (see rat-fsm seal)", "dim"),
        )


def _told(problem: Problem) -> str:
    """Its message, which most often says where it is."""
    frame = f"frame {problem.position}"
    return (
        problem.message
        if str(problem.position) in problem.message
        else f"{frame}: {problem.message}"
    )
