"""The certificates to trust and to show, from the files that a URL or the environment names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from rat_fsm.errors import StoreUnreadable

if TYPE_CHECKING:
    import ssl

    from rat_fsm.stores.nats.keyfiles import KeyFile


def context_of(
    authorities: KeyFile | None, certificate: KeyFile | None, key: KeyFile | None
) -> ssl.SSLContext:
    """What a connection is made with, as the files are now.

    Args:
        authorities: certificates to trust; None trusts those of the system.
        certificate: one of our own.
        key: its key; None where that is in the same file.

    Raises:
        StoreUnreadable: a file cannot be read, or holds something else.
    """
    import ssl

    for file in (authorities, certificate, key):
        if file is not None:
            file.read()  # who loads it is told neither which it was nor why
    try:
        context = ssl.create_default_context(cafile=authorities.path if authorities else None)
    except ssl.SSLError as problem:
        raise StoreUnreadable(f"{authorities} holds no certificates: {problem}") from None
    if certificate is not None:
        _show(context, certificate, key)
    return context


def _show(context: ssl.SSLContext, certificate: KeyFile, key: KeyFile | None) -> None:
    import ssl

    try:
        context.load_cert_chain(certificate.path, key.path if key else None, _no_passphrase)
    except ssl.SSLError as problem:
        files = f"{certificate}{f', or {key},' if key else ''}"
        raise StoreUnreadable(f"{files} cannot be used: {problem}") from None


def _no_passphrase() -> NoReturn:
    """Without it, whoever sits at the terminal would be asked, and the log would wait."""
    raise StoreUnreadable("the key of the certificate needs a passphrase, which nobody gives here")
