"""Faults, one file each: how each is injected, healed and proved to have bitten."""
