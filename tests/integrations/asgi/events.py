"""A slow parser of event streams, word for word as WHATWG HTML 9.2.6 interprets them."""

from __future__ import annotations

import attrs


@attrs.frozen
class Event:
    """What a browser would dispatch."""

    type: str
    data: str
    last_event_id: str


@attrs.define
class Parser:
    """Takes a whole body; what it dispatches is in ``events``."""

    events: list[Event] = attrs.field(factory=list)
    retry: int | None = None
    _type: str = ""
    _data: str = ""
    _id: str = ""

    def parse(self, body: bytes) -> list[Event]:
        """The events; an incomplete one at the end is not dispatched."""
        for line in _lines(body.decode("utf-8", "replace")):
            self._take(line)
        return self.events

    def _take(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            self._set(name, value.removeprefix(" "))

    def _set(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += f"{value}\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        if self._data:
            data = self._data.removesuffix("\n")
            self.events.append(Event(self._type or "message", data, self._id))
        self._type = self._data = ""


def _lines(text: str) -> list[str]:
    """The lines that have their end: LF, CR or CRLF."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return unified.split("\n")[:-1]


def parse(body: bytes) -> list[Event]:
    """The events of a body."""
    return Parser().parse(body)


def stands_between_events(body: bytes) -> bool:
    """Whether nothing of an event has begun: no field, no comment, no part of a line."""
    text = body.decode("latin-1")
    if text and not text.endswith(("\r", "\n")):
        return False
    lines = _lines(text)
    return not lines or not lines[-1]
