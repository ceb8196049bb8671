"""Ed25519 keys with a name, written as signed notes want them, and kept in files of their own.

A public key is ``NAME+ID+KEY``, a private one ``PRIVATE+KEY+NAME+ID+KEY``: the ID is eight
hexadecimal digits, the KEY base64 of a byte 0x01 for Ed25519 and the 32 bytes of RFC 8032. It is
the encoding of golang.org/x/mod/sumdb/note, which the tools of transparency logs read; unlike
PKCS #8 it has a place for the name.

Specifications: C2SP signed-note v1.0.0 (c2sp.org/signed-note), "Signatures"; RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from rat_fsm.audit.names import check_key_name
from rat_fsm.errors import InvalidArgument, MissingExtra, StoreUnreadable, Unproven

if TYPE_CHECKING:
    from io import BufferedReader
    from types import ModuleType

ED25519: Final = b"\x01"
KEY_BYTES: Final = 32
ID_BYTES: Final = 4
MAX_KEY_FILE: Final = 4096
_PRIVATE: Final = "PRIVATE+KEY+"
_OTHERS: Final = 0o077


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as problem:
        raise MissingExtra("signing", "audit") from problem
    return ed25519


def _check_name(_key: object, _attribute: object, name: str) -> None:
    check_key_name(name)


def _check_length(_key: object, _attribute: object, raw: bytes) -> None:
    if len(raw) != KEY_BYTES:
        raise InvalidArgument(f"an Ed25519 key has {KEY_BYTES} bytes, not {len(raw)}")


@attrs.frozen
class PublicKey:
    """What a signature is checked with; as text it is ``NAME+ID+KEY``.

    Attributes:
        name: whose key it is; a URL without its scheme, such as ``example.com/log``.
        raw: the 32 bytes.
    """

    name: str = attrs.field(validator=_check_name)
    raw: bytes = attrs.field(validator=_check_length)

    @property
    def id(self) -> bytes:
        """Four bytes that, with the name, say which key has signed."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.raw).digest()[:ID_BYTES]

    def __str__(self) -> str:
        return _written(self, self.raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that a text stands for.

        Raises:
            InvalidArgument: it stands for none, or for a private one.
        """
        if text.startswith(_PRIVATE):
            raise InvalidArgument("that is a private key; rat-fsm key show prints the public one")
        name, told, raw = _read(text, "public")
        key = cls(name, raw)
        _check_id(key, told)
        return key

    def check(self, signature: bytes, message: bytes) -> None:
        """Checks a signature of a message.

        Raises:
            Unproven: this key did not sign it.
            MissingExtra: the package ``cryptography`` is not installed.
        """
        key = _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
        from cryptography.exceptions import InvalidSignature

        try:
            key.verify(signature, message)
        except InvalidSignature as problem:
            raise Unproven(f"the signature of {self.name} does not hold") from problem


@attrs.frozen
class PrivateKey:
    """What signs. Its text is a secret, and so it has no ``str``: see `write_key`.

    Attributes:
        name: whose key it is.
        seed: the 32 bytes of the private key.
    """

    name: str = attrs.field(validator=_check_name)
    seed: bytes = attrs.field(repr=False, validator=_check_length)

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new key.

        Raises:
            InvalidArgument: the name holds a space, a plus or what turns a line round.
            MissingExtra: the package ``cryptography`` is not installed.
        """
        return cls(name, _ed25519().Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that a text stands for.

        Raises:
            InvalidArgument: it stands for none.
            MissingExtra: the package ``cryptography`` is not installed.
        """
        if not text.startswith(_PRIVATE):
            raise InvalidArgument("that is no private key, which begins with PRIVATE+KEY+")
        name, told, seed = _read(text.removeprefix(_PRIVATE), "private")
        key = cls(name, seed)
        _check_id(key.public, told)
        return key

    @property
    def public(self) -> PublicKey:
        """The key that its signatures are checked with."""
        return PublicKey(self.name, self._signer().public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature, the same each time."""
        signature: bytes = self._signer().sign(message)
        return signature

    def _signer(self) -> Any:
        return _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)

    def secret(self) -> str:
        """Its text."""
        return _PRIVATE + _written(self.public, self.seed)


def _written(public: PublicKey, raw: bytes) -> str:
    return f"{public.name}+{public.id.hex()}+{encode_base64(ED25519 + raw)}"


def _read(text: str, which: str) -> tuple[str, str, bytes]:
    """The name, the hexadecimal id and the 32 bytes in a text."""
    parts = text.split("+", 2)  # base64 may hold a plus
    if len(parts) != 3:  # noqa: PLR2004 - NAME+ID+KEY
        raise InvalidArgument(f"that is no {which} key, which looks like NAME+ID+KEY")
    name, told, encoded = parts
    raw = decode_base64(encoded)
    if raw is None or len(raw) != 1 + KEY_BYTES or raw[:1] != ED25519:
        raise InvalidArgument(f"that is no {which} Ed25519 key: its last part is not 33 bytes")
    return name, told, raw[1:]


def _check_id(key: PublicKey, told: str) -> None:
    if told != key.id.hex():
        raise InvalidArgument(f"the key of {key.name} is mistyped: its ID is {key.id.hex()}")


def encode_base64(raw: bytes) -> str:
    """Base64 of RFC 4648, section 4."""
    return base64.b64encode(raw).decode()


def decode_base64(text: str) -> bytes | None:
    """The bytes that base64 of RFC 4648, section 4, stands for, None where it is none.

    Each sequence of bytes has one text: padding that is missing, or not zero, is refused.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if encode_base64(raw) == text else None


def write_key(key: PrivateKey, path: Path) -> None:
    """Writes a private key into a new file, which only its owner may read.

    Raises:
        InvalidArgument: there is something already; a key is never written over.
        StoreUnreadable: the file cannot be written.
    """
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as problem:
        raise InvalidArgument(f"{path} exists; a key is never written over") from problem
    except OSError as problem:
        raise StoreUnreadable(f"cannot write {path}: {problem.strerror}") from problem
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(key.secret() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> PrivateKey:
    """The private key in a file.

    Raises:
        InvalidArgument: the file is no key, or others than its owner may read or write it.
        StoreUnreadable: there is no such file.
        MissingExtra: the package ``cryptography`` is not installed.
    """
    with _opened(path) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise InvalidArgument(f"{path} is no regular file")
        if mode & _OTHERS:
            told = f"{stat.S_IMODE(mode):04o}"
            raise InvalidArgument(f"{path} may be read by others (mode {told}): chmod 600 it")
        content = file.read(MAX_KEY_FILE)
    try:
        return PrivateKey.parse(_line(content))
    except InvalidArgument as problem:
        raise InvalidArgument(f"{path}: {problem}") from problem


def read_public_key(told: str) -> PublicKey:
    """The public key that is told: its text, or the name of a file that holds it.

    Raises:
        InvalidArgument: it is neither.
        StoreUnreadable: there is no such file.
    """
    if told.count("+") >= 2:  # noqa: PLR2004 - NAME+ID+KEY
        return PublicKey.parse(told)
    with _opened(Path(told)) as file:
        content = file.read(MAX_KEY_FILE)
    try:
        return PublicKey.parse(_line(content))
    except InvalidArgument as problem:
        raise InvalidArgument(f"{told}: {problem}") from problem


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except (OSError, ValueError) as problem:
        raise StoreUnreadable(f"no key at {path}: {reason_of(problem)}") from problem


def reason_of(problem: OSError | ValueError) -> str:
    """Why a file could not be opened: what the system says, or Python about its name."""
    return getattr(problem, "strerror", None) or str(problem)


def _line(content: bytes) -> str:
    """The one line of a file; what is no text becomes something that no key holds."""
    return content.decode(errors="replace").removesuffix("\n")
