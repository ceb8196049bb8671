"""What one buys with a log: any moment again, the life of a stream, and questions about both."""

from rat_fsm.replay.folding import read_events, replay

__all__ = ["read_events", "replay"]
