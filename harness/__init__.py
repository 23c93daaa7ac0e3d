"""The machinery of stormproof: stacks, engine, oracle, command line; content lives elsewhere."""
