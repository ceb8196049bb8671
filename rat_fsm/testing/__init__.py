"""What tests of rat_fsm, and of programs that use it, are made with."""

from rat_fsm.testing.clock import VirtualClock

__all__ = ["VirtualClock"]
