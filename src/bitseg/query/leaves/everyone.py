"""The leaf `everyone`."""

from collections.abc import Hashable, Iterable, Sequence

from pyroaring import BitMap

from bitseg.calendar import LAST_INSTANT_MS
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.leaves.base import Evidence, LeafKind, Source, Warnings, Work
from bitseg.segment.nodes import Everyone
from bitseg.segment.windows import Interval


class EveryoneKind(LeafKind[Everyone]):
    """Every user who is not deleted."""

    def compile(self, condition: Everyone, index: Index, context: Context, among: BitMap | None = None) -> Work:
        members = index.users.everyone if among is None else index.users.everyone & among
        return lambda: members

    def is_quick(self, condition: Everyone, index: Index, context: Context) -> bool:
        return True

    def stored(self, condition: Everyone, index: Index) -> BitMap | None:
        return index.users.everyone

    def estimate(self, condition: Everyone, index: Index, context: Context) -> int:
        return len(index.users.everyone)

    def sources(self, condition: Everyone, index: Index) -> Sequence[Source]:
        return (index.users,)

    def intervals(self, condition: Everyone, index: Index, context: Context) -> tuple[Interval, ...]:
        return ()

    def inner_windows(self, condition: Everyone, context: Context) -> Hashable:
        return None

    def moved(self, condition: Everyone, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        return ()

    def valid_until_ms(self, condition: Everyone, index: Index, context: Context) -> int:
        return LAST_INSTANT_MS

    def check_names(self, condition: Everyone, index: Index, warnings: Warnings) -> None:
        """There is no name to check."""

    def evidence(self, condition: Everyone, user: int, index: Index, context: Context) -> Evidence:
        return Evidence()
