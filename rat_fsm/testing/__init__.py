"""What tests of rat_fsm, and of programs that use it, are made with."""

from rat_fsm.testing.clock import VirtualClock
from rat_fsm.testing.golden import check_golden

__all__ = ["VirtualClock", "check_golden"]
