"""A comparison of an attribute."""

from collections.abc import Hashable, Iterable, Sequence

from pyroaring import BitMap

from bitseg.errors import UnknownAttributeError
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators.predicates import require_fit
from bitseg.query.leaves.base import Evidence, LeafKind, Source, Warnings, Work
from bitseg.query.leaves.names import nearest
from bitseg.query.leaves.windows import next_move_ms, resolved, window_of
from bitseg.segment.nodes import Comparison, Falls
from bitseg.segment.windows import Interval


class ComparisonKind(LeafKind[Comparison]):
    """The users whose attribute satisfies a predicate."""

    def compile(self, condition: Comparison, index: Index, context: Context, among: BitMap | None = None) -> Work:
        attribute, predicate = index.attributes[condition.name], condition.predicate
        if among is None and not attribute.is_quick(predicate, context):
            return lambda: attribute.scan(predicate, context)
        members = attribute.members(predicate, context, among)
        return lambda: members

    def is_quick(self, condition: Comparison, index: Index, context: Context) -> bool:
        return index.attributes[condition.name].is_quick(condition.predicate, context)

    def stored(self, condition: Comparison, index: Index) -> BitMap | None:
        return index.attributes[condition.name].stored(condition.predicate)

    def estimate(self, condition: Comparison, index: Index, context: Context) -> int:
        return index.attributes[condition.name].estimate(condition.predicate, context)

    def sources(self, condition: Comparison, index: Index) -> Sequence[Source]:
        return (index.attributes[condition.name],)

    def intervals(self, condition: Comparison, index: Index, context: Context) -> tuple[Interval, ...]:
        return ()

    def inner_windows(self, condition: Comparison, context: Context) -> Hashable:
        return resolved(window_of(condition.predicate), context)

    def moved(self, condition: Comparison, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        return ()

    def valid_until_ms(self, condition: Comparison, index: Index, context: Context) -> int:
        window = window_of(condition.predicate)
        return next_move_ms([] if window is None else [window], context)

    def check_names(self, condition: Comparison, index: Index, warnings: Warnings) -> None:
        attribute = index.attributes.get(condition.name)
        if attribute is None:
            raise UnknownAttributeError(
                f'no user has an attribute "{condition.name}"', hint=nearest(condition.name, index.attributes)
            )
        require_fit(f'the attribute "{condition.name}"', condition.predicate, attribute.type)

    def evidence(self, condition: Comparison, user: int, index: Index, context: Context) -> Evidence:
        predicate = condition.predicate
        # The window of an anniversary compares month and day only, which no interval of instants can show.
        window = predicate.window if isinstance(predicate, Falls) else None
        value = index.attributes[condition.name].value(user)
        return Evidence(value, resolved(window, context), note="" if value is not None else "not set")
