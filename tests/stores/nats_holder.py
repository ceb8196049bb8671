"""A process that holds a slot of a log and appends when it is told; see `test_nats_slots`.

Arguments: the URL, the writer. It prints ``held``; then for each line that it reads it appends the
next frame of the chain and prints the position or the name of what was raised.
"""

from __future__ import annotations

import sys

from rat_fsm.stores import open_store
from rat_fsm.testing.store_contract import make_frame


def say(what: object) -> None:
    """Tells the test."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(url: str, writer: str) -> None:
    """Holds the slot until there are no more lines."""
    store = open_store(url, writable=True)
    store.claim(writer)
    say("held")
    head = store.head(writer)
    frame = None if head is None else head.frame
    for _ in sys.stdin:
        following = make_frame(writer, frame)
        try:
            say(store.append(following))
            frame = following
        except Exception as problem:  # noqa: BLE001 - its name is what is asked for
            say(type(problem).__name__)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
