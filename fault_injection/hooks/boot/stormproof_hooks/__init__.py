"""What runs inside a target's process: standard library only, no decision of its own."""
