"""rat-fsm key."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from rat_fsm.audit import PublicKey, read_key
from tests.cli.logs import HOSTILE, plain, run

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("cryptography")


def test_a_key_is_made(tmp_path: Path) -> None:
    """The private half goes into a file for its owner only, the public one to stdout alone."""
    file = tmp_path / "log.key"
    result = run("key", "new", "example.com/log", "--output", file)
    assert (result.exit_code, result.stderr) == (0, "")
    public = PublicKey.parse(result.stdout.removesuffix("\n"))
    assert (public.name, read_key(file).public) == ("example.com/log", public)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("key", "show", file).stdout == result.stdout


def test_on_a_terminal_it_says_where_the_key_is(tmp_path: Path) -> None:
    """The public key stays one line, to be copied, however narrow the terminal."""
    file = tmp_path / "log.key"
    lines = plain(run("key", "new", "a" * 60, "--output", file, width=40).stdout)
    assert lines[0] == str(read_key(file).public)
    assert lines[1].startswith("The private key is in")


def test_json(tmp_path: Path) -> None:
    """Both commands give the same object."""
    file = tmp_path / "log.key"
    made = json.loads(run("key", "new", "example.com/log", "--output", file, "--json").stdout)
    public = read_key(file).public
    assert made == {
        "name": "example.com/log",
        "id": public.id.hex(),
        "public_key": str(public),
        "file": str(file),
    }
    assert json.loads(run("key", "show", file, "--json").stdout) == made


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    """A second key in the same place is refused, in one line."""
    file = tmp_path / "log.key"
    run("key", "new", "example.com/log", "--output", file)
    before = file.read_bytes()
    result = run("key", "new", "example.com/log", "--output", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {file} exists; a key is never written over\n"
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["", "two words", "a+b", HOSTILE, "x" * 1000])
def test_a_name_that_is_none(name: str, tmp_path: Path) -> None:
    """One line, exit 2, and no file."""
    result = run("key", "new", name, "--output", tmp_path / "log.key")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff", b"PRIVATE+KEY+a+b", b"x" * 10**6])
def test_a_file_that_is_no_key(content: bytes, tmp_path: Path) -> None:
    """One line, exit 2."""
    file = tmp_path / "log.key"
    file.write_bytes(content)
    file.chmod(0o600)
    result = run("key", "show", file)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: {file}: that is no private")


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """It is refused, and the line says what to do."""
    file = tmp_path / "log.key"
    run("key", "new", "example.com/log", "--output", file)
    file.chmod(0o644)
    result = run("key", "show", file)
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: {file} may be read by others (mode 0644): chmod 600 it\n",
    )
    result = run("key", "show", tmp_path / "missing")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
