"""The shapes of the parts of a snapshot, checked before a part is taken back.

What then raises anything but ValueError while a part is taken back is a fault of bitseg, not of the file.
"""

from collections.abc import Mapping
from typing import Any

from bitseg.storage import shapes
from bitseg.storage.shapes import Shape
from bitseg.storage.snapshot import Key

_NUMBERS = "iufb"
_ENTRY = shapes.each(shapes.of_type(str, int, dict, list, type(None)))
_COMPRESSED = shapes.either(
    array=shapes.array(_NUMBERS),
    fields=shapes.fields(type=shapes.text, low=shapes.integer, length=shapes.integer, steps=shapes.array("u")),
)
_TYPES = shapes.each(shapes.row(shapes.text, shapes.text, shapes.boolean))
_EVENT = shapes.fields(name=shapes.text, first_ms=shapes.integer, last_ms=shapes.integer, properties=_TYPES)
_COLUMN = shapes.fields(data=shapes.array(_NUMBERS), scale=shapes.of_type(float, int, type(None)))
_PRODUCERS = shapes.by_name(shapes.integer)
_USERS = shapes.fields(data=shapes.array("u"), lengths=shapes.array("u"), alive=shapes.data)
_DAY = shapes.fields(users=shapes.array("u"), offsets_ms=shapes.array("i"), columns=shapes.by_name(_COLUMN))

# By the first item of the key: the types of the other items, and the shape of the value.
_SHAPES: Mapping[str, tuple[tuple[tuple[type, ...], ...], Shape]] = {
    "catalog": (((str,),), shapes.by_name(_ENTRY)),
    "producers": ((), _PRODUCERS),
    "messages": (((int,), (int,)), shapes.of_type(bytes)),
    "schema": ((), shapes.fields(attributes=_TYPES, events=shapes.each(_EVENT))),
    "users": (((int,),), _USERS),
    "unset": (((str,),), shapes.fields(users=shapes.array("u"), times_ms=shapes.array("i"))),
    "list": (((str,),), shapes.long_list(str)),
    "entries": (((str, type(None)), (str,), (int,)), shapes.long_list(str, type(None), of_texts=True)),
    "attribute": (((str,), (int,)), shapes.fields(data=_COMPRESSED, written_ms=_COMPRESSED)),
    "events": (((str,), (int,)), _DAY),
    # Of formats 3 and 4.
    "index": (
        (),
        shapes.fields(version=shapes.integer, attributes=_TYPES, events=shapes.each(_EVENT), producers=_PRODUCERS),
    ),
    "segments": ((), shapes.by_name(shapes.text)),
    "catalogue": ((), shapes.fields(segments=shapes.by_name(_ENTRY), lists=shapes.by_name(_ENTRY))),
}


def check_part(key: Key, value: Any) -> None:
    """Raise ValueError for a part of an unknown key, or whose value is not of the shape that its key asks for."""
    section = key[0] if key else None
    if not isinstance(section, str) or section not in _SHAPES:
        raise ValueError(f"parts {list(key)} are not known")
    of_key, shape = _SHAPES[section]
    if len(key) != len(of_key) + 1 or any(type(item) not in types for item, types in zip(key[1:], of_key, strict=True)):
        raise ValueError(f"parts {list(key)} are not known")
    shape(value, section)
