"""How to get into the servers: by what a URL says, or the environment, or files that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import attrs

from rat_fsm.errors import StoreUnreadable

if TYPE_CHECKING:
    import ssl

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

    def options(self) -> dict[str, Any]:
        """These as arguments of the client.

        Raises:
            OSError: a file cannot be read, or is something else.
        """
        if self.creds is not None:
            _check_credentials(self.creds)
        given: dict[str, Any] = {"user_credentials": self.creds, "nkeys_seed": self.nkey}
        if self.password is None:
            given["token"] = self.user
        else:
            given |= {"user": self.user, "password": self.password}
        if self.tlsca or self.tlscert:
            given["tls"] = self._tls()
        return {name: value for name, value in given.items() if value is not None}

    def _tls(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context(cafile=self.tlsca)
        if self.tlscert:
            context.load_cert_chain(self.tlscert, self.tlskey)
        return context


def _check_credentials(path: str) -> None:
    """The library reads on for ever in a file that has no user in it."""
    if b"BEGIN NATS USER JWT" not in Path(path).read_bytes():
        raise StoreUnreadable("the file that creds= names holds no credentials of NATS")


def access_of(userinfo: str, options: dict[str, Any]) -> Access:
    """How a URL says to get in, or the environment; takes its options out of the others."""
    user, colon, password = userinfo.partition(":")
    said = {name: options.pop(name) for name in _ENVIRONMENT if name in options}
    if userinfo:
        said["user"] = unquote(user)
    if colon:
        said["password"] = unquote(password)
    if not said.keys() & {"user", "creds", "nkey"}:
        said |= _from_environment("user", "password", "creds", "nkey")
    if not said.keys() & {"tlsca", "tlscert"}:
        said |= _from_environment("tlsca", "tlscert", "tlskey")
    return Access(**said)


def _from_environment(*names: str) -> dict[str, str]:
    found = {name: os.environ.get(_ENVIRONMENT[name]) for name in names}
    return {name: value for name, value in found.items() if value}
