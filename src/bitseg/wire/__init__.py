"""Segments, operations and errors to protobuf and back."""
