"""The command line: flags and printing alone."""
