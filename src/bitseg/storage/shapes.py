"""Shapes: checks of values that are read from files, before code relies on them.

A shape is a function that raises ValueError for a value of another shape; the message says where in the value. Long
lists are checked without a loop in Python.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

Shape = Callable[[Any, str], None]


@dataclass(frozen=True, slots=True)
class PartShape:
    """The shape of the parts in one section of a snapshot.

    `key` has the allowed types of every item of the key after the first, and `value` is the shape of the value.
    """

    key: tuple[tuple[type, ...], ...]
    value: Shape

    def check(self, key: tuple[Any, ...], value: Any) -> None:
        """Raise ValueError for a part that is of another shape."""
        _, *items = key
        if len(items) != len(self.key) or any(
            type(item) not in types for item, types in zip(items, self.key, strict=True)
        ):
            raise ValueError(f"unknown part {list(key)}")
        self.value(value, str(key[0]))


def of_type(*types: type) -> Shape:
    """A value of exactly one of the types, such as None, bool, int, float, str or bytes."""

    def check(value: Any, where: str) -> None:
        if type(value) not in types:
            raise ValueError(f"{where} is a {type(value).__name__}")

    return check


text, integer, boolean = of_type(str), of_type(int), of_type(bool)


def data(value: Any, where: str) -> None:
    """Bytes that are not empty."""
    if type(value) is not bytes or not value:
        raise ValueError(f"{where} has no bytes")


def array(kinds: str) -> Shape:
    """An array of at least one dimension, whose numpy kind is in `kinds`: `b`, `i`, `u`, `f`."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or not value.ndim:
            raise ValueError(f"{where} is not an array of the expected numbers")

    return check


def fields(**shapes: Shape) -> Shape:
    """A dict with exactly these keys."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or value.keys() != shapes.keys():
            raise ValueError(f"{where} does not have the fields {', '.join(shapes)}")
        for name, shape in shapes.items():
            shape(value[name], f"{where}.{name}")

    return check


def by_name(shape: Shape) -> Shape:
    """A dict with texts as keys."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or not set(map(type, value)) <= {str}:
            raise ValueError(f"{where} is not a dict of names")
        for name, item in value.items():
            shape(item, f"{where}[{name!r:.50}]")

    return check


def row(*shapes: Shape) -> Shape:
    """A list with one item per shape."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(shapes):
            raise ValueError(f"{where} does not have {len(shapes)} items")
        for index, shape in enumerate(shapes):
            shape(value[index], f"{where}[{index}]")

    return check


def each(shape: Shape) -> Shape:
    """A short list whose items all have a shape; they are checked one by one."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{where} is not a list")
        for index, item in enumerate(value):
            shape(item, f"{where}[{index}]")

    return check


def long_list(*types: type, of_texts: bool = False) -> Shape:
    """A list of any length with values of exactly these types; with `of_texts`, also lists of texts."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{where} is not a list")
        others = set(map(type, value)) - set(types)
        if others == {list} and of_texts:
            inner = chain.from_iterable(item for item in value if type(item) is list)
            others = set(map(type, inner)) - {str}
        if others:
            raise ValueError(f"{where} has a {others.pop().__name__}")

    return check


def either(**shapes: Shape) -> Shape:
    """A dict of the shape `fields`, or an array of the shape `array`."""

    def check(value: Any, where: str) -> None:
        shapes["fields" if isinstance(value, dict) else "array"](value, where)

    return check
