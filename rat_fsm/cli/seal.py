"""``rat-fsm seal``: signs what a log is now, to be kept where who writes the log cannot reach."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rat_fsm.audit import read_key, seal_log
from rat_fsm.audit.keys import encode_base64
from rat_fsm.cli.evidence import KeptCheckpoint, told
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.text import counted
from rat_fsm.errors import StoreUnreadable
from rat_fsm.log.heads import replace_file
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from rat_fsm.audit import Checkpoint


@click.command("seal")
@click.argument("url")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The private key, as rat-fsm key makes it.",
)
@click.option(
    "--origin",
    metavar="NAME",
    help="Which log it is, such as example.com/log; the name of the key by default.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the checkpoint there instead of to stdout. One that is there already, of the same "
    "log and key, is replaced only if the log extends it.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def command(
    url: str, *, key_file: Path, origin: str | None, output: Path | None, as_json: bool
) -> None:
    """Verify the log at URL, and sign a checkpoint of all that is in it.

    The checkpoint is a signed note (C2SP tlog-checkpoint): which log, how many events, the root of
    the Merkle tree over them (RFC 9162), and the last frame of every writer. It tells nothing of
    what the events say.

    It is worth something only where who can write the log cannot reach: send it away as soon as
    it is made. rat-fsm verify --checkpoint FILE proves later that the log extends it, so that
    nothing of it was changed, left out or put in before.
    """
    key = read_key(key_file)
    before = None
    if output is not None and os.path.lexists(output):
        before = KeptCheckpoint.read(output, str(key.public)).checkpoint
    with opened(url) as store, progress("sealing", last_frame(store)) as advance:
        name = name_of(store)
        checkpoint, note = seal_log(store, key, origin=origin, before=before, progress=advance)
    if output is not None:
        _write(output, note)
    if as_json:
        Screen().json(_as_json(checkpoint, note, output))
    elif output is None:
        click.echo(note.encode(), nl=False)  # byte for byte, or its signature would not hold
    else:
        _tell(Screen(), name, checkpoint, output)


def _write(path: Path, note: str) -> None:
    try:
        replace_file(path, note.encode())
    except OSError as problem:
        raise StoreUnreadable(f"cannot write {path}: {problem.strerror}") from problem


def _as_json(checkpoint: Checkpoint, note: str, output: Path | None) -> bytes:
    heads = {
        writer: {"position": head.position, "hash": head.hash}
        for writer, head in checkpoint.heads.items()
    }
    plain: dict[str, Any] = {**told(checkpoint), "heads": heads, "note": note}
    return msgspec.json.encode({**plain, "output": None if output is None else str(output)})


def _tell(screen: Screen, name: str, checkpoint: Checkpoint, output: Path) -> None:
    what = f"{counted(checkpoint.size, 'event')} of {counted(len(checkpoint.heads), 'writer')}"
    screen.line((f"{name} is ", "bold"), ("sealed", "bold green"))
    screen.line((f"{what} as {checkpoint.origin}, root {encode_base64(checkpoint.root)}", ""))
    screen.line((f"the checkpoint is in {output}: ", ""), ("keep a copy elsewhere", "yellow"))
