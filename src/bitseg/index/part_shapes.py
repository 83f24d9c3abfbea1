"""The shapes of the parts of a snapshot that belong to the index. They are checked before a part is restored.

After this check, an exception other than ValueError is a bug of bitseg, not a fault of the file.
"""

from bitseg.storage import shapes
from bitseg.storage.shapes import PartShape

_NUMBERS = "iufb"
_COMPRESSED = shapes.either(
    array=shapes.array(_NUMBERS),
    fields=shapes.fields(type=shapes.text, low=shapes.integer, length=shapes.integer, steps=shapes.array("u")),
)
_COLUMN = shapes.fields(data=shapes.array(_NUMBERS), scale=shapes.of_type(float, int, type(None)))
TYPES = shapes.each(shapes.row(shapes.text, shapes.text, shapes.boolean))
EVENTS = shapes.each(shapes.fields(name=shapes.text, first_ms=shapes.integer, last_ms=shapes.integer, properties=TYPES))

SCHEMA = PartShape((), shapes.fields(attributes=TYPES, events=EVENTS))
USERS = PartShape(((int,),), shapes.fields(data=shapes.array("u"), lengths=shapes.array("u"), alive=shapes.data))
UNSET = PartShape(((str,),), shapes.fields(users=shapes.array("u"), times_ms=shapes.array("i")))
LIST = PartShape(((str,),), shapes.long_list(str))
ENTRIES = PartShape(((str, type(None)), (str,), (int,)), shapes.long_list(str, type(None), of_texts=True))
ATTRIBUTE = PartShape(((str,), (int,)), shapes.fields(data=_COMPRESSED, written_ms=_COMPRESSED))
DAY = PartShape(
    ((str,), (int,)),
    shapes.fields(users=shapes.array("u"), offsets_ms=shapes.array("i"), columns=shapes.by_name(_COLUMN)),
)
