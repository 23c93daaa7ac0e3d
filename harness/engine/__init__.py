"""The engine: carries a run through its life and writes the journal, alone."""
