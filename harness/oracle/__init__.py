"""The oracle: turns a journal and given invariants into verdicts, with no target at hand."""
