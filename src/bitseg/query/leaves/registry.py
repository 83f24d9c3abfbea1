"""Every kind of leaf, by its class."""

from collections.abc import Mapping
from typing import Any

from bitseg.query.leaves.base import LeafKind
from bitseg.query.leaves.comparison import ComparisonKind
from bitseg.query.leaves.did import DidKind
from bitseg.query.leaves.everyone import EveryoneKind
from bitseg.query.leaves.in_bucket import InBucketKind
from bitseg.query.leaves.in_list import InListKind
from bitseg.query.leaves.sequence import SequenceKind
from bitseg.segment.nodes import Comparison, Condition, Did, Everyone, InBucket, InList, Sequence

# And, Or, Not and InSegment are not leaves: the evaluator answers them from other conditions.
KINDS: Mapping[type, LeafKind[Any]] = {
    Comparison: ComparisonKind(),
    Did: DidKind(),
    Everyone: EveryoneKind(),
    InBucket: InBucketKind(),
    InList: InListKind(),
    Sequence: SequenceKind(),
}


def kind_of(condition: Condition) -> LeafKind[Any]:
    """The kind of a leaf; TypeError for a condition that is not a leaf."""
    kind = KINDS.get(type(condition))
    if kind is None:
        raise TypeError(f"unknown kind of condition: {type(condition).__name__}")
    return kind
