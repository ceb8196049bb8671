"""Benchmarks of rat_fsm, side by side with its peers in one run: ``python -m benchmarks``."""
