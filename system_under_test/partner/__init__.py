"""A simulated external partner: executes orders once and journals everything it sees."""
