"""The memory that trees take."""

from dataclasses import is_dataclass
from enum import Enum
from sys import getsizeof


def tree_bytes(tree: object) -> int:
    """About how many bytes a tree of nodes, tuples and plain values takes."""
    total = 0
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Enum):
            continue
        total += getsizeof(node)
        if isinstance(node, tuple):
            pending += node
        elif is_dataclass(node):
            pending += (getattr(node, name) for name in node.__dataclass_fields__)
    return total
