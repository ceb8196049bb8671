"""Signed notes: text with lines under it that say who has signed it.

Specification: C2SP signed-note v1.0.0 (c2sp.org/signed-note), with the Ed25519 signatures defined
there. It wants verifiers to bound what they read; the bounds here are those of
golang.org/x/mod/sumdb/note.
"""

from __future__ import annotations

from typing import Final

import attrs

from rat_fsm.audit.keys import ID_BYTES, PrivateKey, PublicKey, decode_base64, encode_base64
from rat_fsm.audit.names import check_key_name
from rat_fsm.errors import InvalidArgument, Unproven

MAX_NOTE: Final = 1_000_000  # bytes
MAX_SIGNATURES: Final = 100
MAX_NAMED: Final = 3  # in a message
_DASH: Final = "\N{EM DASH} "


@attrs.frozen
class Signature:
    """One signature line, of a key that may be anybody's.

    Attributes:
        name: of the key.
        id: the key's four bytes.
        signature: the rest, in whatever way that key signs.
    """

    name: str
    id: bytes
    signature: bytes


@attrs.frozen
class Note:
    """A note that was read; that somebody has signed it is for `check` to find out.

    Attributes:
        text: what is signed, with the newline that ends it.
        signatures: who says to have signed it.
    """

    text: str
    signatures: tuple[Signature, ...]

    def check(self, key: PublicKey) -> None:
        """Checks that a key has signed the note; signatures of other keys say nothing.

        Raises:
            Unproven: it has not, or one of its signatures does not hold.
        """
        own = [s for s in self.signatures if (s.name, s.id) == (key.name, key.id)]
        if not own:
            others = sorted({f"{s.name}+{s.id.hex()}" for s in self.signatures})[:MAX_NAMED]
            told = ", ".join(others)
            raise Unproven(f"it is not signed by {key.name}+{key.id.hex()}, but by {told}")
        for signature in own:
            key.check(signature.signature, self.text.encode())


def sign_note(text: str, key: PrivateKey) -> str:
    """A note: a text and one signature.

    Raises:
        InvalidArgument: the text does not end with a newline, or holds other control characters.
        MissingExtra: the package ``cryptography`` is not installed.
    """
    _check_text(text)
    signature = encode_base64(key.public.id + key.sign(text.encode()))
    return f"{text}\n{_DASH}{key.name} {signature}\n"


def parse_note(content: bytes) -> Note:
    """The note that some bytes are.

    Raises:
        InvalidArgument: they are none.
    """
    if len(content) > MAX_NOTE:
        raise InvalidArgument(f"that is no signed note: it has more than {MAX_NOTE} bytes")
    try:
        decoded = content.decode()
    except UnicodeDecodeError as problem:
        raise InvalidArgument("that is no signed note: it is no UTF-8") from problem
    text, blank, lines = decoded.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise InvalidArgument("that is no signed note: no signature follows an empty line")
    text += "\n"
    _check_text(text)
    signed = lines.removesuffix("\n").split("\n")
    if len(signed) > MAX_SIGNATURES:
        raise InvalidArgument(f"that is no signed note: it has {len(signed)} signatures")
    return Note(text, tuple(map(_signature, signed)))


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise InvalidArgument("that is no signed note: its text does not end with a newline")
    if any(character < " " and character != "\n" for character in text):
        raise InvalidArgument("that is no signed note: it holds control characters")


def _signature(line: str) -> Signature:
    dash, name, encoded = line[: len(_DASH)], *line[len(_DASH) :].partition(" ")[::2]
    raw = decode_base64(encoded)
    if dash != _DASH or raw is None or len(raw) <= ID_BYTES:
        raise InvalidArgument("that is no signed note: what follows its text is no signature")
    check_key_name(name)
    return Signature(name, raw[:ID_BYTES], raw[ID_BYTES:])
