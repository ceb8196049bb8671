"""An operator of NATS with one account, whose users' JWTs and credentials files are made here."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.nats import NatsServer

_UNLIMITED: Final = dict.fromkeys(("subs", "data", "payload"), -1)
_ACCOUNT: Final = dict.fromkeys(("imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
_JETSTREAM: Final = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


@attrs.frozen
class Key:
    """A pair of keys.

    Attributes:
        seed: what must stay secret.
        public: by which the others know it.
    """

    seed: str = attrs.field(repr=False)
    public: str

    @classmethod
    def generate(cls, kind: str) -> Key:
        """One of an ``operator``, an ``account`` or a ``user``."""
        import nkeys  # type: ignore[import-untyped]

        prefix = getattr(nkeys, f"PREFIX_BYTE_{kind.upper()}")
        seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        return cls(seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode())

    def signed(self, subject: Key, kind: str, expires: float | None = None, **claims: Any) -> str:
        """A JWT about somebody."""
        import nkeys

        about = {
            "jti": secrets.token_hex(8),
            "iat": int(time.time()),
            "iss": self.public,
            "sub": subject.public,
            "name": f"the {kind}",
            "nats": {"type": kind, "version": 2, **claims},
        } | ({} if expires is None else {"exp": int(expires)})
        body = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(about)}"
        signature = nkeys.from_seed(bytearray(self.seed.encode())).sign(body.encode())
        return f"{body}.{_base64(signature)}"


def _encoded(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def credentials(jwt: str, seed: str) -> str:
    """A credentials file as the tools of NATS write it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


class Operator:
    """Who signs accounts, of which servers are told by a file in their folder.

    Args:
        folder: of the server.

    Attributes:
        more: the lines of a server's configuration that make it believe the operator.
    """

    more: Final = 'include "accounts.conf"'

    def __init__(self, folder: Path) -> None:
        self._file = folder / "accounts.conf"
        self._key, self._account = Key.generate("operator"), Key.generate("account")
        self._revoked: dict[str, int] = {}
        # No running server takes another JWT of these, not even one that says the same.
        self._itself = self._key.signed(self._key, "operator")
        self._system = Key.generate("account")
        self._of_system = self._key.signed(self._system, "account", limits=_UNLIMITED | _ACCOUNT)
        self._write()

    def _write(self) -> None:
        account = self._key.signed(
            self._account,
            "account",
            limits=_UNLIMITED | _ACCOUNT | _JETSTREAM,
            revocations=self._revoked,
        )
        self._file.write_text(
            f"operator: {self._itself}\n"
            f"system_account: {self._system.public}\n"
            "resolver: MEMORY\n"
            f"resolver_preload: {{ {self._system.public}: {self._of_system}\n"
            f"{self._account.public}: {account} }}\n"
        )

    def jwt(self, user: Key, expires: float | None = None) -> str:
        """What lets a user into the account, who may do everything there."""
        return self._account.signed(user, "user", expires, **_UNLIMITED)

    def revoke(self, user: Key, server: NatsServer) -> None:
        """Lets a user in no more, and drops the connections that there are."""
        self._revoked[user.public] = int(time.time()) + 1
        self._write()
        os.kill(server.pid, signal.SIGHUP)
