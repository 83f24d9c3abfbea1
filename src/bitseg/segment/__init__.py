"""The segment language: nodes, text and validation, all pure."""

from bitseg.segment.format import format
from bitseg.segment.parse import parse
from bitseg.segment.validate import validate

__all__ = ["format", "parse", "validate"]
