"""Stacks: they own every process of a run (start, stop, kill, supervise, reap)."""
