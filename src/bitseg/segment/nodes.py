"""The segment tree: frozen values without behaviour.

Text (`parse`, `format`), protobuf and JSON (`bitseg.wire`) are forms of the same tree. Fields and classes have the
names of `proto/bitseg/v1/segment.proto`, so that one generic codec converts between the two.
"""

from dataclasses import dataclass
from datetime import date
from enum import Enum

# Literals. Every type has its own class, so that `true` and `1` never compare equal.


@dataclass(frozen=True, slots=True)
class Text:
    """`"US"`."""

    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """`2.5`; a finite 64-bit float."""

    value: float


@dataclass(frozen=True, slots=True)
class Boolean:
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Day:
    """`2024-01-31`: a calendar day of the workspace."""

    value: date


@dataclass(frozen=True, slots=True)
class Instant:
    """`2024-01-31T10:00:00Z`: milliseconds since 1970-01-01T00:00:00Z."""

    value_ms: int


@dataclass(frozen=True, slots=True)
class Version:
    """`version "4.10.2"`."""

    value: str


Moment = Day | Instant
Literal = Text | Number | Boolean | Day | Instant | Version


class Unit(Enum):
    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"


@dataclass(frozen=True, slots=True)
class Duration:
    """`30 days`."""

    amount: int
    unit: Unit


# Windows: when an event happened, or where a date attribute lies.


class Period(Enum):
    TODAY = "today"
    YESTERDAY = "yesterday"
    THIS_WEEK = "this week"
    LAST_WEEK = "last week"
    THIS_MONTH = "this month"
    LAST_MONTH = "last month"


@dataclass(frozen=True, slots=True)
class InLast:
    """`in last 30 days`."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class InNext:
    """`in next 7 days` (dates only)."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class Between:
    """`between 2024-01-01 and 2024-01-31`, both included."""

    start: Moment
    end: Moment


@dataclass(frozen=True, slots=True)
class On:
    """`on 2024-01-31`."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class OnToday:
    """`on today + 5 days` (dates only); a negative offset is in the past."""

    offset_days: int


@dataclass(frozen=True, slots=True)
class Before:
    """`before 2024-01-31`, which it excludes."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class Since:
    """`since 2024-01-31`, which it includes."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class After:
    """`after 2024-01-31`, which it excludes (dates only)."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class MoreThanAgo:
    """`more than 30 days ago`."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class BetweenDaysAgo:
    """`between 60 and 30 days ago`."""

    oldest_days: int
    newest_days: int


@dataclass(frozen=True, slots=True)
class During:
    """`this week` and its like."""

    period: Period


Window = InLast | InNext | Between | On | OnToday | Before | Since | After | MoreThanAgo | BetweenDaysAgo | During


# Predicates: tests of the value of one attribute or property.


class Operator(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Quantifier(Enum):
    ANY = "any"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Compare:
    """`= "US"`, `>= 18`, `>= version "4.10.2"`."""

    operator: Operator
    value: Literal


@dataclass(frozen=True, slots=True)
class OneOf:
    """`in ("US", "CA")`, `not in ("US", "CA")`."""

    values: tuple[Literal, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InRange:
    """`between 18 and 35`, both included."""

    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class IsSet:
    """`is set`, `is not set`."""

    negated: bool = False


@dataclass(frozen=True, slots=True)
class Contains:
    """`contains "a|b"`, `does not contain "a|b"`."""

    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`starts with "A"`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class EndsWith:
    """`ends with "z"`."""

    suffix: str


@dataclass(frozen=True, slots=True)
class Matches:
    """`matches "^[A-Z]{3}"`."""

    expression: str


@dataclass(frozen=True, slots=True)
class Has:
    """`has "vip"`, `has any (…)`, `has all (…)`, `has none (…)`."""

    quantifier: Quantifier
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Falls:
    """A date or datetime in a window: `before 2024-01-01`, `in last 30 days`."""

    window: Window


@dataclass(frozen=True, slots=True)
class Anniversary:
    """`anniversary in next 7 days`: month and day only."""

    window: Window


@dataclass(frozen=True, slots=True)
class WithinRadius:
    """`within 10 km of (40.71, -74.0)`."""

    radius_km: float
    latitude: float
    longitude: float


Predicate = (
    Compare
    | OneOf
    | InRange
    | IsSet
    | Contains
    | StartsWith
    | EndsWith
    | Matches
    | Has
    | Falls
    | Anniversary
    | WithinRadius
)


# Quantities: how often, how much, or which occurrence.


class Bound(Enum):
    EXACTLY = "exactly"
    AT_LEAST = "at least"
    AT_MOST = "at most"
    MORE_THAN = "more than"
    FEWER_THAN = "fewer than"


class Function(Enum):
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    DISTINCT = "distinct"


@dataclass(frozen=True, slots=True)
class Count:
    """`at least 3`."""

    bound: Bound
    number: int


@dataclass(frozen=True, slots=True)
class CountBetween:
    """`between 2 and 5`, both included."""

    low: int
    high: int


CountRange = Count | CountBetween


@dataclass(frozen=True, slots=True)
class Times:
    """`at least 3 times`."""

    count: CountRange


@dataclass(frozen=True, slots=True)
class DistinctDays:
    """`on at least 3 days`."""

    count: CountRange


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`with sum(amount) > 700`; `test` is a Compare or an InRange over numbers."""

    function: Function
    property: str
    test: Predicate


@dataclass(frozen=True, slots=True)
class FirstTime:
    """`for the first time`."""


@dataclass(frozen=True, slots=True)
class LastTime:
    """`for the last time`."""


Quantity = Times | DistinctDays | Aggregate | FirstTime | LastTime


class Weekday(Enum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """`at 9:00 to 17:00`: minutes after local midnight, the end excluded."""

    start_minute: int
    end_minute: int


# Conditions.


@dataclass(frozen=True, slots=True)
class And:
    """Users who match all of at least two conditions."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Users who match any of at least two conditions."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """Users who do not match a condition."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Everyone:
    """`everyone`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A predicate over an attribute of the user or, inside `where`, over a property of the event."""

    name: str
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Did:
    """`did "Charged" where … at least 3 times … in last 30 days`; `event` None is `any event`.

    `where` consists of Comparison, And, Or and Not only.
    """

    event: str | None
    where: "Condition | None" = None
    quantity: Quantity | None = None
    time_of_day: TimeOfDay | None = None
    weekdays: tuple[Weekday, ...] = ()
    window: Window | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Then:
    """`then did "Charged" within 10 minutes`, counted from the previous step."""

    event: str | None
    within: Duration
    where: "Condition | None" = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """`did "Added To Cart" then did not "Charged" within 10 minutes in last 7 days`.

    The first event lies in `window`.
    """

    event: str | None
    steps: tuple[Then, ...]
    where: "Condition | None" = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class InSegment:
    """`in segment "High spenders"`."""

    name: str


@dataclass(frozen=True, slots=True)
class InList:
    """`in list "vip-upload"`."""

    name: str


@dataclass(frozen=True, slots=True)
class InBucket:
    """`in bucket 0 to 9 of 100 seed "spring"`, both ends included."""

    first: int
    last: int
    of: int
    seed: str = ""


# Conditions without conditions below them.
Leaf = Everyone | Comparison | Did | Sequence | InSegment | InList | InBucket
Condition = And | Or | Not | Leaf


def steps(sequence: Sequence) -> tuple[Did, ...]:
    """The steps of a sequence, one `did` for every step; only the first has the window."""
    first = Did(sequence.event, sequence.where, window=sequence.window)
    return (first, *(Did(step.event, step.where) for step in sequence.steps))


def children(condition: Condition) -> tuple[Condition, ...]:
    """The conditions directly below a condition. A `where` does not count as a child, since its names are properties.

    TypeError for an unknown kind of condition.
    """
    if isinstance(condition, And | Or):
        return condition.conditions
    if isinstance(condition, Not):
        return (condition.condition,)
    if isinstance(condition, Leaf):
        return ()
    raise TypeError(f"unknown kind of condition: {type(condition).__name__}")
