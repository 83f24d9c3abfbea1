"""The segment language: nodes, text form and validation. Everything here is pure."""

from bitseg.segment.format import format
from bitseg.segment.parse import parse, parse_window
from bitseg.segment.validate import validate

__all__ = ["format", "parse", "parse_window", "validate"]
