"""Faults and the mechanisms that inject them."""
