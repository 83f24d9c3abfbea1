"""Blocks of columns to files that the importers read back."""
