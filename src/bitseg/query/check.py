"""Holding a segment against what the workspace has: names that exist, operators that fit their types."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from bitseg.errors import TypeMismatchError, UnknownAttributeError, UnknownListError, UnknownSegmentError
from bitseg.index.events import Event
from bitseg.index.index import Index
from bitseg.index.operators.predicates import fitting_types, require_fit
from bitseg.segment import nodes
from bitseg.segment.nodes import Aggregate, Comparison, Condition, Did, Function, InList, InSegment, children
from bitseg.values import ValueType


def check_names(condition: Condition, index: Index, segments: Mapping[str, Condition]) -> tuple[str, ...]:
    """Warnings about events and properties that have not been seen.

    Looks into the saved segments that the condition refers to, too. Raises UnknownAttributeError for an attribute that
    no user has ever had, TypeMismatchError for an operator or a value that does not fit, UnknownSegmentError and
    UnknownListError for what is not saved. An event that has not arrived yet may still do so, and is no error.
    """
    warnings: dict[str, None] = {}
    pending = [condition]
    followed: set[str] = set()
    while pending:
        node = pending.pop()
        pending += reversed(children(node))
        if isinstance(node, Comparison):
            _check_attribute(node, index)
        elif isinstance(node, Did):
            events = _events(node.event, index, warnings)
            _check_where(node.where, events, warnings)
            if isinstance(node.quantity, Aggregate):
                _check_aggregate(node.quantity, events, warnings)
        elif isinstance(node, nodes.Sequence):
            for step in nodes.steps(node):
                _check_where(step.where, _events(step.event, index, warnings), warnings)
        elif isinstance(node, InSegment) and node.name not in followed:
            if node.name not in segments:
                hint = _nearest(node.name, segments)
                raise UnknownSegmentError(f'there is no segment "{node.name}"', hint=hint)
            followed.add(node.name)
            pending.append(segments[node.name])
        elif isinstance(node, InList) and node.name not in index.lists:
            raise UnknownListError(f'there is no list "{node.name}"', hint=_nearest(node.name, index.lists))
    return tuple(warnings)


def _check_attribute(node: Comparison, index: Index) -> None:
    attribute = index.attributes.get(node.name)
    if attribute is None:
        raise UnknownAttributeError(
            f'no user has an attribute "{node.name}"', hint=_nearest(node.name, index.attributes)
        )
    require_fit(f'the attribute "{node.name}"', node.predicate, attribute.type)


def _events(name: str | None, index: Index, warnings: dict[str, None]) -> Sequence[Event]:
    events = index.events_named(name)
    if name is not None and not any(event.has_occurred for event in events):
        hint = _nearest(name, index.events)
        warnings[f'no event "{name}" has arrived yet' + (f"; {hint}" if hint else "")] = None
    return events


def _check_where(where: Condition | None, events: Sequence[Event], warnings: dict[str, None]) -> None:
    pending = [where] if where is not None else []
    while pending:
        node = pending.pop()
        pending += reversed(children(node))
        if not isinstance(node, Comparison):
            continue
        fitting = fitting_types(node.predicate)
        for event, value_type in _mismatches(node.name, fitting, events, warnings):
            require_fit(f'the property "{node.name}" of "{event}"', node.predicate, value_type)


def _check_aggregate(quantity: Aggregate, events: Sequence[Event], warnings: dict[str, None]) -> None:
    wanted = frozenset(ValueType) if quantity.function is Function.DISTINCT else frozenset({ValueType.NUMBER})
    for event, value_type in _mismatches(quantity.property, wanted, events, warnings):
        raise TypeMismatchError(
            f'the property "{quantity.property}" of "{event}" is a {value_type.value}',
            hint=f"{quantity.function.value} needs a number; distinct takes any type",
        )


def _mismatches(
    name: str, fitting: frozenset[ValueType], events: Sequence[Event], warnings: dict[str, None]
) -> list[tuple[str, ValueType]]:
    """Where the property has a type that does not fit; nothing where it fits for at least one of the events."""
    found = [(event.name, event.properties[name].type) for event in events if name in event.properties]
    if events and not found:
        known = dict.fromkeys(each for event in events for each in event.properties)
        hint = _nearest(name, known)
        of = f' of "{events[0].name}"' if len(events) == 1 else ""
        warnings[f'no property "{name}"{of} has arrived yet' + (f"; {hint}" if hint else "")] = None
    if any(value_type in fitting for _, value_type in found):
        return []
    return found


def _nearest(name: str, known: Iterable[str]) -> str | None:
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)
    return "did you mean " + " or ".join(f'"{folded[each]}"' for each in near) + "?" if near else None
