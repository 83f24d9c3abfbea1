"""Rewriting a tree into a simpler tree with the same members. Every rule is a pure function of one node."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import cast

from bitseg.segment.nodes import (
    And,
    Compare,
    Comparison,
    Condition,
    Did,
    Everyone,
    IsSet,
    Literal,
    Not,
    Number,
    OneOf,
    Operator,
    Or,
    Text,
)

Rule = Callable[[Condition], Condition]

NOBODY = Not(Everyone())


def split_did_not(node: Condition) -> Condition:
    """`did not X` is everyone who is not in `did X`."""
    return Not(replace(node, negated=False)) if isinstance(node, Did) and node.negated else node


def split_is_not_set(node: Condition) -> Condition:
    """`plan is not set` is everyone who is not in `plan is set`."""
    if isinstance(node, Comparison) and node.predicate == IsSet(negated=True):
        return Not(Comparison(node.name, IsSet()))
    return node


def drop_double_not(node: Condition) -> Condition:
    """`not not a` is `a`."""
    if isinstance(node, Not) and isinstance(node.condition, Not):
        return node.condition.condition
    return node


def flatten(node: Condition) -> Condition:
    """`(a and b) and c` is `a and b and c`; likewise with or."""
    if not isinstance(node, And | Or):
        return node
    kind = type(node)
    flat: list[Condition] = []
    for condition in node.conditions:
        flat += condition.conditions if isinstance(condition, kind) else (condition,)
    return kind(tuple(flat))


def drop_repeats(node: Condition) -> Condition:
    """`a and a` is `a`; likewise with or."""
    return type(node)(tuple(dict.fromkeys(node.conditions))) if isinstance(node, And | Or) else node


def join_equals(node: Condition) -> Condition:
    """`a = "x" or a = "y"` is `a in ("x", "y")`; `in` conditions are joined, too."""
    if not isinstance(node, Or):
        return node
    groups: dict[Hashable, list[Condition]] = {}
    for condition in node.conditions:
        groups.setdefault(_join_key(condition), []).append(condition)
    return Or(tuple(group[0] if len(group) == 1 else _joined(group) for group in groups.values()))


def _joined(group: list[Condition]) -> Condition:
    values = dict.fromkeys(value for condition in group for value in _equal_values(condition))
    return Comparison(cast(Comparison, group[0]).name, OneOf(tuple(values)))


def _join_key(node: Condition) -> Hashable:
    """A key that joinable conditions share: attribute and type of value. Other conditions are their own keys."""
    values = _equal_values(node)
    return (cast(Comparison, node).name, type(values[0])) if values else node


def _equal_values(node: Condition) -> tuple[Literal, ...]:
    """The strings or numbers that an attribute may equal; empty for all other conditions."""
    if isinstance(node, Comparison):
        match node.predicate:
            case Compare(Operator.EQUAL, Text() | Number() as value):
                return (value,)
            case OneOf((Text() | Number(), *_) as values, False):
                return values
    return ()


def absorb_everyone(node: Condition) -> Condition:
    """`a and everyone` is `a`, `a or everyone` is `everyone`; the other way round for `not everyone`."""
    if not isinstance(node, And | Or):
        return node
    neutral, absorbing = (Everyone(), NOBODY) if isinstance(node, And) else (NOBODY, Everyone())
    if absorbing in node.conditions:
        return absorbing
    others = tuple(condition for condition in node.conditions if condition != neutral)
    return type(node)(others) if others else neutral


def settle_contradictions(node: Condition) -> Condition:
    """`a and not a` is nobody, `a or not a` everyone."""
    if not isinstance(node, And | Or):
        return node
    present = set(node.conditions)
    if any(isinstance(condition, Not) and condition.condition in present for condition in node.conditions):
        return NOBODY if isinstance(node, And) else Everyone()
    return node


def unwrap_single(node: Condition) -> Condition:
    """An `and` or an `or` of a single condition is that condition."""
    return node.conditions[0] if isinstance(node, And | Or) and len(node.conditions) == 1 else node


RULES: tuple[Rule, ...] = (
    split_did_not,
    split_is_not_set,
    drop_double_not,
    flatten,
    drop_repeats,
    join_equals,
    absorb_everyone,
    settle_contradictions,
    unwrap_single,
)


def normalise(condition: Condition) -> Condition:
    """The tree with all rules applied, from the leaves up, until no rule changes it.

    The depth that `validate` allows bounds the recursion. A `where` is left as it is.
    """
    if isinstance(condition, And | Or):
        condition = type(condition)(tuple(map(normalise, condition.conditions)))
    elif isinstance(condition, Not):
        condition = Not(normalise(condition.condition))
    while True:
        before = condition
        for rule in RULES:
            condition = rule(condition)
        if condition == before:
            return condition
