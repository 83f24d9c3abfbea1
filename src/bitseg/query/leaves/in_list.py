"""The leaf `in list`."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from bitseg.calendar import LAST_INSTANT_MS
from bitseg.errors import UnknownListError
from bitseg.index.changes import ChangeLog
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.leaves.base import Evidence, LeafKind, Source, Warnings, Work
from bitseg.query.leaves.names import nearest
from bitseg.segment.nodes import InList
from bitseg.segment.windows import Interval


@dataclass(frozen=True, slots=True)
class _Unlogged:
    """A source without a change log: after any new revision, all users may have changed."""

    revision: int

    @property
    def changes(self) -> ChangeLog:
        log = ChangeLog()
        log.forget(self.revision)
        return log


class InListKind(LeafKind[InList]):
    """The users whose ids are on a static list."""

    def compile(self, condition: InList, index: Index, context: Context, among: BitMap | None = None) -> Work:
        listed = index.lists[condition.name].members(index.users)
        members = listed if among is None else listed & among
        return lambda: members

    def is_quick(self, condition: InList, index: Index, context: Context) -> bool:
        return True

    def stored(self, condition: InList, index: Index) -> BitMap | None:
        return index.lists[condition.name].members(index.users)

    def estimate(self, condition: InList, index: Index, context: Context) -> int:
        return len(index.lists[condition.name].user_ids)

    def sources(self, condition: InList, index: Index) -> Sequence[Source]:
        return (index.users, _Unlogged(index.lists[condition.name].revision))

    def intervals(self, condition: InList, index: Index, context: Context) -> tuple[Interval, ...]:
        return ()

    def inner_windows(self, condition: InList, context: Context) -> Hashable:
        return None

    def moved(self, condition: InList, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        return ()

    def valid_until_ms(self, condition: InList, index: Index, context: Context) -> int:
        return LAST_INSTANT_MS

    def check_names(self, condition: InList, index: Index, warnings: Warnings) -> None:
        if condition.name not in index.lists:
            raise UnknownListError(f'there is no list "{condition.name}"', hint=nearest(condition.name, index.lists))

    def evidence(self, condition: InList, user: int, index: Index, context: Context) -> Evidence:
        return Evidence()
