"""How to get into the servers: by what a URL says, or the environment, or files that they name."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import unquote

import attrs

from rat_fsm.errors import InvalidArgument
from rat_fsm.stores.nats.keyfiles import KeyFile, credentials_in, seed_in
from rat_fsm.stores.nats.tls import context_of

# The environment variables of the nats command line, which operators have set already.
_ENVIRONMENT: Final = {
    "user": "NATS_USER",
    "password": "NATS_PASSWORD",
    "creds": "NATS_CREDS",
    "nkey": "NATS_NKEY",
    "tlsca": "NATS_CA",
    "tlscert": "NATS_CERT",
    "tlskey": "NATS_KEY",
}


@attrs.frozen
class Access:
    """How to get in; none of it is ever shown.

    Attributes:
        user: a name; without a password, a token.
        password: of that user.
        creds: the path of a credentials file.
        nkey: the path of a file with a seed.
        tlsca: the path of the certificates to trust.
        tlscert: the path of a certificate of our own.
        tlskey: the path of its key.
    """

    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    creds: str | None = attrs.field(default=None, repr=False)
    nkey: str | None = attrs.field(default=None, repr=False)
    tlsca: str | None = attrs.field(default=None, repr=False)
    tlscert: str | None = attrs.field(default=None, repr=False)
    tlskey: str | None = attrs.field(default=None, repr=False)
    _told: set[str] = attrs.field(factory=set, init=False, eq=False, repr=False)

    def options(self) -> dict[str, Any]:
        """These as arguments of the client; files are read now.

        Raises:
            StoreUnreadable: a file cannot be read, or is something else.
        """
        return self._secret() | self._key() | self._tls()

    def doubt(self) -> str:
        """What may be wrong with a user whom a server has not let in; it tells us nothing."""
        if self.creds is None:
            return ""
        file = self._file("creds", self.creds)
        expired = credentials_in(file).expired
        if expired:
            return f"; the user in {file} has expired ({expired})"
        return f"; the user in {file} was revoked, or is of an account that is not known there"

    def _file(self, option: str, path: str) -> KeyFile:
        return KeyFile(_sources(option), path, self._told)

    def _secret(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        if self.password is None:
            return {"token": self.user}
        return {"user": self.user, "password": self.password}

    def _key(self) -> dict[str, Any]:
        if self.creds is not None:
            found = credentials_in(self._file("creds", self.creds))
            return {"user_jwt_cb": lambda: found.jwt, "signature_cb": found.sign}
        if self.nkey is not None:
            return {"nkeys_seed_str": seed_in(self._file("nkey", self.nkey))}
        return {}

    def _tls(self) -> dict[str, Any]:
        if not self.tlsca and not self.tlscert:
            return {}
        authorities = KeyFile(_sources("tlsca"), self.tlsca) if self.tlsca else None
        certificate = KeyFile(_sources("tlscert"), self.tlscert) if self.tlscert else None
        key = self._file("tlskey", self.tlskey) if self.tlscert and self.tlskey else None
        return {"tls": context_of(authorities, certificate, key)}


def access_of(userinfo: str, options: dict[str, Any]) -> Access:
    """How a URL says to get in, or the environment; takes its options out of the others.

    Raises:
        InvalidArgument: there is a key without a certificate.
    """
    user, colon, password = userinfo.partition(":")
    said = {name: options.pop(name) for name in _ENVIRONMENT if name in options}
    if userinfo:
        said["user"] = unquote(user)
    if colon:
        said["password"] = unquote(password)
    if not said.keys() & {"user", "creds", "nkey"}:
        said |= _from_environment("user", "password", "creds", "nkey")
    if "tlskey" in said and "tlscert" not in said:
        raise InvalidArgument("tlskey= names the key of a certificate: tlscert= must name that")
    if not said.keys() & {"tlsca", "tlscert"}:
        said |= _from_environment("tlsca", "tlscert", "tlskey")
    return Access(**said)


def _sources(option: str) -> str:
    """What may have named a file."""
    return f"{option}= or {_ENVIRONMENT[option]}"


def _from_environment(*names: str) -> dict[str, str]:
    found = {name: os.environ.get(_ENVIRONMENT[name]) for name in names}
    return {name: value for name, value in found.items() if value}
