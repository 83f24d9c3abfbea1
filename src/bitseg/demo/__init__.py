"""The made-up store that `bitseg demo` shows."""
