"""The schema: the names and types of the attributes and properties of a workspace."""

from typing import Protocol

from bitseg.records import Field
from bitseg.values import ValueType

MAX_ATTRIBUTES = 2_000
MAX_EVENT_NAMES = 5_000
MAX_PROPERTIES = 500


class Schema(Protocol):
    """The known names. A type never changes once it is fixed."""

    def has_attribute(self, name: str) -> bool:
        """Whether an attribute is known, with or without a type."""

    def attribute_type(self, name: str) -> ValueType | None:
        """The type of an attribute; None where it is not known or has no type yet."""

    def attribute_count(self) -> int:
        """How many attributes are known."""

    def has_event(self, event: str) -> bool:
        """Whether an event name is known."""

    def event_count(self) -> int:
        """How many event names are known."""

    def property_type(self, event: str, name: str) -> ValueType | None:
        """The type of an event's property; None where it is not known."""

    def property_count(self, event: str) -> int:
        """How many properties of an event are known."""


class EmptySchema:
    """The schema of an empty workspace."""

    def has_attribute(self, name: str) -> bool:
        return False

    def attribute_type(self, name: str) -> ValueType | None:
        return None

    def attribute_count(self) -> int:
        return 0

    def has_event(self, event: str) -> bool:
        return False

    def event_count(self) -> int:
        return 0

    def property_type(self, event: str, name: str) -> ValueType | None:
        return None

    def property_count(self, event: str) -> int:
        return 0


class SchemaDraft:
    """A schema plus additions to it, which are collected in `fields`.

    On top of an `EmptySchema` it is the common schema of several shards.
    """

    def __init__(self, base: Schema) -> None:
        self._base = base
        self._attributes: dict[str, ValueType | None] = {}
        self._new_attributes = 0
        self._events: dict[str, dict[str, ValueType]] = {}
        self._new_events = 0
        self.fields: list[Field] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added to the schema below."""
        return not self.fields and not self._new_events

    def take_fields(self) -> list[Field]:
        """The fields added since the last call."""
        fields, self.fields = self.fields, []
        return fields

    def has_attribute(self, name: str) -> bool:
        return name in self._attributes or self._base.has_attribute(name)

    def attribute_type(self, name: str) -> ValueType | None:
        return self._attributes.get(name) or self._base.attribute_type(name)

    def attribute_count(self) -> int:
        return self._base.attribute_count() + self._new_attributes

    def has_event(self, event: str) -> bool:
        return event in self._events or self._base.has_event(event)

    def event_count(self) -> int:
        return self._base.event_count() + self._new_events

    def property_type(self, event: str, name: str) -> ValueType | None:
        return self._events.get(event, {}).get(name) or self._base.property_type(event, name)

    def property_count(self, event: str) -> int:
        return self._base.property_count(event) + len(self._events.get(event, {}))

    def begin_attribute(self, name: str, value_type: ValueType | None) -> None:
        """Add an attribute, or give its type to an attribute that has none yet."""
        self._new_attributes += not self.has_attribute(name)
        self._attributes[name] = value_type
        self.fields.append(Field(None, name, value_type))

    def begin_event(self, event: str) -> None:
        """Add an event name."""
        self._new_events += 1
        self._events[event] = {}

    def begin_property(self, event: str, name: str, value_type: ValueType) -> None:
        """Add a property of an event."""
        self._events.setdefault(event, {})[name] = value_type
        self.fields.append(Field(event, name, value_type))
