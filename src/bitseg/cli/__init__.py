"""The command line: only options and printing."""
