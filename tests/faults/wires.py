"""What is said on the way, split into messages, with those that store a frame."""

from __future__ import annotations

import re
from typing import Final

# PUB subject [reply] bytes, or HPUB subject [reply] header-bytes bytes.
_PUBLISH: Final = re.compile(rb"(H?PUB) (\S+)(?: \S+)*? (\d+)\r\n")
LEAST_FRAME: Final = 512


class NatsWire:
    """A message is a line, or a line and the payload whose length it says."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The messages that are complete now, each with whether it stores something."""
        self._rest += data
        messages: list[tuple[bytes, bool]] = []
        while (end := self._rest.find(b"\r\n") + 2) > 1:
            publish = _PUBLISH.match(self._rest[:end].upper())
            whole = end + int(publish[3]) + 2 if publish else end
            if len(self._rest) < whole:
                break
            # What is stored has headers: the fence is one.
            stores = publish is not None and publish[1] == b"HPUB"
            messages.append((self._rest[:whole], stores))
            self._rest = self._rest[whole:]
        return messages


class AnyWire:
    """A message is what was read at once, and stores nothing."""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The one message."""
        return [(data, False)]


class PostgresWire:
    """A message is what was read at once; a frame is what is too long for anything else."""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The one message, and whether it stores something."""
        return [(data, len(data) >= LEAST_FRAME)]
