"""The sections of a snapshot that an index has: what their parts look like, and what takes one back."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bitseg.columns import misfit_of_entries
from bitseg.index import part_shapes
from bitseg.index.attributes import Attribute
from bitseg.index.events import Event, Property
from bitseg.index.index import Index
from bitseg.index.lists import UserList
from bitseg.index.unset import UnsetTimes
from bitseg.storage.shapes import PartShape
from bitseg.storage.snapshot import Key
from bitseg.values import ValueType

T = TypeVar("T")


def restore(index: Index, key: Key, state: Any, revision: int) -> None:
    """Take back one part of a snapshot, in the order they were captured in; ValueError for anything else.

    `Index.restored` comes after the last.
    """
    shape, take_back = _SECTIONS[str(key[0])]
    shape.check(key, state)
    take_back(index, key[1:], state, revision)


def _restore_schema(index: Index, key: Key, state: Any, revision: int) -> None:
    match state:
        case {"attributes": list(attributes), "events": list(events)}:
            pass
        case _:
            raise ValueError("the schema is not attributes and events")
    for attribute in attributes:
        match attribute:
            case [str(name), str(type_name), bool(declared)]:
                index.attributes[name] = Attribute(name, ValueType(type_name), declared=declared)
            case _:
                raise ValueError("an attribute is not a name, a type and whether it was declared")
    for description in events:
        event = Event.described(description)
        index.events[event.name] = event


def _restore_entries(index: Index, key: Key, state: Any, revision: int) -> None:
    event, name, _ = key
    owner = _owner(index, event, name)
    if owner.dictionary is None:
        raise ValueError(f"{name!r} has no dictionary")
    if not isinstance(state, list):
        raise ValueError(f"the entries of {name!r} are not a list")
    entries = [tuple(entry) if isinstance(entry, list) else entry for entry in state if entry is not None]
    reason = misfit_of_entries(owner.type, entries)
    if reason is not None:
        raise ValueError(f"the dictionary of {name!r} {reason}")
    owner.dictionary.restore(state, revision, () if owner.type is ValueType.LIST else "")


def _owner(index: Index, event: str | int | None, name: str | int | None) -> Attribute | Property:
    if event is None:
        return _known(index.attributes, name)
    return _known(_known(index.events, event).properties, name)


def _restore_unset(index: Index, key: Key, state: Any, revision: int) -> None:
    (name,) = key
    if name in index.attributes:
        raise ValueError(f"the attribute {name!r} has a type")
    nulls = index.unset[str(name)] = UnsetTimes()
    nulls.restore(state, revision, len(index.users))


def _restore_list(index: Index, key: Key, state: Any, revision: int) -> None:
    (name,) = key
    index.lists[str(name)] = UserList.restored(str(name), state, revision)


def _restore_attribute(index: Index, key: Key, state: Any, revision: int) -> None:
    name, stretch = key
    _known(index.attributes, name).restore(_number(stretch), state, revision, len(index.users))


def _restore_events(index: Index, key: Key, state: Any, revision: int) -> None:
    name, day = key
    _known(index.events, name).restore(_number(day), state, revision, index.calendar, len(index.users))


def _known(names: Mapping[str, T], name: str | int | None) -> T:
    """What a name stands for; ValueError for one that the schema does not have."""
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"the schema has no {name!r}")
    return names[name]


def _number(part: str | int | None) -> int:
    if not isinstance(part, int):
        raise ValueError(f"{part!r} is not a number")
    return part


# By the first item of a part's key: the shape of the part, and the function that restores it.
_SECTIONS: Mapping[str, tuple[PartShape, Callable[[Index, Key, Any, int], None]]] = {
    "schema": (part_shapes.SCHEMA, _restore_schema),
    "users": (part_shapes.USERS, lambda index, key, state, revision: index.users.restore(state)),
    "unset": (part_shapes.UNSET, _restore_unset),
    "list": (part_shapes.LIST, _restore_list),
    "entries": (part_shapes.ENTRIES, _restore_entries),
    "attribute": (part_shapes.ATTRIBUTE, _restore_attribute),
    "events": (part_shapes.DAY, _restore_events),
}
INDEX_SECTIONS = frozenset(_SECTIONS)
