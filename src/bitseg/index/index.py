"""The index: all users, attributes, events and lists of a workspace in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import Calendar
from bitseg.errors import InvalidArgumentError, TypeMismatchError
from bitseg.index.attributes import Attribute
from bitseg.index.bitmaps import to_array
from bitseg.index.capture import CapturedIndex
from bitseg.index.events import Event, Property
from bitseg.index.lists import UserList
from bitseg.index.schema import MAX_ATTRIBUTES, MAX_EVENT_NAMES, MAX_PROPERTIES
from bitseg.index.unset import UnsetTimes
from bitseg.index.users import UserDirectory
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.records import Batch, Deletion, EventRows, Field, UserRows, Values
from bitseg.storage.snapshot import Part
from bitseg.values import Column, ValueType, empty

# While a batch is applied: bytes that a row and a dictionary entry take, and copies of each value in memory.
_ROW_BYTES = 512
_ENTRY_BYTES = 512
_COPIES = 4
# The widest value is a latitude and a longitude.
_WIDEST_VALUE_BYTES = 16


@dataclass(frozen=True, slots=True)
class SchemaField:
    """An attribute (`event` None) or an event's property, its type, and whether the type was declared."""

    event: str | None
    name: str
    type: ValueType
    declared: bool


@dataclass(slots=True)
class Touched:
    """What a batch changes: users as arrays of dense ids, with repeats, and names of attributes, events and lists."""

    users: list[NDArray[np.uint32]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)


class Index:
    """Users, attributes and events of one workspace, all of one `version`.

    It is the schema of a workspace too (see `bitseg.index.schema.Schema`).
    """

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.users = UserDirectory()
        self.attributes: dict[str, Attribute] = {}
        # Attributes that have only been set to null, so that they have no type yet.
        self.unset: dict[str, UnsetTimes] = {}
        self.events: dict[str, Event] = {}
        self.lists: dict[str, UserList] = {}
        # Whether users were deleted since the last snapshot.
        self.has_deleted = False
        self.version = 0
        # Grows whenever the names that segments are checked against change.
        self.schema_revision = 0

    def apply(self, batch: Batch, touched: Touched) -> None:
        """Apply the changes of a batch in order, and add what they change to `touched`."""
        for new_field in batch.fields:
            self.begin(new_field)
        for change in batch.changes:
            if isinstance(change, Deletion):
                self._delete(change.user_ids, touched)
            elif isinstance(change, UserRows):
                self._write_attributes(change, touched)
            else:
                self._append_events(change, touched)

    def begin(self, field: Field) -> None:
        """Add an attribute or a property to the schema, or give its type to an attribute that has none yet."""
        if field.event is not None:
            assert field.type is not None
            properties = self._event(field.event).properties
            if field.name not in properties:
                properties[field.name] = Property(field.type)
                self.schema_revision += 1
        elif field.type is None:
            if not self.has_attribute(field.name):
                self.unset[field.name] = UnsetTimes()
                self.schema_revision += 1
        elif field.name not in self.attributes:
            attribute = self.attributes[field.name] = Attribute(field.name, field.type)
            self.schema_revision += 1
            nulls = self.unset.pop(field.name, None)
            if nulls is not None and len(nulls):
                users, times_ms = nulls.arrays()
                attribute.write(users, times_ms, Column(field.type, empty(field.type, len(users))))

    def _event(self, name: str) -> Event:
        event = self.events.get(name)
        if event is None:
            event = self.events[name] = Event(name)
        return event

    def _delete(self, user_ids: Sequence[str], touched: Touched) -> None:
        self.has_deleted = True
        users = self.users.delete(user_ids)
        if len(users):
            for attribute in self.attributes.values():
                attribute.clear(users)
            for nulls in self.unset.values():
                nulls.clear(users)
            for event in self.events.values():
                event.remove(users)
            touched.users.append(users)
            touched.attributes.update(self.attributes)
            touched.events.update(self.events)
        for name, user_list in self.lists.items():
            remaining = user_list.without(user_ids, self.version)
            if remaining is not user_list:
                self.lists[name] = remaining
                touched.lists.add(name)

    def _write_attributes(self, rows: UserRows, touched: Touched) -> None:
        users = self.users.assign(rows.user_ids)
        touched.users.append(users)
        touched.attributes.update(rows.values)
        for name, values in rows.values.items():
            writers, times_ms = users, rows.timestamps_ms
            if values.rows is not None:
                writers, times_ms = users[values.rows], times_ms[values.rows]
            attribute = self.attributes.get(name)
            if attribute is None:
                self.unset[name].write(writers, times_ms)
                continue
            data = values.data if values.type is not None else empty(attribute.type, len(writers))
            attribute.write(writers, times_ms, Column(attribute.type, data, values.entries))

    def _append_events(self, rows: EventRows, touched: Touched) -> None:
        event = self._event(rows.event)
        users = self.users.assign(rows.user_ids)
        touched.users.append(users)
        touched.events.add(rows.event)
        columns = {
            name: _whole_column(event.properties[name], values, len(users)) for name, values in rows.values.items()
        }
        self.schema_revision += not event.has_occurred
        event.append(users, rows.timestamps_ms, columns, self.calendar)

    def bytes_needed(self, batch: Batch) -> int:
        """An upper estimate of the bytes that `apply` needs for a batch, temporary arrays included."""
        needed = 0
        arriving = 0
        growing: set[str] = set()
        for change in batch.changes:
            if isinstance(change, Deletion):
                continue
            rows = len(change.user_ids)
            arriving += rows
            needed += rows * _ROW_BYTES
            for name, values in change.values.items():
                # A property takes a cell for every event of the block, with or without a value.
                cells = rows if isinstance(change, EventRows) else len(values.data)
                needed += cells * _WIDEST_VALUE_BYTES * _COPIES + len(values.entries) * _ENTRY_BYTES
                if isinstance(change, UserRows) and values.type is not None:
                    growing.add(name)
        users = len(self.users) + arriving
        for name in growing:
            attribute = self.attributes.get(name)
            if attribute is None or attribute.capacity < users:
                # Columns of values and of times grow by half, and both copies exist for a while.
                needed += max(users, 1024) * (_WIDEST_VALUE_BYTES + 8) * 5 // 2
        return needed

    def prepare(self) -> None:
        """Build now what queries would build on first use: sorted partitions, rollups, bitmaps and bins."""
        for attribute in self.attributes.values():
            attribute.prepare()
        for event in self.events.values():
            event.prepare()

    def events_named(self, name: str | None) -> list[Event]:
        """The event of a name, if it is known; all events for None."""
        if name is None:
            return list(self.events.values())
        return [self.events[name]] if name in self.events else []

    def has_attribute(self, name: str) -> bool:
        """Whether an attribute is known, with or without a type."""
        return name in self.attributes or name in self.unset

    def attribute_type(self, name: str) -> ValueType | None:
        """The type of an attribute; None where it is not known or has no type yet."""
        attribute = self.attributes.get(name)
        return None if attribute is None else attribute.type

    def attribute_count(self) -> int:
        """How many attributes are known."""
        return len(self.attributes) + len(self.unset)

    def has_event(self, event: str) -> bool:
        """Whether an event name is known."""
        return event in self.events

    def event_count(self) -> int:
        """How many event names are known."""
        return len(self.events)

    def property_type(self, event: str, name: str) -> ValueType | None:
        """The type of an event's property; None where it is not known."""
        owner = self.events.get(event)
        definition = None if owner is None else owner.properties.get(name)
        return None if definition is None else definition.type

    def property_count(self, event: str) -> int:
        """How many properties of an event are known."""
        return len(self.events[event].properties) if event in self.events else 0

    def fields(self) -> list[SchemaField]:
        """Every attribute with a type, then every property by event."""
        attributes = [
            SchemaField(None, attribute.name, attribute.type, attribute.declared)
            for attribute in self.attributes.values()
        ]
        return attributes + [
            SchemaField(event.name, name, definition.type, definition.declared)
            for event in self.events.values()
            for name, definition in event.properties.items()
        ]

    def check_declaration(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Raise InvalidArgumentError for a bad name or type and beyond the limits, TypeMismatchError."""
        what = "attribute name" if event is None else "property name"
        reason = malformed_text(name, what, MAX_NAME_BYTES)
        if event is not None:
            reason = reason or malformed_text(event, "event name", MAX_NAME_BYTES)
        if not isinstance(value_type, ValueType):
            reason = reason or f"the type {value_type!r} is no ValueType"
        if reason is not None:
            raise InvalidArgumentError(reason)
        known = self._typed(event).get(name)
        if known is None:
            self._require_room(name, event)
        if known is not None and known.type is not value_type:
            subject = f'the attribute "{name}"' if event is None else f'the property "{name}" of "{event}"'
            raise TypeMismatchError(
                f"{subject} is a {known.type.value} already", hint="declare types before the first value arrives"
            )

    def _require_room(self, name: str, event: str | None) -> None:
        """Raise InvalidArgumentError where a field without a type cannot begin because there are too many."""
        if event is None:
            if not self.has_attribute(name) and self.attribute_count() >= MAX_ATTRIBUTES:
                raise InvalidArgumentError(f"there are {MAX_ATTRIBUTES:,} attributes already, the limit")
        elif not self.has_event(event) and self.event_count() >= MAX_EVENT_NAMES:
            raise InvalidArgumentError(f"there are {MAX_EVENT_NAMES:,} event names already, the limit")
        elif self.property_count(event) >= MAX_PROPERTIES:
            raise InvalidArgumentError(f"the event {event!r} has {MAX_PROPERTIES:,} properties already, the limit")

    def declare(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Fix a type, which `check_declaration` has checked."""
        self.begin(Field(event, name, value_type))
        self._typed(event)[name].declared = True
        self.schema_revision += 1

    def change_list(self, name: str, user_ids: Iterable[str] | None) -> None:
        """Set the user ids of a list, which were checked; None deletes the list."""
        if user_ids is None:
            del self.lists[name]
        else:
            self.lists[name] = UserList(name, user_ids, self.version)
        self.schema_revision += 1

    def _typed(self, event: str | None) -> Mapping[str, Attribute | Property]:
        if event is None:
            return self.attributes
        return self.events[event].properties if event in self.events else {}

    def has_events_before(self, day: int) -> bool:
        """Whether there are events of days before `day`."""
        return any(next(iter(event.partitions), day) < day for event in self.events.values())

    def drop_events_before(self, day: int, touched: Touched) -> int:
        """Remove all events of days before `day`; returns their number."""
        dropped = 0
        for event in self.events.values():
            old = [partition.bitmap for old_day, partition in event.partitions.items() if old_day < day]
            if old:
                touched.users += map(to_array, old)
                touched.events.add(event.name)
                dropped += event.drop_before(day)
        return dropped

    # Snapshots

    def capture(self, lock: AbstractContextManager[None]) -> CapturedIndex:
        """A consistent view for a snapshot; call with `lock` held. Until `release`, changes cost a little more."""
        total = len(self.users)
        events = list(self.events.values())
        description = {
            "attributes": [
                [attribute.name, attribute.type.value, attribute.declared] for attribute in self.attributes.values()
            ],
            "events": [event.description() for event in events],
        }
        captured = CapturedIndex(
            [
                Part(("schema",), self.version, lambda: description),
                *self.users.capture(),
                *(nulls.part(name) for name, nulls in self.unset.items()),
                *(user_list.part() for user_list in self.lists.values()),
            ],
            [attribute.capture(total, lock) for attribute in self.attributes.values()],
            [event.capture() for event in events],
            self.users.ids(),
            self.has_deleted,
        )
        self.has_deleted = False
        return captured

    def release(self, captured: CapturedIndex, *, is_stored: bool) -> None:
        """End a capture; `is_stored` says whether its snapshot was written."""
        self.users.release()
        for attribute in self.attributes.values():
            attribute.release()
        if is_stored:
            for dictionary, unused in captured.unused:
                dictionary.forget(unused)
        else:
            self.has_deleted |= captured.has_deleted

    def restored(self) -> None:
        """Rebuild what snapshots do not contain."""
        for attribute in self.attributes.values():
            attribute.restored()

    def checks(self) -> list[Callable[[], list[str]]]:
        """Functions that check users, attributes and events for consistency, one function for each.

        A function returns one sentence per fault. Call every function with the lock held.
        """
        attributes = [partial(self._faults_of, attribute) for attribute in self.attributes.values()]
        events = [partial(self._faults_of, event) for event in self.events.values()]
        return [self.users.faults, *attributes, *events]

    def _faults_of(self, part: Attribute | Event) -> list[str]:
        return part.faults(self.users.everyone)


def _whole_column(owner: Property, values: Values, total: int) -> NDArray[Any]:
    """The values of a property for all rows of a block, in the codes of the event's own dictionary."""
    data = values.data
    if owner.dictionary is not None:
        data = owner.dictionary.recode(data, values.entries)
    if values.rows is None:
        return data
    whole = empty(owner.type, total)
    whole[values.rows] = data
    return whole
