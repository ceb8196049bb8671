"""``rat-fsm export``: a log as other tools read it, or as frames that make it again."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import attrs
import click
import msgspec

from rat_fsm import exports
from rat_fsm.cli.app import Failure
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import MomentType, PositionType, TimeType
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen
from rat_fsm.cli.text import counted, harmless_json, size
from rat_fsm.codec import MAX_EVENTS
from rat_fsm.errors import DamagedFrame
from rat_fsm.replay.sources import check_within, opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator, Mapping

    from rat_fsm.events import Position
    from rat_fsm.exports import Exported, Selection
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

STDOUT: Final = "-"


@attrs.frozen
class Form:
    """A form that a log may leave in.

    Attributes:
        write: the function that writes it; None for frames, which are never a selection.
        part: what it has many of.
        binary: whether a terminal would choke on it.
    """

    write: Callable[..., Exported] | None
    part: str
    binary: bool = False


FORMS: Final = {
    "frames": Form(None, "frame"),
    "jsonl": Form(exports.write_jsonl, "line"),
    "parquet": Form(exports.write_parquet, "row group", binary=True),
    "arrow": Form(exports.write_arrow, "batch", binary=True),
    "xes": Form(exports.write_xes, "trace"),
}


@click.command("export")
@click.argument("url")
@click.option(
    "--frames", is_flag=True, help="Its frames, from which rat-fsm import makes it again."
)
@click.option("--jsonl", is_flag=True, help="Its events as lines of JSON, as rat-fsm log --json.")
@click.option("--parquet", is_flag=True, help="Its events as Parquet, for DuckDB, pandas, Spark.")
@click.option("--arrow", is_flag=True, help="Its events as an Arrow IPC file, also called Feather.")
@click.option("--xes", is_flag=True, help="Its lives as traces, for process-mining tools.")
@click.option(
    "--output", "-o", metavar="FILE", default=STDOUT, help="Where to; - or nothing is stdout."
)
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@click.option("--since", type=TimeType(), metavar="TIME", help="Begin at this time.")
@click.option(
    "--until", type=MomentType(), metavar="TIME|POSITION", help="End with this time or event."
)
@click.option(
    "--after",
    type=PositionType(),
    metavar="POSITION",
    help="Begin after this event (12.3), or after a whole frame (12).",
)
@click.option(
    "--lifecycle",
    multiple=True,
    metavar="NAME",
    help="Only the events of this lifecycle, such as connection; may be given again.",
)
@click.option("--redact", is_flag=True, help="Leave out addresses, metadata and error messages.")
@click.option("--json", "as_json", is_flag=True, help="Say what was written as one object of JSON.")
@LIFECYCLES
def command(
    url: str,
    *,
    output: str,
    force: bool,
    since: datetime.datetime | None,
    until: Moment | None,
    after: Position | None,
    lifecycle: tuple[str, ...],
    redact: bool,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
    **forms: bool,
) -> None:
    """Write the log at URL to FILE in one of five forms; a server may be writing the log.

    Frames are the log itself, byte for byte: each is verified as it goes out, and comes back with
    its hash and at its position. The other forms are made of events, for tools that know nothing
    of rat_fsm. --parquet and --arrow need pip install 'rat-fsm[export]'.

    FILE appears when it is complete, for its owner only; what is there is not overwritten without
    --force. Ids, kinds, routes and reasons leave even with --redact.
    """
    name = _chosen(forms)
    if as_json and output == STDOUT:
        raise Failure("--json tells about a file: say --output FILE")
    with opened(url) as store:
        selection = exports.Selection(
            since=since,
            until=None if until is None else check_within(store, until),
            after=_after(store, after),
            lifecycles=lifecycle,
            redact=exports.without_personal_data if redact else None,
        )
        known = tuple(lifecycles.values())
        write = _frames(after, selection) if name == "frames" else _events(name, selection, known)
        with _target(store, output, FORMS[name], force=force) as file:
            told = _written(store, file, write)
            length = file.tell() if output != STDOUT else 0
    if output != STDOUT:
        _report(Screen(), output, name, told, length, as_json=as_json)


def _chosen(forms: dict[str, bool]) -> str:
    chosen = [name for name, wanted in forms.items() if wanted]
    if len(chosen) != 1:
        raise Failure(f"say in which form: one of --{', --'.join(FORMS)}")
    return chosen[0]


def _after(store: Store, after: Position | None) -> Position | None:
    """The position behind which it begins; frame 0, before the first, is one here."""
    if after is None or after.frame == 0:
        return None
    return cast("Position", check_within(store, after))


def _frames(after: Position | None, selection: Selection) -> Callable[..., Exported]:
    if attrs.evolve(selection, after=None) != exports.EVERYTHING:
        raise Failure("frames leave as they are and whole: with --frames only --after can be said")
    if after is not None and after.offset != MAX_EVENTS:
        raise Failure(f"frames leave whole: say --after {after.frame}, without an offset")

    def write(store: Store, file: BinaryIO, **options: Any) -> Exported:
        return exports.export_frames(store, file, after=after.frame if after else 0, **options)

    return write


def _events(
    name: str, selection: Selection, lifecycles: tuple[Lifecycle, ...]
) -> Callable[..., Exported]:
    def write(store: Store, file: BinaryIO, **options: Any) -> Exported:
        writer = cast("Callable[..., Exported]", FORMS[name].write)
        return writer(store, file, selection, lifecycles=lifecycles, **options)

    return write


@contextlib.contextmanager
def _target(store: Store, output: str, form: Form, *, force: bool) -> Iterator[BinaryIO]:
    if output == STDOUT:
        yield _stdout(form)
        return
    path = Path(output)
    where = getattr(store, "path", None)
    if isinstance(where, Path) and path.exists() and path.samefile(where):
        raise Failure(f"{output} is the log itself")
    try:
        with exports.replaced(path, force=force) as file:
            yield file
    except OSError as problem:
        if problem.errno is None:  # one of ours, with a message of its own
            raise
        raise Failure(f"cannot write {output}: {problem.strerror}") from problem


def _stdout(form: Form) -> BinaryIO:
    if not sys.stdout.isatty():
        return sys.stdout.buffer
    if form.binary:
        raise Failure("this form is binary, and stdout a terminal: say --output FILE")
    return cast("BinaryIO", _Terminal())


class _Terminal:
    """Standard output where it is a terminal: nothing that is written moves its cursor."""

    def write(self, text: bytes) -> int:
        """Writes whole lines."""
        for line in text.splitlines():
            sys.stdout.buffer.write(harmless_json(line) + b"\n")
        return len(text)


def _written(store: Store, file: BinaryIO, write: Callable[..., Exported]) -> Exported:
    total = None
    with contextlib.suppress(DamagedFrame):  # it will be met again, and named
        total = last_frame(store)
    with progress("exporting", total) as advance:
        return write(store, file, progress=advance)


def _report(
    screen: Screen, output: str, name: str, told: Exported, length: int, *, as_json: bool
) -> None:
    part = FORMS[name].part
    if as_json:
        found = {"output": output, "format": name, **attrs.asdict(told), "bytes": length}
        screen.json(msgspec.json.encode(found))
    else:
        events, parts = counted(told.events, "event"), counted(told.parts, part)
        screen.line((f"{output}: ", "bold"), (f"{events} in {parts}, {size(length)}", ""))
