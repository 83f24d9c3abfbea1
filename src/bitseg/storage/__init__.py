"""Bytes on disk; knows nothing of the index."""
