"""The leaf `in bucket`."""

from collections.abc import Hashable, Iterable, Sequence

from pyroaring import BitMap

from bitseg.calendar import LAST_INSTANT_MS
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators import buckets
from bitseg.query.leaves.base import Evidence, LeafKind, Source, Warnings, Work
from bitseg.segment.nodes import InBucket
from bitseg.segment.windows import Interval


class InBucketKind(LeafKind[InBucket]):
    """The users whose hash falls into a range of buckets."""

    def compile(self, condition: InBucket, index: Index, context: Context, among: BitMap | None = None) -> Work:
        hashes, everyone = index.users.hashes(), index.users.everyone
        candidates = everyone if among is None else among & everyone
        return lambda: buckets.members(condition, hashes, candidates)

    def is_quick(self, condition: InBucket, index: Index, context: Context) -> bool:
        return False

    def stored(self, condition: InBucket, index: Index) -> BitMap | None:
        return None

    def estimate(self, condition: InBucket, index: Index, context: Context) -> int:
        return len(index.users.everyone) * (condition.last - condition.first + 1) // condition.of

    def sources(self, condition: InBucket, index: Index) -> Sequence[Source]:
        return (index.users,)

    def intervals(self, condition: InBucket, index: Index, context: Context) -> tuple[Interval, ...]:
        return ()

    def inner_windows(self, condition: InBucket, context: Context) -> Hashable:
        return None

    def moved(self, condition: InBucket, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        return ()

    def valid_until_ms(self, condition: InBucket, index: Index, context: Context) -> int:
        return LAST_INSTANT_MS

    def check_names(self, condition: InBucket, index: Index, warnings: Warnings) -> None:
        """There is no name to check."""

    def evidence(self, condition: InBucket, user: int, index: Index, context: Context) -> Evidence:
        hashes = index.users.hashes()[user : user + 1]
        bucket = int(buckets.bucket_of(hashes, condition.seed, condition.of)[0])
        return Evidence(note=f"bucket {bucket} of {condition.of}")
