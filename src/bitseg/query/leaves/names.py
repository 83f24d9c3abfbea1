"""Checks of the names of events and properties, and hints for misspelt names."""

import difflib
from collections.abc import Iterable, Sequence

from bitseg.errors import TypeMismatchError
from bitseg.index.events import Event
from bitseg.index.index import Index
from bitseg.index.operators.predicates import fitting_types, require_fit
from bitseg.query.leaves.base import Warnings
from bitseg.segment.nodes import Aggregate, Comparison, Condition, Function, children
from bitseg.values import ValueType


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint with the known names nearest to an unknown one; None if no name is near."""
    by_lower_case = {known_name.lower(): known_name for known_name in known}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.6)
    return "did you mean " + " or ".join(f'"{by_lower_case[match]}"' for match in near) + "?" if near else None


def check_event(name: str | None, index: Index, warnings: Warnings) -> Sequence[Event]:
    """The events of a name; None stands for all. Adds a warning if no such event has arrived, which is no error."""
    events = index.events_named(name)
    if name is not None and not any(event.has_occurred for event in events):
        hint = nearest(name, index.events)
        warnings[f'no event "{name}" has arrived yet' + (f"; {hint}" if hint else "")] = None
    return events


def check_where(where: Condition | None, events: Sequence[Event], warnings: Warnings) -> None:
    """Raise TypeMismatchError if a property has a type that its predicate does not take."""
    pending = [where] if where is not None else []
    while pending:
        node = pending.pop()
        pending += reversed(children(node))
        if not isinstance(node, Comparison):
            continue
        fitting = fitting_types(node.predicate)
        for event, value_type in _mismatches(node.name, fitting, events, warnings):
            require_fit(f'the property "{node.name}" of "{event}"', node.predicate, value_type)


def check_aggregate(quantity: Aggregate, events: Sequence[Event], warnings: Warnings) -> None:
    """Raise TypeMismatchError if a property cannot be added up."""
    fitting = frozenset(ValueType) if quantity.function is Function.DISTINCT else frozenset({ValueType.NUMBER})
    for event, value_type in _mismatches(quantity.property, fitting, events, warnings):
        raise TypeMismatchError(
            f'the property "{quantity.property}" of "{event}" is a {value_type.value}',
            hint=f"{quantity.function.value} needs a number; distinct takes any type",
        )


def _mismatches(
    name: str, fitting: frozenset[ValueType], events: Sequence[Event], warnings: Warnings
) -> list[tuple[str, ValueType]]:
    """The events whose property has a type that does not fit; empty if it fits for at least one of the events."""
    types = [(event.name, event.properties[name].type) for event in events if name in event.properties]
    if events and not types:
        known = dict.fromkeys(property_name for event in events for property_name in event.properties)
        hint = nearest(name, known)
        of = f' of "{events[0].name}"' if len(events) == 1 else ""
        warnings[f'no property "{name}"{of} has arrived yet' + (f"; {hint}" if hint else "")] = None
    return [] if any(value_type in fitting for _, value_type in types) else types
