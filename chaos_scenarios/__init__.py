"""Content, one file each: scenarios, invariants, state machines, variants."""
