"""The machinery of stormproof: stacks, engine, oracle, command line. Content lives in the other packages."""
