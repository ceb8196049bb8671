"""Makes frames of accepted rows, each continuing the one before; others store them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rat_fsm.codec import MAX_BODY, MAX_EVENTS, WIDTH, encode_body, seal, split
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.codec import Rows
    from rat_fsm.stores.port import Frame


class Chain:
    """The chain of one writer, as far as it has been sealed; what is stored may lag behind.

    Attributes:
        writer: whose chain it is.
        head: the hash of the last frame.
    """

    def __init__(
        self, writer: str, fingerprints: tuple[str, ...], head: bytes | None = None
    ) -> None:
        self.writer = writer
        self.head = GENESIS if head is None else head
        self._fingerprints = fingerprints
        self._most = MAX_EVENTS

    def frames(self, first: int, rows: Rows) -> Iterator[Frame]:
        """The frames of some rows, each sealed when it is asked for.

        Args:
            first: the sequence number of the first row.
            rows: whole transactions.

        Raises:
            ValueError: a transaction is larger than a frame may be.
        """
        start = 0
        while start < len(rows):
            some = rows[start : start + WIDTH * (MAX_EVENTS + 1)]
            frame = self._seal(first + start // WIDTH, some)
            start += WIDTH * frame.count
            yield frame

    def _seal(self, first: int, rows: Rows) -> Frame:
        """Makes one frame of the first rows, as many as fit."""
        size = split(rows, self._most)
        body, counts = encode_body(rows[: WIDTH * size])
        while len(body) > MAX_BODY:
            if size == 1 or self._most == 1:
                raise ValueError(f"a transaction takes {len(body)} bytes, at most {MAX_BODY}")
            self._most = max(1, min(size, self._most) // 2)
            size = split(rows, self._most)
            body, counts = encode_body(rows[: WIDTH * size])
        # Where events are large, the next frame does not begin at the largest size again.
        self._most = min(MAX_EVENTS, 2 * self._most)
        frame = seal(
            writer=self.writer,
            first=first,
            count=size,
            first_at=rows[0],
            last_at=rows[WIDTH * (size - 1)],
            body=body,
            fingerprints=self._fingerprints,
            salt=os.urandom(16),
            prev=self.head,
        )
        for record, count in counts.items():
            record.written += count
        self.head = frame.hash
        return frame
