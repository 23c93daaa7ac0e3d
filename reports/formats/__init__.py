"""Files that a report consists of, one module each."""
