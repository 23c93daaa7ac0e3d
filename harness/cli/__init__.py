"""The command line: the composition root, the only place that names the packages."""
