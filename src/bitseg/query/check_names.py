"""Checking a segment against the data: names must exist, and operators must fit the types."""

from collections.abc import Mapping

from bitseg.errors import UnknownSegmentError
from bitseg.index.index import Index
from bitseg.query.leaves.base import Warnings
from bitseg.query.leaves.names import nearest
from bitseg.query.leaves.registry import kind_of
from bitseg.runtime import cancellation
from bitseg.segment.nodes import And, Condition, InSegment, Not, Or, children


def check_names(condition: Condition, index: Index, segments: Mapping[str, Condition]) -> tuple[str, ...]:
    """Warnings about events and properties that have not arrived yet. They may still arrive, so they are not errors.

    Follows references to saved segments, too. Raises UnknownAttributeError for an attribute that no user has ever had,
    TypeMismatchError for an operator or a value that does not fit the type, UnknownSegmentError or UnknownListError for
    a reference to what is not saved, TypeError for an unknown kind of condition.
    """
    warnings: Warnings = {}
    pending = [condition]
    followed: set[str] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, And | Or | Not):
            pending += reversed(children(node))
        elif not isinstance(node, InSegment):
            kind_of(node).check_names(node, index, warnings)
        elif node.name not in followed:
            cancellation.check()
            if node.name not in segments:
                hint = nearest(node.name, segments)
                raise UnknownSegmentError(f'there is no segment "{node.name}"', hint=hint)
            followed.add(node.name)
            pending.append(segments[node.name])
    return tuple(warnings)
