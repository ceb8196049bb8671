"""Keys: their texts are those of other tools, and their files are for their owner only."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.audit.keys import PrivateKey, PublicKey, read_key, read_public_key, write_key
from rat_fsm.errors import InvalidArgument, MissingExtra, StoreUnreadable, Unproven

if TYPE_CHECKING:
    from pathlib import Path
from tests.audit.published import PRIVATE, PUBLIC

pytest.importorskip("cryptography")


def test_the_keys_of_another_implementation() -> None:
    """A published pair is read, belongs together, and is written as it was."""
    public, private = PublicKey.parse(PUBLIC), PrivateKey.parse(PRIVATE)
    assert private.public == public
    assert (str(public), private.secret()) == (PUBLIC, PRIVATE)
    assert (public.name, public.id.hex()) == ("PeterNeumann", "c74f20a3")


def test_a_secret_is_not_shown() -> None:
    """What logs and tracebacks print of a private key is its name."""
    private = PrivateKey.parse(PRIVATE)
    assert repr(private) == str(private) == "PrivateKey(name='PeterNeumann')"


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name.isprintable() and "+" not in name and not any(map(str.isspace, name))
)


@given(names, st.binary(min_size=32, max_size=32), st.binary())
def test_what_a_key_signs_it_proves(name: str, seed: bytes, message: bytes) -> None:
    """Keys survive being written, and a signature holds for its message and no other."""
    key = PrivateKey(name, seed)
    assert PrivateKey.parse(key.secret()) == key
    public = PublicKey.parse(str(key.public))
    signature = key.sign(message)
    public.check(signature, message)
    for changed, about in ((signature, message + b"x"), (bytes(64), message), (b"", message)):
        with pytest.raises(Unproven, match="does not hold"):
            public.check(changed, about)


def test_each_new_key_is_another() -> None:
    """Keys come from the system's randomness."""
    assert PrivateKey.generate("a").seed != PrivateKey.generate("a").seed


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "a\u2028b", "\u202ea", "a" * 257])
def test_a_name_that_cannot_stand_in_a_line(name: str) -> None:
    """It is refused wherever a key is made."""
    with pytest.raises(InvalidArgument, match="is no name for a"):
        PrivateKey.generate(name)
    with pytest.raises(InvalidArgument, match="is no name for a"):
        PublicKey(name, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "+",
        "++",
        "PeterNeumann+c74f20a3",
        PUBLIC.replace("c74f20a3", "c74f20a4"),
        PUBLIC.replace("c74f20a3", "C74F20A3"),
        PUBLIC.replace("Peter", "Paul"),
        PUBLIC[:-1],
        f"{PUBLIC}=",
        f"{PUBLIC}\n",
        f" {PUBLIC}",
        f"{PUBLIC}é",
        PUBLIC.replace("+ARpc", "+\u0661Rpc"),
        # A key of another length, and one of another kind, both with the right ID.
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PRIVATE,
    ],
)
def test_what_is_no_public_key(text: str) -> None:
    """A text that is mistyped anywhere, or of another kind, is refused in one line."""
    with pytest.raises(InvalidArgument) as refused:
        PublicKey.parse(text)
    assert "\n" not in str(refused.value)


@given(st.integers(0, len(PUBLIC) - 1), st.characters(codec="utf-8"))
def test_no_character_of_a_key_is_another(place: int, other: str) -> None:
    """Every change of a public key is noticed, if only by its ID."""
    changed = PUBLIC[:place] + other + PUBLIC[place + 1 :]
    if changed != PUBLIC:
        with pytest.raises(InvalidArgument):
            PublicKey.parse(changed)


@pytest.mark.parametrize("text", ["", PUBLIC, PRIVATE[:-4], PRIVATE.replace("+c7", "+c8")])
def test_what_is_no_private_key(text: str) -> None:
    """It is refused, and the message does not repeat it."""
    with pytest.raises(InvalidArgument) as refused:
        PrivateKey.parse(text)
    assert "AYEKFALVFGyN" not in str(refused.value)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_its_length(length: int) -> None:
    """Other numbers of bytes are no Ed25519 key."""
    with pytest.raises(InvalidArgument, match=f"not {length}"):
        PublicKey("a", bytes(length))
    with pytest.raises(InvalidArgument, match=f"not {length}"):
        PrivateKey("a", bytes(length))


def test_a_key_file_is_its_owners(tmp_path: Path) -> None:
    """It is made with mode 0600 whatever the umask, and read back."""
    file, key = tmp_path / "key", PrivateKey.parse(PRIVATE)
    before = os.umask(0)
    try:
        write_key(key, file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (read_key(file), file.read_text()) == (key, f"{PRIVATE}\n")


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    """Neither a file nor a link to nowhere is replaced."""
    file, link = tmp_path / "key", tmp_path / "link"
    file.write_text("precious")
    link.symlink_to(tmp_path / "nowhere")
    for path in (file, link):
        with pytest.raises(InvalidArgument, match="exists; a key is never written over"):
            write_key(PrivateKey.parse(PRIVATE), path)
    assert (file.read_text(), (tmp_path / "nowhere").exists()) == ("precious", False)
    with pytest.raises(StoreUnreadable, match="cannot write"):
        write_key(PrivateKey.parse(PRIVATE), tmp_path / "missing" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_a_key_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    """Whoever read it may have signed anything; the message says what to do."""
    file = tmp_path / "key"
    write_key(PrivateKey.parse(PRIVATE), file)
    file.chmod(mode)
    with pytest.raises(InvalidArgument, match=rf"others \(mode {mode:04o}\): chmod 600 it"):
        read_key(file)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe", b"a" * 10_000, PUBLIC.encode()])
def test_a_file_that_is_no_key(content: bytes, tmp_path: Path) -> None:
    """Its name is in the message, its content is not."""
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(InvalidArgument, match=f"^{file}: that is no private key"):
        read_key(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Nothing, a folder, and a name that cannot be one, are one clear error each."""
    for name in ("missing", ".", "x" * 300):
        with pytest.raises(StoreUnreadable, match="no key at"):
            read_key(tmp_path / name)
    with pytest.raises(StoreUnreadable, match="no key at"):
        read_public_key("a\0b")
    with pytest.raises(InvalidArgument, match="no regular file"):
        read_key(tmp_path.__class__("/dev/null"))


def test_a_public_key_is_told_or_in_a_file(tmp_path: Path) -> None:
    """Both forms are the same key; a private key in its place is refused."""
    file = tmp_path / "key.pub"
    file.write_text(f"{PUBLIC}\n")
    assert read_public_key(PUBLIC) == read_public_key(str(file)) == PublicKey.parse(PUBLIC)
    file.write_text(f"{PRIVATE}\n")
    with pytest.raises(InvalidArgument, match="that is a private key; rat-fsm key show"):
        read_public_key(str(file))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing and checking need ``cryptography``; reading a public key does not."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    public = PublicKey.parse(PUBLIC)
    for call in (
        lambda: PrivateKey.generate("a"),
        lambda: PrivateKey.parse(PRIVATE),
        lambda: public.check(bytes(64), b""),
    ):
        with pytest.raises(MissingExtra, match=r"rat-fsm\[audit\]"):
            call()
