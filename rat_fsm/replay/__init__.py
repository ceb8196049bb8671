"""What one buys with a log: any moment again, the life of a stream, and questions about both."""

from rat_fsm.replay.cluster import ClusterView
from rat_fsm.replay.folding import read_events, replay
from rat_fsm.replay.following import follow

__all__ = ["ClusterView", "follow", "read_events", "replay"]
