"""rat-fsm seal, and rat-fsm verify --checkpoint."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path
from typing import Final

import attrs
import pytest

from rat_fsm.audit import parse_checkpoint, parse_note, read_key, sign_note
from rat_fsm.log import EventLog
from tests.audit.logs import rechain
from tests.cli.logs import ESCAPED, HOSTILE, Writer, a_life, change, plain, run, write

pytest.importorskip("cryptography")

SOUND: Final = "1 snapshot held against what the frames fold to"


@attrs.frozen
class Sealed:
    """A log, a key and its public half, and a checkpoint, each in a file of one folder."""

    folder: Path

    @property
    def log(self) -> Path:
        """The log."""
        return self.folder / "events.db"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.folder / "log.key"

    @property
    def public(self) -> Path:
        """What the key's signatures are checked with."""
        return self.folder / "log.pub"

    @property
    def checkpoint(self) -> Path:
        """What was sealed."""
        return self.folder / "checkpoint"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sealed log of one connection's life."""
    made = Sealed(tmp_path_factory.mktemp("made"))
    write(made.log, *a_life("c1"))
    made.public.write_text(run("key", "new", "example.com/log", "--output", made.key).stdout)
    assert run("seal", made.log, "--key", made.key, "--output", made.checkpoint).exit_code == 0
    return made.folder


@pytest.fixture
def sealed(made: Path, tmp_path: Path) -> Sealed:
    """A copy of it."""
    return Sealed(Path(shutil.copytree(made, tmp_path / "sealed")))


def test_a_checkpoint_goes_to_stdout(sealed: Sealed) -> None:
    """Byte for byte, in a pipe and on any terminal: a signature holds for nothing else."""
    for width in (None, 40):
        result = run("seal", sealed.log, "--key", sealed.key, width=width)
        assert (result.exit_code, result.stderr) == (0, "")
        note = parse_note(result.stdout_bytes)
        note.check(read_key(sealed.key).public)
        checkpoint = parse_checkpoint(note.text)
        assert (checkpoint.origin, checkpoint.size) == ("example.com/log", 12)
        assert result.stdout_bytes == sealed.checkpoint.read_bytes()


def test_a_checkpoint_goes_into_a_file(sealed: Sealed) -> None:
    """What was sealed is said; the file is its owner's until it is handed on."""
    result = run("seal", sealed.log, "--key", sealed.key, "--output", sealed.checkpoint)
    lines = plain(result.stdout)
    assert lines[0] == f"sqlite:{sealed.log} is sealed"
    assert lines[1].startswith("12 events of 1 writer as example.com/log, root ")
    assert lines[2] == f"the checkpoint is in {sealed.checkpoint}: keep a copy elsewhere"
    assert stat.S_IMODE(sealed.checkpoint.stat().st_mode) == 0o600


def test_json(sealed: Sealed) -> None:
    """One object, with the note in it."""
    plain = json.loads(run("seal", sealed.log, "--key", sealed.key, "--json").stdout)
    assert plain["note"] == sealed.checkpoint.read_text()
    assert (plain["origin"], plain["size"], plain["output"]) == ("example.com/log", 12, None)
    assert list(plain["heads"]) == ["w0"]
    assert plain["root"] == plain["note"].split("\n")[2]


def test_a_log_extends_its_checkpoint(sealed: Sealed) -> None:
    """Verifying says so, and whose signature holds; the key is told, or in a file."""
    with EventLog.open(sealed.log) as log:
        for connection_id, event in a_life("c2"):
            log.append(("connection", connection_id), event)
    for key in (sealed.public, sealed.public.read_text().strip()):
        result = run("verify", sealed.log, "--checkpoint", sealed.checkpoint, "--public-key", key)
        assert (result.exit_code, result.stderr) == (0, "")
        name = f"the checkpoint of example.com/log in {sealed.checkpoint}"
        key_id = read_key(sealed.key).public.id.hex()
        assert plain(result.stdout)[2:] == [
            SOUND,
            f"extends {name}: all 12 events sealed are there, unchanged",
            f"signed by example.com/log+{key_id}, and the signature holds",
        ]


def test_without_a_key_it_says_that_nobody_may_have_signed(sealed: Sealed) -> None:
    """A checkpoint is compared all the same, and that it proves little is said."""
    result = run("verify", sealed.log, "--checkpoint", sealed.checkpoint)
    assert result.exit_code == 0
    told = "its signature was not checked: say whose it must be (see --public-key)"
    assert plain(result.stdout)[-1] == told
    as_json = json.loads(
        run("verify", sealed.log, "--checkpoint", sealed.checkpoint, "--json").stdout
    )
    assert as_json["checkpoint"] == {
        "file": str(sealed.checkpoint),
        "origin": "example.com/log",
        "size": 12,
        "root": sealed.checkpoint.read_text().split("\n")[2],
        "signed_by": None,
    }


def test_a_rewritten_log_is_found(sealed: Sealed) -> None:
    """Somebody who changed an event and computed every hash anew, and the head beside it.

    Without the checkpoint all is well; with it, exit 1 and what is not what it was.
    """
    change(sealed.log, "UPDATE frames SET body = replace(body, '10.0.0.1', '10.0.0.2')")
    change(sealed.log, "DELETE FROM snapshots")
    rechain(sealed.log)
    assert run("verify", sealed.log, "--keep-head").exit_code == 0
    arguments = ("--checkpoint", sealed.checkpoint, "--public-key", sealed.public)
    result = run("verify", sealed.log, *arguments)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = plain(result.stdout)
    assert lines[0] == f"sqlite:{sealed.log} is DAMAGED"
    assert any(
        "the first 12 events are not those sealed as example.com/log" in line for line in lines
    )
    name = f"the checkpoint of example.com/log in {sealed.checkpoint}"
    assert f"held against {name}, which sealed 12 events" in lines
    as_json = json.loads(run("verify", sealed.log, *arguments, "--json").stdout)
    assert (as_json["sound"], as_json["checkpoint"]["signed_by"]) == (
        False,
        sealed.public.read_text().strip(),
    )


def test_a_checkpoint_is_replaced_by_one_that_extends_it(sealed: Sealed) -> None:
    """--output moves on with the log, and never to another past, log or key."""
    before = sealed.checkpoint.read_bytes()
    with EventLog.open(sealed.log) as log:
        log.begin()
    sealing = ("seal", sealed.log, "--key", sealed.key, "--output", sealed.checkpoint)
    assert run(*sealing).exit_code == 0
    after = sealed.checkpoint.read_bytes()
    assert after != before
    other = sealed.folder / "other.key"
    run("key", "new", "example.com/log", "--output", other)
    origin = run(*sealing, "--origin", "example.com/other")
    key = run("seal", sealed.log, "--key", other, "--output", sealed.checkpoint)
    change(sealed.log, "UPDATE frames SET body = replace(body, '10.0.0.1', '10.0.0.2')")
    rechain(sealed.log)
    past = run(*sealing)
    for result, message in (
        (origin, "the earlier checkpoint is of example.com/log, not of example.com/other"),
        (key, "it is not signed by example.com/log+"),
        (past, f"sqlite:{sealed.log} is not sealed: "),
    ):
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert message in result.stderr
    assert sealed.checkpoint.read_bytes() == after


def test_a_damaged_log_is_not_sealed(sealed: Sealed) -> None:
    """One line, exit 2, and no checkpoint."""
    change(sealed.log, "UPDATE frames SET salt = zeroblob(16)")
    result = run("seal", sealed.log, "--key", sealed.key)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "is not sealed: frame 1 is damaged" in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"x" * 2_000_000,
        b"a\n1\nAAAA\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"a\n" + b"9" * 100_000 + b"\nAAAA\n\n\xe2\x80\x94 a AAAAAAAA\n",
        f"{HOSTILE}\n\n— {HOSTILE} AAAAAAAA\n".encode(),
    ],
)
def test_what_is_no_checkpoint(content: bytes, sealed: Sealed) -> None:
    """A hostile or malformed note is one line that is not long, exit 2; it is not written over."""
    file = sealed.folder / "bad"
    file.write_bytes(content)
    for command in (
        ("verify", sealed.log, "--checkpoint", file),
        ("verify", sealed.log, "--checkpoint", file, "--public-key", sealed.public),
        ("seal", sealed.log, "--key", sealed.key, "--output", file),
    ):
        result = run(*command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert len(result.stderr) < 500
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [
        ("--public-key", "x+y+z"),
        ("--checkpoint", "checkpoint", "--public-key", "x+y+z"),
        ("--checkpoint", "checkpoint", "--public-key", "missing"),
        ("--checkpoint", "checkpoint", "--public-key", "log.key"),
        ("--checkpoint", "checkpoint", "--public-key", "events.db"),
        ("--checkpoint", "checkpoint", "--public-key", HOSTILE),
        ("--checkpoint", "missing", "--public-key", "log.pub"),
        ("--checkpoint", "."),
        ("--checkpoint", "events.db"),
    ],
)
def test_what_is_no_evidence(
    arguments: tuple[str, ...], sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key or a file that is something else, or is not there, is one line, exit 2."""
    monkeypatch.chdir(sealed.folder)
    result = run("verify", "events.db", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: ")
    assert "PRIVATE+KEY+example" not in result.stderr


def test_a_forged_checkpoint(sealed: Sealed) -> None:
    """What was changed in a note, or signed by somebody else, is no evidence: exit 2."""
    arguments = ("verify", sealed.log, "--checkpoint", sealed.checkpoint, "--public-key")
    original = sealed.checkpoint.read_text()
    sealed.checkpoint.write_text(original.replace("\n12\n", "\n11\n"))
    result = run(*arguments, sealed.public)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: the signature of example.com/log does not hold\n"
    other = sealed.folder / "other.key"
    run("key", "new", "example.com/log", "--output", other)
    sealed.checkpoint.write_text(sign_note(parse_note(original.encode()).text, read_key(other)))
    result = run(*arguments, sealed.public)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "it is not signed by example.com/log+" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("seal", "missing.db", "--key", "log.key"),
        ("seal", "log.pub", "--key", "log.key"),
        ("seal", "memory:", "--key", "log.key"),
        ("seal", "events.db", "--key", "missing"),
        ("seal", "events.db", "--key", "log.pub"),
        ("seal", "events.db", "--key", "log.key", "--origin", ""),
        ("seal", "events.db", "--key", "log.key", "--origin", HOSTILE),
        ("seal", "events.db", "--key", "log.key", "--output", "."),
        ("seal", "events.db", "--key", "log.key", "--output", "missing/checkpoint"),
        ("seal", "events.db", "--key", "log.key", "--output", "x" * 300),
    ],
)
def test_what_cannot_be_sealed(
    arguments: tuple[str, ...], sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log, a key, a name or a place that is none is one line, exit 2."""
    monkeypatch.chdir(sealed.folder)
    sealed.public.chmod(0o600)
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: ")


def test_hostile_writers_are_sealed(sealed: Sealed) -> None:
    """A writer's name is one word of one line, whatever it holds, and verifies."""
    change(sealed.log, "UPDATE frames SET writer = ?", f"{HOSTILE} w")
    change(sealed.log, "DELETE FROM snapshots")
    rechain(sealed.log)
    file = sealed.folder / "hostile"
    result = run("seal", sealed.log, "--key", sealed.key, "--output", file)
    assert result.exit_code == 0
    assert file.read_text().count("\n") == 7
    assert "\x1b" not in file.read_text()
    assert run("verify", sealed.log, "--checkpoint", file).exit_code == 0
    change(sealed.log, "DELETE FROM frames")
    lines = plain(run("verify", sealed.log, "--checkpoint", file).stdout)
    assert any(ESCAPED in line for line in lines)


def test_while_a_server_writes(sealed: Sealed, tmp_path: Path) -> None:
    """A log that grows meanwhile is sealed as far as it is durable, and extends every seal."""
    path, files = tmp_path / "growing.db", []
    with Writer(path) as writer:
        for number in range(3):
            writer.register(f"c{number}")
            files.append(tmp_path / f"checkpoint{number}")
            result = run("seal", path, "--key", sealed.key, "--output", files[-1], "--json")
            assert json.loads(result.stdout)["size"] >= number + 1
            for file in files:
                arguments = ("--checkpoint", file, "--public-key", sealed.public)
                assert run("verify", path, *arguments).exit_code == 0


def test_without_the_extra(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that needs ``cryptography`` names the extra, exit 2; comparing does not."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    checkpoint = ("--checkpoint", sealed.checkpoint)
    for command in (
        ("seal", sealed.log, "--key", sealed.key),
        ("key", "new", "a", "--output", sealed.folder / "a.key"),
        ("key", "show", sealed.key),
        ("verify", sealed.log, *checkpoint, "--public-key", sealed.public),
    ):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "pip install 'rat-fsm[audit]'" in result.stderr
    assert run("verify", sealed.log, *checkpoint).exit_code == 0


def test_sealing_changes_nothing(sealed: Sealed) -> None:
    """A log that is only read stays as it is, and nothing appears beside it."""
    before = sealed.log.read_bytes(), sorted(sealed.folder.iterdir())
    run("seal", sealed.log, "--key", sealed.key)
    run("verify", sealed.log, "--checkpoint", sealed.checkpoint)
    assert (sealed.log.read_bytes(), sorted(sealed.folder.iterdir())) == before
