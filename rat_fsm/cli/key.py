"""``rat-fsm key``: makes the keys that seal logs, and shows their public halves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rat_fsm.audit import PrivateKey, read_key, write_key
from rat_fsm.cli.render import Screen

if TYPE_CHECKING:
    from rat_fsm.audit import PublicKey


@click.group("key")
def command() -> None:
    """Make and show the Ed25519 keys that logs are sealed with.

    `rat-fsm key new NAME --output FILE` makes one; NAME says whose it is, such as example.com/log,
    and FILE, which must not exist, is for its owner only. `rat-fsm key show FILE` prints its
    public key, which whoever verifies a checkpoint needs; both take --json.

    Keep FILE off the machine that writes the log: who has both can seal another past.
    """


@command.command("new")
@click.argument("name")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the private key goes: a new file, mode 0600.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def new(name: str, *, output: Path, as_json: bool) -> None:
    """Make a key called NAME, write it to a new file, and print its public key."""
    key = PrivateKey.generate(name)
    write_key(key, output)
    screen = Screen()
    _show(screen, key.public, output, as_json=as_json)
    if screen.width is not None and not as_json:
        screen.line((f"The private key is in {output}. Keep it off the log's machine.", "dim"))


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def show(file: Path, *, as_json: bool) -> None:
    """Print the public key of the private key in FILE."""
    _show(Screen(), read_key(file).public, file, as_json=as_json)


def _show(screen: Screen, key: PublicKey, file: Path, *, as_json: bool) -> None:
    if as_json:
        plain = {"name": key.name, "id": key.id.hex(), "public_key": str(key), "file": str(file)}
        screen.json(msgspec.json.encode(plain))
    else:
        # A folded key could not be copied; its name holds nothing that a terminal obeys.
        click.echo(str(key).encode())
