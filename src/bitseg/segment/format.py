"""Segment tree to canonical text: `parse(format(tree)) == tree`."""

import re
from functools import singledispatch

from bitseg.calendar import format_instant
from bitseg.segment import nodes

_BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# Words that start a condition themselves, so that a bare name of this spelling would not be read as one.
_RESERVED = {"not", "did", "in", "everyone"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def format(condition: nodes.Condition) -> str:
    """The text of a tree, with the fewest parentheses that keep its shape."""
    return _text(condition)


@singledispatch
def _text(node: object) -> str:
    raise TypeError(f"no text for {type(node).__name__}")


def _string(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c if c >= " " else f"\\u{ord(c):04x}") for c in value) + '"'


def _name(value: str) -> str:
    if _BARE_NAME.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return "`" + value.replace("`", "``") + "`"


def _number(value: float) -> str:
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02d}"


@_text.register
def _(node: nodes.Text) -> str:
    return _string(node.value)


@_text.register
def _(node: nodes.Number) -> str:
    return _number(node.value)


@_text.register
def _(node: nodes.Boolean) -> str:
    return "true" if node.value else "false"


@_text.register
def _(node: nodes.Day) -> str:
    return node.value.isoformat()


@_text.register
def _(node: nodes.Instant) -> str:
    return format_instant(node.value_ms)


@_text.register
def _(node: nodes.Version) -> str:
    return f"version {_string(node.value)}"


@_text.register
def _(node: nodes.Duration) -> str:
    return f"{node.amount} {node.unit.value if node.amount != 1 else node.unit.value.removesuffix('s')}"


@_text.register
def _(node: nodes.InLast) -> str:
    return f"in last {_text(node.duration)}"


@_text.register
def _(node: nodes.InNext) -> str:
    return f"in next {_text(node.duration)}"


@_text.register
def _(node: nodes.Between) -> str:
    return f"between {_text(node.start)} and {_text(node.end)}"


@_text.register
def _(node: nodes.On) -> str:
    return f"on {_text(node.moment)}"


@_text.register
def _(node: nodes.OnToday) -> str:
    if node.offset_days == 0:
        return "on today"
    return f"on today {'+' if node.offset_days > 0 else '-'} {abs(node.offset_days)} days"


@_text.register
def _(node: nodes.Before) -> str:
    return f"before {_text(node.moment)}"


@_text.register
def _(node: nodes.Since) -> str:
    return f"since {_text(node.moment)}"


@_text.register
def _(node: nodes.After) -> str:
    return f"after {_text(node.moment)}"


@_text.register
def _(node: nodes.MoreThanAgo) -> str:
    return f"more than {_text(node.duration)} ago"


@_text.register
def _(node: nodes.BetweenDaysAgo) -> str:
    return f"between {node.oldest_days} and {node.newest_days} days ago"


@_text.register
def _(node: nodes.During) -> str:
    return node.period.value


@_text.register
def _(node: nodes.Compare) -> str:
    return f"{node.operator.value} {_text(node.value)}"


@_text.register
def _(node: nodes.OneOf) -> str:
    return f"{'not ' if node.negated else ''}in ({', '.join(map(_text, node.values))})"


@_text.register
def _(node: nodes.InRange) -> str:
    return f"between {_text(node.low)} and {_text(node.high)}"


@_text.register
def _(node: nodes.IsSet) -> str:
    return "is not set" if node.negated else "is set"


@_text.register
def _(node: nodes.Contains) -> str:
    return f"{'does not contain' if node.negated else 'contains'} {_string(node.pattern)}"


@_text.register
def _(node: nodes.StartsWith) -> str:
    return f"starts with {_string(node.prefix)}"


@_text.register
def _(node: nodes.EndsWith) -> str:
    return f"ends with {_string(node.suffix)}"


@_text.register
def _(node: nodes.Matches) -> str:
    return f"matches {_string(node.expression)}"


@_text.register
def _(node: nodes.Has) -> str:
    if node.quantifier is nodes.Quantifier.ANY and len(node.values) == 1:
        return f"has {_string(node.values[0])}"
    return f"has {node.quantifier.value} ({', '.join(map(_string, node.values))})"


@_text.register
def _(node: nodes.Falls) -> str:
    return _text(node.window)


@_text.register
def _(node: nodes.Anniversary) -> str:
    return f"anniversary {_text(node.window)}"


@_text.register
def _(node: nodes.WithinRadius) -> str:
    place = f"({_number(node.latitude)}, {_number(node.longitude)})"
    return f"within {_number(node.radius_km)} km of {place}"


@_text.register
def _(node: nodes.Count) -> str:
    return f"{node.bound.value} {node.number}"


@_text.register
def _(node: nodes.CountBetween) -> str:
    return f"between {node.low} and {node.high}"


@_text.register
def _(node: nodes.Times) -> str:
    return f"{_text(node.count)} times"


@_text.register
def _(node: nodes.DistinctDays) -> str:
    return f"on {_text(node.count)} days"


@_text.register
def _(node: nodes.Aggregate) -> str:
    return f"with {node.function.value}({_name(node.property)}) {_text(node.test)}"


@_text.register
def _(_node: nodes.FirstTime) -> str:
    return "for the first time"


@_text.register
def _(_node: nodes.LastTime) -> str:
    return "for the last time"


@_text.register
def _(node: nodes.TimeOfDay) -> str:
    return f"at {_clock(node.start_minute)} to {_clock(node.end_minute)}"


@_text.register
def _(node: nodes.And) -> str:
    return " and ".join(_grouped(each, nodes.And | nodes.Or) for each in node.conditions)


@_text.register
def _(node: nodes.Or) -> str:
    return " or ".join(_grouped(each, nodes.Or) for each in node.conditions)


@_text.register
def _(node: nodes.Not) -> str:
    return f"not {_grouped(node.condition, nodes.And | nodes.Or)}"


def _grouped(condition: nodes.Condition, weaker: object) -> str:
    text = _text(condition)
    return f"({text})" if isinstance(condition, weaker) else text  # type: ignore[arg-type]


@_text.register
def _(_node: nodes.Everyone) -> str:
    return "everyone"


@_text.register
def _(node: nodes.Comparison) -> str:
    return f"{_name(node.name)} {_text(node.predicate)}"


def _subject(event: str | None, where: nodes.Condition | None, negated: bool) -> str:
    text = f"did {'not ' if negated else ''}{'any event' if event is None else _string(event)}"
    if where is None:
        return text
    condition = _text(where)
    return f"{text} where {condition if isinstance(where, nodes.Comparison) else f'({condition})'}"


@_text.register
def _(node: nodes.Did) -> str:
    parts = [_subject(node.event, node.where, node.negated)]
    parts += [_text(part) for part in (node.quantity, node.time_of_day) if part is not None]
    if node.weekdays:
        parts.append(f"on weekdays ({', '.join(day.value for day in node.weekdays)})")
    if node.window is not None:
        parts.append(_text(node.window))
    return " ".join(parts)


@_text.register
def _(node: nodes.Then) -> str:
    return f"then {_subject(node.event, node.where, node.negated)} within {_text(node.within)}"


@_text.register
def _(node: nodes.Sequence) -> str:
    parts = [_subject(node.event, node.where, negated=False), *map(_text, node.steps)]
    if node.window is not None:
        parts.append(_text(node.window))
    return " ".join(parts)


@_text.register
def _(node: nodes.InSegment) -> str:
    return f"in segment {_string(node.name)}"


@_text.register
def _(node: nodes.InList) -> str:
    return f"in list {_string(node.name)}"


@_text.register
def _(node: nodes.InBucket) -> str:
    seed = f" seed {_string(node.seed)}" if node.seed else ""
    return f"in bucket {node.first} to {node.last} of {node.of}{seed}"
