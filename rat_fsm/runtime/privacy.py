"""How much of a client's address is kept.

What computes it is imported where it is used: most servers keep addresses as they are, and every
millisecond of `import rat_fsm` counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.runtime.arguments import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Keep = Callable[[str], str]

IPV4_PREFIX: Final = 24
IPV6_PREFIX: Final = 48  # what one customer usually gets, RFC 6177


def _truncated(address: str) -> str:
    import ipaddress

    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX  # noqa: PLR2004 - IPv4
    return str(ipaddress.ip_network((parsed, prefix), strict=False))


def _hmac() -> Keep:
    """Pseudonyms under a key that dies with the process: equal within a run, meaningless after."""
    import hashlib
    import hmac
    import secrets

    key = secrets.token_bytes(32)
    return lambda address: hmac.new(key, address.encode(), hashlib.sha256).hexdigest()[:16]


_MAKERS: Mapping[str, Callable[[], Keep]] = {
    "full": lambda: str,
    "truncated": lambda: _truncated,
    "hmac": _hmac,
    "none": lambda: lambda _address: "",
}


def address_keeper(mode: str) -> Keep:
    """What is recorded of an address: full, truncated (/24, /48), hmac or none.

    Raises:
        InvalidArgument: another mode.
    """
    return _MAKERS[check_choice(mode, "remote_addr", _MAKERS)]()
