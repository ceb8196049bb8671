"""The store on NATS JetStream: frames as messages of one stream, kept by one server or by three."""

from __future__ import annotations

from rat_fsm.stores.nats.store import NatsStore

__all__ = ["NatsStore"]
