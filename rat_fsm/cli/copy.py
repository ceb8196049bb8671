"""``rat-fsm copy``: the frames of a log into another store."""

from __future__ import annotations

import contextlib

import click

from rat_fsm import exports
from rat_fsm.cli.copied import show_copied
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen
from rat_fsm.errors import DamagedFrame
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame


@click.command("copy")
@click.argument("source")
@click.argument("destination")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def command(source: str, destination: str, *, as_json: bool) -> None:
    """Copy the log at SOURCE into the one at DESTINATION, verifying every frame.

    Hashes and positions stay what they are; snapshots are made again. DESTINATION is made if
    there is none; an earlier copy is compared and gone on with, so that a copy that was
    interrupted, or killed, is simply started again. A server may be writing SOURCE. Nobody may
    write DESTINATION: a server that opens it ends what is open in it, and then it is no copy.
    """
    with opened(source) as store:
        total = None
        with contextlib.suppress(DamagedFrame):  # it will be met again, and named
            total = last_frame(store)
        with progress("copying", total) as advance:
            copied = exports.copy_log(store, destination, progress=advance)
    show_copied(Screen(), destination, copied, as_json=as_json)
