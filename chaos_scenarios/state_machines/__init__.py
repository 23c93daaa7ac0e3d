"""State machines: Hypothesis chooses sequences of operations, a small model says what must hold."""
