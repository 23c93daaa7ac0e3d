"""Scenarios, one outage story each."""

# What must hold whatever was broken; a scenario adds its own.
COMMON = (
    "ledger-balanced", "money-conserved", "owner-conserved", "applied-exactly-once",
    "partner-agrees", "responses-stable", "states-legal", "snapshot-grows", "nothing-stuck",
)  # fmt: skip
