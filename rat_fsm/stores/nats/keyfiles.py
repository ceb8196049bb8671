"""Files that hold keys, read anew for each connection: what was put there meanwhile counts.

The library reads them twice, for ever where a line is missing, and fails as it happens to.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Annotated, Final

import attrs
import msgspec

from rat_fsm.errors import MissingExtra, StoreUnreadable

if TYPE_CHECKING:
    from nkeys import KeyPair  # type: ignore[import-untyped]

_log = logging.getLogger("rat_fsm")
MAX_BYTES: Final = 64 * 1024
_JWT: Final = re.compile(rb"-BEGIN NATS USER JWT-+\s+([\w-]+\.([\w-]+)\.[\w-]+)\s")
_DAMAGED: Final = "holds a seed that was mistyped or damaged"
_SEED: Final = re.compile(rb"^\s*(SU[A-Z2-7]{56})\s*$", re.MULTILINE)


@attrs.frozen
class KeyFile:
    """A file that is there to be read by us, and mostly by nobody else.

    Attributes:
        source: what names it.
        path: where it is.
        told: the sources of whose files it was told that others may read them; None where they
            may.
    """

    source: str
    path: str = attrs.field(repr=False)
    told: set[str] | None = None

    def read(self) -> bytes:
        """What it holds.

        Raises:
            StoreUnreadable: it cannot be read.
        """
        try:
            with open(self.path, "rb", opener=_not_waiting) as file:
                mode = os.fstat(file.fileno()).st_mode
                if stat.S_ISREG(mode):
                    self._tell(stat.S_IMODE(mode))
                    return file.read(MAX_BYTES)
        except OSError as problem:
            raise self.unusable(f"cannot be read: {problem.strerror}") from None
        raise self.unusable("is no regular file")

    def _tell(self, mode: int) -> None:
        """Once, and as no error: secrets are often mounted into containers for all to read."""
        if self.told is not None and self.source not in self.told and mode & stat.S_IRWXO:
            self.told.add(self.source)
            _log.warning("%s may be read by others (mode %04o): chmod 600 it", self, mode)

    def unusable(self, why: str) -> StoreUnreadable:
        """An error about it, which holds nothing of it."""
        return StoreUnreadable(f"{self} {why}")

    def __str__(self) -> str:
        return f"the file that {self.source} names"


def _not_waiting(path: str, flags: int) -> int:
    """Opening a pipe would wait for somebody who writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@attrs.frozen
class Credentials:
    """A user, as an account has signed it, and the key that shows that it is us.

    Attributes:
        jwt: what the account says of the user.
        key: the user's.
        expires: when the user may not come in any more, seconds since 1970; None is never.
    """

    jwt: bytes = attrs.field(repr=False)
    key: KeyPair = attrs.field(repr=False)
    expires: int | None

    def sign(self, nonce: str) -> bytes:
        """A signature of what the server has made up."""
        return base64.b64encode(self.key.sign(nonce.encode()))

    @property
    def expired(self) -> str:
        """Since when the user has expired, or nothing."""
        if self.expires is None or self.expires > time.time():
            return ""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.expires))


def credentials_in(file: KeyFile) -> Credentials:
    """The user in a credentials file.

    Raises:
        StoreUnreadable: it cannot be read, or holds something else.
    """
    content = file.read()
    jwt = _JWT.search(content)
    claims = _claims(jwt[2]) if jwt else None
    if jwt is None or claims is None:
        raise file.unusable("holds no credentials of NATS")
    key = _key_in(content, file)
    if claims.sub != key.public_key.decode():
        raise file.unusable("holds the seed of another user than its own")
    return Credentials(jwt[1], key, claims.exp or None)  # 0 is never, too


def seed_in(file: KeyFile) -> str:
    """The seed of a user in a file, whatever else stands there.

    Raises:
        StoreUnreadable: it cannot be read, or holds something else.
    """
    seed: bytearray = _key_in(file.read(), file).seed
    return seed.decode()


@attrs.frozen
class _Claims:
    sub: str
    exp: Annotated[int, msgspec.Meta(ge=0)] | None = None


def _claims(payload: bytes) -> _Claims | None:
    try:
        text = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        return msgspec.json.decode(text, type=_Claims)
    except ValueError:  # of both
        return None


def _key_in(content: bytes, file: KeyFile) -> KeyPair:
    try:
        import nkeys
    except ImportError:
        raise MissingExtra("a key of NATS", "nats") from None
    found = _SEED.search(content)
    if found is None:
        raise file.unusable("holds no seed of a user")
    seed = bytearray(found[1])
    try:
        prefix, raw = nkeys.decode_seed(seed)
    except nkeys.NkeysError:
        raise file.unusable(_DAMAGED) from None
    if nkeys.encode_seed(bytes(raw), prefix) != seed:  # the library does not look at the checksum
        raise file.unusable(_DAMAGED)
    return nkeys.from_seed(seed)
