"""Parsing text into a segment tree. Errors say where the fault is, what was expected and what to do."""

import difflib
import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken, v_args
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from bitseg.calendar import to_ms
from bitseg.errors import InvalidSegmentError, Position, SegmentError, SegmentSyntaxError
from bitseg.segment import nodes
from bitseg.segment.validate import MAX_DEPTH, MAX_NODES, check

MAX_CHARACTERS = 262_144
MAX_PARENTHESES = 100

_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_SYMBOLS = {
    "_LPAR": "(",
    "_RPAR": ")",
    "_COMMA": ",",
    "STRING": "a string in double quotes",
    "NUMBER": "a number",
    "DATE": "a date",
    "DATETIME": "a datetime",
    "CLOCK_TIME": "a time of day",
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "WEEKDAY": "a weekday",
    "OPERATOR": "a comparison (= != < <= > >=)",
    "SIGN": "+ or -",
    "$END": "the end",
}
_PARTS_OF_DID = {
    "where",
    "exactly",
    "at",
    "least",
    "most",
    "more",
    "fewer",
    "with",
    "for",
    "on",
    "between",
    "in",
    "since",
}
_SPELLED = {"MINUTES": "minutes", "HOURS": "hours", "DAYS": "days", "WEEKS": "weeks", "MONTHS": "months"}


def parse(text: str) -> nodes.Condition:
    """The tree of an expression.

    Raises SegmentSyntaxError for text that is not in the language, InvalidSegmentError for text that is but makes no
    sense; both have the position. Text longer than MAX_CHARACTERS is refused without parsing.
    """
    try:
        return _parse(text)
    except SegmentError as error:
        error.text = text
        raise


def _parse(text: str) -> nodes.Condition:
    if len(text) > MAX_CHARACTERS:
        raise SegmentSyntaxError(
            f"the expression has {len(text):,} characters, the limit is {MAX_CHARACTERS:,}",
            position=Position.at(text, MAX_CHARACTERS),
            hint="put long lists of ids into a list and use in list",
        )
    try:
        condition: nodes.Condition = _Builder().transform(_parser().parse(text))
    except UnexpectedToken as error:
        at_end = error.token.type == "$END"
        offset = len(text.rstrip()) if at_end else error.token.start_pos or 0
        raise _unexpected(text, offset, error.accepts or error.expected) from None
    except UnexpectedCharacters as error:
        raise _unexpected(text, error.pos_in_stream or 0, error.allowed or ()) from None
    except UnexpectedEOF as error:
        raise _unexpected(text, len(text), error.expected) from None
    except VisitError as error:
        located = error.orig_exc
        if not isinstance(located, _LocatedError):
            raise
        raise InvalidSegmentError(
            located.error.message, hint=located.error.hint, position=Position.at(text, located.offset)
        ) from None
    return condition


def parse_window(text: str) -> nodes.Window:
    """The window of a text such as `in last 3 days`, for events or for dates. Raises the errors of `parse`."""
    # A window alone is not an expression, so it is parsed behind the shortest conditions that take a window.
    attempts: list[SegmentError] = []
    for prefix in ("did any event ", "d "):
        try:
            condition = parse(prefix + text)
        except SegmentError as error:
            attempts.append(_moved(error, text, len(prefix)))
            continue
        window = condition.window if isinstance(condition, nodes.Did) else None
        if isinstance(condition, nodes.Comparison) and isinstance(condition.predicate, nodes.Falls):
            window = condition.predicate.window
        if window is not None:
            return window
    if attempts:
        raise attempts[0]
    raise InvalidSegmentError(f"{text!r} is not a window", hint="such as in last 3 days", position=Position.at(text, 0))


def _moved(error: SegmentError, text: str, by: int) -> SegmentError:
    assert error.position is not None
    position = Position.at(text, max(error.position.offset - by, 0))
    moved: SegmentError
    if isinstance(error, SegmentSyntaxError):
        moved = SegmentSyntaxError(error.message, position=position, expected=error.expected, hint=error.hint)
    else:
        moved = InvalidSegmentError(error.message, hint=error.hint, position=position)
    moved.text = text
    return moved


class _LocatedError(Exception):
    """Carries an error from building the tree up to `parse`, which adds the position in the text."""

    def __init__(self, error: SegmentError, offset: int) -> None:
        self.error = error
        self.offset = offset


def _fail(offset: int, message: str, hint: str | None = None) -> _LocatedError:
    return _LocatedError(InvalidSegmentError(message, hint=hint), offset)


class _Where:
    """A finished `where`. Its type distinguishes it from the other parts of a `did`."""

    __slots__ = ("condition",)

    def __init__(self, condition: nodes.Condition) -> None:
        self.condition = condition


class _Built:
    """A condition with its depth in levels and in parentheses."""

    __slots__ = ("condition", "depth", "parentheses")

    def __init__(self, condition: nodes.Condition, depth: int = 1, parentheses: int = 0) -> None:
        self.condition = condition
        self.depth = depth
        self.parentheses = parentheses


class _AnyEvent:
    pass


def _values(children: list[Any]) -> list[Any]:
    return [child for child in children if not isinstance(child, Token)]


def _tokens(children: list[Any], *kinds: str) -> list[Token]:
    return [child for child in children if isinstance(child, Token) and child.type in kinds]


def _has(children: list[Any], kind: str) -> bool:
    return bool(_tokens(children, kind))


def _only(children: list[Any], kinds: Any) -> Any:
    return next((child for child in children if isinstance(child, kinds)), None)


def _string(token: Token) -> str:
    def replace(match: re.Match[str]) -> str:
        code, character = match.groups()
        if code:
            return chr(int(code, 16))
        # Other escapes belong to the pattern or regular expression inside the string.
        return _ESCAPES.get(character, match[0])

    return _ESCAPE.sub(replace, token[1:-1])


def _number(token: Token) -> float:
    value = float(token)
    if token.lstrip("+-").isdigit() and (len(token) > 400 or int(token) != value):
        raise _fail(
            token.start_pos or 0,
            f"{token} has more digits than a 64-bit float can store",
            "store such identifiers as strings",
        )
    return value + 0.0


def _whole(token: Token) -> int:
    if not re.fullmatch(r"\+?\d{1,16}", token):
        raise _fail(token.start_pos or 0, f"{token} is not a valid whole number here", "such as 3")
    return int(token)


def _clock_minutes(token: Token) -> int:
    hours, minutes = token.split(":")
    if int(minutes) > 59 or int(hours) > 24:
        raise _fail(token.start_pos or 0, f"{token} is not a time of day", "write one from 0:00 to 24:00")
    return int(hours) * 60 + int(minutes)


@v_args(meta=True)
class _Builder(Transformer_NonRecursive[Token, Any]):
    """Builds nodes bottom-up without recursion, so that no depth of nesting exhausts Python's stack."""

    def _checked(self, meta: Any, node: Any) -> Any:
        try:
            check(node)
        except SegmentError as error:
            raise _LocatedError(error, meta.start_pos) from None
        return node

    def start(self, _meta: Any, children: list[Any]) -> nodes.Condition:
        condition: nodes.Condition = children[0].condition
        return condition

    def _joined(self, meta: Any, children: list[Any], join: type[nodes.And] | type[nodes.Or]) -> _Built:
        parts: list[_Built] = _values(children)
        if len(parts) == 1:
            return parts[0]
        if len(parts) > MAX_NODES:
            raise _fail(meta.start_pos, f"more than {MAX_NODES:,} conditions are joined here")
        depth = max(part.depth for part in parts) + 1
        self._limit_depth(meta, depth)
        condition = join(tuple(part.condition for part in parts))
        return _Built(condition, depth, max(part.parentheses for part in parts))

    def _limit_depth(self, meta: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _fail(
                meta.start_pos,
                f"the segment is nested more than {MAX_DEPTH} levels deep",
                "flatten it, or save a part as a segment of its own",
            )

    def disjunction(self, meta: Any, children: list[Any]) -> _Built:
        return self._joined(meta, children, nodes.Or)

    def conjunction(self, meta: Any, children: list[Any]) -> _Built:
        return self._joined(meta, children, nodes.And)

    def negation(self, meta: Any, children: list[Any]) -> _Built:
        (part,) = _values(children)
        self._limit_depth(meta, part.depth + 1)
        return _Built(nodes.Not(part.condition), part.depth + 1, part.parentheses)

    def group(self, meta: Any, children: list[Any]) -> _Built:
        (part,) = _values(children)
        if part.parentheses >= MAX_PARENTHESES:
            raise _fail(meta.start_pos, f"more than {MAX_PARENTHESES} parentheses are nested here")
        return _Built(part.condition, part.depth, part.parentheses + 1)

    def everyone(self, _meta: Any, _children: list[Any]) -> _Built:
        return _Built(nodes.Everyone())

    def in_segment(self, meta: Any, children: list[Any]) -> _Built:
        return _Built(self._checked(meta, nodes.InSegment(_string(children[-1]))))

    def in_list(self, meta: Any, children: list[Any]) -> _Built:
        return _Built(self._checked(meta, nodes.InList(_string(children[-1]))))

    def in_bucket(self, meta: Any, children: list[Any]) -> _Built:
        first, last, of = map(_whole, _tokens(children, "NUMBER"))
        seeds = _tokens(children, "STRING")
        seed = _string(seeds[0]) if seeds else ""
        return _Built(self._checked(meta, nodes.InBucket(first, last, of, seed)))

    def comparison(self, meta: Any, children: list[Any]) -> _Built:
        name, predicate = children
        return _Built(self._checked(meta, nodes.Comparison(name, predicate)))

    # Predicates

    def compare(self, meta: Any, children: list[Any]) -> nodes.Compare:
        operator, value = children
        node: nodes.Compare = self._checked(meta, nodes.Compare(nodes.Operator(str(operator)), value))
        return node

    def one_of(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.OneOf(tuple(_values(children)), _has(children, "NOT")))

    def in_range(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.InRange(*_values(children)))

    def is_set(self, _meta: Any, children: list[Any]) -> nodes.IsSet:
        return nodes.IsSet(_has(children, "NOT"))

    def contains(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Contains(_string(children[-1]), _has(children, "NOT")))

    def starts_with(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.StartsWith(_string(children[-1])))

    def ends_with(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.EndsWith(_string(children[-1])))

    def matches(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Matches(_string(children[-1])))

    def has(self, meta: Any, children: list[Any]) -> Any:
        words = _tokens(children, "ANY", "ALL", "NONE")
        quantifier = nodes.Quantifier(words[0].lower()) if words else nodes.Quantifier.ANY
        return self._checked(meta, nodes.Has(quantifier, tuple(map(_string, _tokens(children, "STRING")))))

    def falls(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Falls(children[-1]))

    def anniversary(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Anniversary(children[-1]))

    def within_radius(self, meta: Any, children: list[Any]) -> Any:
        radius, latitude, longitude = map(_number, _tokens(children, "NUMBER"))
        return self._checked(meta, nodes.WithinRadius(radius, latitude, longitude))

    # Events

    def event_name(self, meta: Any, children: list[Any]) -> str:
        name = _string(children[0])
        self._checked(meta, nodes.Did(name))
        return name

    def any_event(self, _meta: Any, _children: list[Any]) -> _AnyEvent:
        return _AnyEvent()

    def did(self, meta: Any, children: list[Any]) -> _Built:
        where = _only(children, _Where)
        condition = nodes.Did(
            event=_event(children),
            where=where.condition if where else None,
            quantity=_only(children, nodes.Quantity),
            time_of_day=_only(children, nodes.TimeOfDay),
            weekdays=_only(children, tuple) or (),
            window=_only(children, nodes.Window),
            negated=_has(children, "NOT"),
        )
        return _Built(self._checked(meta, condition))

    def sequence(self, meta: Any, children: list[Any]) -> _Built:
        where = _only(children, _Where)
        condition = nodes.Sequence(
            event=_event(children),
            steps=tuple(child for child in children if isinstance(child, nodes.Then)),
            where=where.condition if where else None,
            window=_only(children, nodes.Window),
        )
        return _Built(self._checked(meta, condition))

    def then(self, meta: Any, children: list[Any]) -> Any:
        where = _only(children, _Where)
        step = nodes.Then(
            event=_event(children),
            within=_only(children, nodes.Duration),
            where=where.condition if where else None,
            negated=_has(children, "NOT"),
        )
        return self._checked(meta, step)

    def where(self, _meta: Any, children: list[Any]) -> _Where:
        return _Where(children[-1].condition)

    def times(self, _meta: Any, children: list[Any]) -> nodes.Times:
        return nodes.Times(_only(children, nodes.CountRange))

    def distinct_days(self, _meta: Any, children: list[Any]) -> nodes.DistinctDays:
        return nodes.DistinctDays(_only(children, nodes.CountRange))

    def count(self, meta: Any, children: list[Any]) -> Any:
        bound = nodes.Bound(" ".join(token.lower() for token in children[:-1]))
        return self._checked(meta, nodes.Count(bound, _whole(children[-1])))

    def count_between(self, meta: Any, children: list[Any]) -> Any:
        low, high = map(_whole, _tokens(children, "NUMBER"))
        return self._checked(meta, nodes.CountBetween(low, high))

    def aggregate(self, meta: Any, children: list[Any]) -> Any:
        function = nodes.Function(children[1].lower())
        name, test = children[2:]
        return self._checked(meta, nodes.Aggregate(function, name, test))

    def first_time(self, _meta: Any, _children: list[Any]) -> nodes.FirstTime:
        return nodes.FirstTime()

    def last_time(self, _meta: Any, _children: list[Any]) -> nodes.LastTime:
        return nodes.LastTime()

    def time_of_day(self, meta: Any, children: list[Any]) -> Any:
        start, end = map(_clock_minutes, _tokens(children, "CLOCK_TIME"))
        return self._checked(meta, nodes.TimeOfDay(start, end))

    def weekdays(self, _meta: Any, children: list[Any]) -> tuple[nodes.Weekday, ...]:
        return tuple(nodes.Weekday(token[:3].lower()) for token in _tokens(children, "WEEKDAY"))

    # Windows

    def in_last(self, _meta: Any, children: list[Any]) -> nodes.InLast:
        return nodes.InLast(children[-1])

    def in_next(self, _meta: Any, children: list[Any]) -> nodes.InNext:
        return nodes.InNext(children[-1])

    def on(self, _meta: Any, children: list[Any]) -> nodes.On:
        return nodes.On(children[-1])

    def on_today(self, meta: Any, children: list[Any]) -> Any:
        offset = 0
        numbers = _tokens(children, "NUMBER")
        if numbers:
            sign, digits = numbers[0][0], numbers[0].lstrip("+-")
            explicit = _tokens(children, "SIGN")
            if bool(explicit) == (sign in "+-"):
                raise _fail(numbers[0].start_pos or 0, f"{numbers[0]} days from today", "write today + 5 days")
            offset = _whole(Token("NUMBER", digits, start_pos=numbers[0].start_pos))
            offset = -offset if "-" in (sign, *explicit) else offset
        return self._checked(meta, nodes.OnToday(offset))

    def more_than_ago(self, _meta: Any, children: list[Any]) -> nodes.MoreThanAgo:
        return nodes.MoreThanAgo(_only(children, nodes.Duration))

    def between(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Between(*_values(children)))

    def before(self, _meta: Any, children: list[Any]) -> nodes.Before:
        return nodes.Before(children[-1])

    def since(self, _meta: Any, children: list[Any]) -> nodes.Since:
        return nodes.Since(children[-1])

    def after(self, _meta: Any, children: list[Any]) -> nodes.After:
        return nodes.After(children[-1])

    def between_days_ago(self, meta: Any, children: list[Any]) -> Any:
        oldest, newest = map(_whole, _tokens(children, "NUMBER"))
        return self._checked(meta, nodes.BetweenDaysAgo(oldest, newest))

    def during(self, _meta: Any, children: list[Any]) -> nodes.During:
        return nodes.During(nodes.Period(" ".join(token.lower() for token in children)))

    # Literals

    def text(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Text(_string(children[0])))

    def number(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Number(_number(children[0])))

    def boolean(self, _meta: Any, children: list[Any]) -> nodes.Boolean:
        return nodes.Boolean(children[0].type == "TRUE")

    def version(self, meta: Any, children: list[Any]) -> Any:
        return self._checked(meta, nodes.Version(_string(children[-1])))

    def day(self, meta: Any, children: list[Any]) -> Any:
        try:
            return self._checked(meta, nodes.Day(date.fromisoformat(children[0])))
        except ValueError:
            raise _fail(meta.start_pos, f"{children[0]} is not a day of the calendar", "write YYYY-MM-DD") from None

    def instant(self, meta: Any, children: list[Any]) -> Any:
        try:
            moment = datetime.fromisoformat(children[0].upper())
        except ValueError:
            raise _fail(meta.start_pos, f"{children[0]} is not a valid datetime", _INSTANT_HINT) from None
        if moment.tzinfo is None:
            raise _fail(meta.start_pos, f"{children[0]} does not say its offset from UTC", _INSTANT_HINT)
        return self._checked(meta, nodes.Instant(to_ms(moment)))

    def duration(self, meta: Any, children: list[Any]) -> Any:
        amount, unit = children
        return self._checked(meta, nodes.Duration(_whole(amount), nodes.Unit(_SPELLED[unit.type])))

    def name(self, meta: Any, children: list[Any]) -> str:
        token = children[0]
        return token[1:-1].replace("``", "`") if token.type == "QUOTED_NAME" else str(token)


_INSTANT_HINT = "write 2024-01-31T10:00:00Z or 2024-01-31T10:00:00+02:00"


def _event(children: list[Any]) -> str | None:
    event: str | None = next((child for child in children if type(child) is str), None)
    return event


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = files("bitseg.segment").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        propagate_positions=True,
        maybe_placeholders=False,
    )


def _unexpected(text: str, offset: int, expected: Iterable[str]) -> SegmentSyntaxError:
    choices = tuple(sorted({_SYMBOLS.get(name, name.lower()) for name in expected}))
    message = (
        f"unexpected {_token_at(text, offset)}" if offset < len(text.rstrip()) else "the expression ends too early"
    )
    if choices:
        shown = ", ".join(choices[:8]) + (", …" if len(choices) > 8 else "")
        message += f"; expected {shown}"
    return SegmentSyntaxError(
        message, position=Position.at(text, offset), expected=choices, hint=_hint(text, offset, choices)
    )


def _token_at(text: str, offset: int) -> str:
    match = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*|[0-9][0-9A-Za-z_.:-]*|\S", re.DOTALL).match(text, offset)
    piece = match[0] if match else text[offset : offset + 1]
    return ascii(piece if len(piece) <= 40 else piece[:40] + "…")


def _hint(text: str, offset: int, choices: tuple[str, ...]) -> str | None:
    remaining = text[offset : offset + 60]
    if not text.strip() or (text.strip().startswith("#") and "\n" not in text.strip()):
        return 'write a condition such as country = "US", or everyone'
    if remaining[:1] in ("'", "“", "‘", "”"):
        return "strings are written in plain double quotes"
    if remaining[:1] == '"' and _SYMBOLS["STRING"] in choices:
        return "the string has no closing double quote"
    if remaining[:1] == "=" and text[max(offset - 1, 0)] == "=":
        return "equality is written with one ="
    reserved = re.search(r"(?i)\b(not|did|in|everyone)\s*$", text[max(offset - 40, 0) : offset])
    if remaining[:1] in ("=", "<", ">", "!") and reserved:
        return f"a name that is also a keyword is written in backquotes: `{reserved[1]}`"
    if remaining[:1] in ("&", "|", "!"):
        return "write and, or, not as words"
    word = re.match(r"[A-Za-z_]+", remaining)
    if word:
        keywords = [choice for choice in choices if choice.isalpha()]
        near = difflib.get_close_matches(word[0].lower(), keywords, n=1, cutoff=0.7)
        if near:
            return f"did you mean {near[0]}?"
        if word[0].lower() in _PARTS_OF_DID:
            return "the parts of a did come in this order: where, quantity, time of day, window"
        if _SYMBOLS["STRING"] in choices:
            return f'strings are written in double quotes: "{word[0]}"'
    if _SYMBOLS["DATE"] in choices and re.match(r"[0-9]", remaining):
        return "dates are written 2024-01-31, datetimes 2024-01-31T10:00:00Z"
    if "and" in choices and "the end" in choices:
        return "join conditions with and or or"
    return None
