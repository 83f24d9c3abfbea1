import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATOR_UNSPECIFIED: _ClassVar[Operator]
    OPERATOR_EQUAL: _ClassVar[Operator]
    OPERATOR_NOT_EQUAL: _ClassVar[Operator]
    OPERATOR_LESS: _ClassVar[Operator]
    OPERATOR_LESS_OR_EQUAL: _ClassVar[Operator]
    OPERATOR_GREATER: _ClassVar[Operator]
    OPERATOR_GREATER_OR_EQUAL: _ClassVar[Operator]

class Quantifier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUANTIFIER_UNSPECIFIED: _ClassVar[Quantifier]
    QUANTIFIER_ANY: _ClassVar[Quantifier]
    QUANTIFIER_ALL: _ClassVar[Quantifier]
    QUANTIFIER_NONE: _ClassVar[Quantifier]

class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_UNSPECIFIED: _ClassVar[Unit]
    UNIT_MINUTES: _ClassVar[Unit]
    UNIT_HOURS: _ClassVar[Unit]
    UNIT_DAYS: _ClassVar[Unit]
    UNIT_WEEKS: _ClassVar[Unit]
    UNIT_MONTHS: _ClassVar[Unit]

class Period(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERIOD_UNSPECIFIED: _ClassVar[Period]
    PERIOD_TODAY: _ClassVar[Period]
    PERIOD_YESTERDAY: _ClassVar[Period]
    PERIOD_THIS_WEEK: _ClassVar[Period]
    PERIOD_LAST_WEEK: _ClassVar[Period]
    PERIOD_THIS_MONTH: _ClassVar[Period]
    PERIOD_LAST_MONTH: _ClassVar[Period]

class Function(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUNCTION_UNSPECIFIED: _ClassVar[Function]
    FUNCTION_SUM: _ClassVar[Function]
    FUNCTION_AVG: _ClassVar[Function]
    FUNCTION_MIN: _ClassVar[Function]
    FUNCTION_MAX: _ClassVar[Function]
    FUNCTION_DISTINCT: _ClassVar[Function]

class Bound(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOUND_UNSPECIFIED: _ClassVar[Bound]
    BOUND_EXACTLY: _ClassVar[Bound]
    BOUND_AT_LEAST: _ClassVar[Bound]
    BOUND_AT_MOST: _ClassVar[Bound]
    BOUND_MORE_THAN: _ClassVar[Bound]
    BOUND_FEWER_THAN: _ClassVar[Bound]

class Weekday(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEEKDAY_UNSPECIFIED: _ClassVar[Weekday]
    WEEKDAY_MON: _ClassVar[Weekday]
    WEEKDAY_TUE: _ClassVar[Weekday]
    WEEKDAY_WED: _ClassVar[Weekday]
    WEEKDAY_THU: _ClassVar[Weekday]
    WEEKDAY_FRI: _ClassVar[Weekday]
    WEEKDAY_SAT: _ClassVar[Weekday]
    WEEKDAY_SUN: _ClassVar[Weekday]
OPERATOR_UNSPECIFIED: Operator
OPERATOR_EQUAL: Operator
OPERATOR_NOT_EQUAL: Operator
OPERATOR_LESS: Operator
OPERATOR_LESS_OR_EQUAL: Operator
OPERATOR_GREATER: Operator
OPERATOR_GREATER_OR_EQUAL: Operator
QUANTIFIER_UNSPECIFIED: Quantifier
QUANTIFIER_ANY: Quantifier
QUANTIFIER_ALL: Quantifier
QUANTIFIER_NONE: Quantifier
UNIT_UNSPECIFIED: Unit
UNIT_MINUTES: Unit
UNIT_HOURS: Unit
UNIT_DAYS: Unit
UNIT_WEEKS: Unit
UNIT_MONTHS: Unit
PERIOD_UNSPECIFIED: Period
PERIOD_TODAY: Period
PERIOD_YESTERDAY: Period
PERIOD_THIS_WEEK: Period
PERIOD_LAST_WEEK: Period
PERIOD_THIS_MONTH: Period
PERIOD_LAST_MONTH: Period
FUNCTION_UNSPECIFIED: Function
FUNCTION_SUM: Function
FUNCTION_AVG: Function
FUNCTION_MIN: Function
FUNCTION_MAX: Function
FUNCTION_DISTINCT: Function
BOUND_UNSPECIFIED: Bound
BOUND_EXACTLY: Bound
BOUND_AT_LEAST: Bound
BOUND_AT_MOST: Bound
BOUND_MORE_THAN: Bound
BOUND_FEWER_THAN: Bound
WEEKDAY_UNSPECIFIED: Weekday
WEEKDAY_MON: Weekday
WEEKDAY_TUE: Weekday
WEEKDAY_WED: Weekday
WEEKDAY_THU: Weekday
WEEKDAY_FRI: Weekday
WEEKDAY_SAT: Weekday
WEEKDAY_SUN: Weekday

class Segment(_message.Message):
    __slots__ = ("everyone", "comparison", "did", "sequence", "in_segment", "in_list", "in_bucket")
    AND_FIELD_NUMBER: _ClassVar[int]
    OR_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    EVERYONE_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    DID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IN_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    IN_LIST_FIELD_NUMBER: _ClassVar[int]
    IN_BUCKET_FIELD_NUMBER: _ClassVar[int]
    everyone: Everyone
    comparison: Comparison
    did: Did
    sequence: Sequence
    in_segment: InSegment
    in_list: InList
    in_bucket: InBucket
    def __init__(self, everyone: _Optional[_Union[Everyone, _Mapping]] = ..., comparison: _Optional[_Union[Comparison, _Mapping]] = ..., did: _Optional[_Union[Did, _Mapping]] = ..., sequence: _Optional[_Union[Sequence, _Mapping]] = ..., in_segment: _Optional[_Union[InSegment, _Mapping]] = ..., in_list: _Optional[_Union[InList, _Mapping]] = ..., in_bucket: _Optional[_Union[InBucket, _Mapping]] = ..., **kwargs) -> None: ...

class And(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class Or(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class Not(_message.Message):
    __slots__ = ("condition",)
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    condition: Segment
    def __init__(self, condition: _Optional[_Union[Segment, _Mapping]] = ...) -> None: ...

class Everyone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("name", "predicate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREDICATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    predicate: Predicate
    def __init__(self, name: _Optional[str] = ..., predicate: _Optional[_Union[Predicate, _Mapping]] = ...) -> None: ...

class Did(_message.Message):
    __slots__ = ("event", "where", "quantity", "time_of_day", "weekdays", "window", "negated")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    TIME_OF_DAY_FIELD_NUMBER: _ClassVar[int]
    WEEKDAYS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    event: str
    where: Segment
    quantity: Quantity
    time_of_day: TimeOfDay
    weekdays: _containers.RepeatedScalarFieldContainer[Weekday]
    window: Window
    negated: bool
    def __init__(self, event: _Optional[str] = ..., where: _Optional[_Union[Segment, _Mapping]] = ..., quantity: _Optional[_Union[Quantity, _Mapping]] = ..., time_of_day: _Optional[_Union[TimeOfDay, _Mapping]] = ..., weekdays: _Optional[_Iterable[_Union[Weekday, str]]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., negated: _Optional[bool] = ...) -> None: ...

class Sequence(_message.Message):
    __slots__ = ("event", "steps", "where", "window")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    event: str
    steps: _containers.RepeatedCompositeFieldContainer[Then]
    where: Segment
    window: Window
    def __init__(self, event: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Then, _Mapping]]] = ..., where: _Optional[_Union[Segment, _Mapping]] = ..., window: _Optional[_Union[Window, _Mapping]] = ...) -> None: ...

class Then(_message.Message):
    __slots__ = ("event", "within", "where", "negated")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    event: str
    within: Duration
    where: Segment
    negated: bool
    def __init__(self, event: _Optional[str] = ..., within: _Optional[_Union[Duration, _Mapping]] = ..., where: _Optional[_Union[Segment, _Mapping]] = ..., negated: _Optional[bool] = ...) -> None: ...

class InSegment(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class InList(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class InBucket(_message.Message):
    __slots__ = ("first", "last", "of", "seed")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    of: int
    seed: str
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., of: _Optional[int] = ..., seed: _Optional[str] = ...) -> None: ...

class Predicate(_message.Message):
    __slots__ = ("compare", "one_of", "in_range", "is_set", "contains", "starts_with", "ends_with", "matches", "has", "falls", "anniversary", "within_radius")
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    IN_RANGE_FIELD_NUMBER: _ClassVar[int]
    IS_SET_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    STARTS_WITH_FIELD_NUMBER: _ClassVar[int]
    ENDS_WITH_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    HAS_FIELD_NUMBER: _ClassVar[int]
    FALLS_FIELD_NUMBER: _ClassVar[int]
    ANNIVERSARY_FIELD_NUMBER: _ClassVar[int]
    WITHIN_RADIUS_FIELD_NUMBER: _ClassVar[int]
    compare: Compare
    one_of: OneOf
    in_range: InRange
    is_set: IsSet
    contains: Contains
    starts_with: StartsWith
    ends_with: EndsWith
    matches: Matches
    has: Has
    falls: Falls
    anniversary: Anniversary
    within_radius: WithinRadius
    def __init__(self, compare: _Optional[_Union[Compare, _Mapping]] = ..., one_of: _Optional[_Union[OneOf, _Mapping]] = ..., in_range: _Optional[_Union[InRange, _Mapping]] = ..., is_set: _Optional[_Union[IsSet, _Mapping]] = ..., contains: _Optional[_Union[Contains, _Mapping]] = ..., starts_with: _Optional[_Union[StartsWith, _Mapping]] = ..., ends_with: _Optional[_Union[EndsWith, _Mapping]] = ..., matches: _Optional[_Union[Matches, _Mapping]] = ..., has: _Optional[_Union[Has, _Mapping]] = ..., falls: _Optional[_Union[Falls, _Mapping]] = ..., anniversary: _Optional[_Union[Anniversary, _Mapping]] = ..., within_radius: _Optional[_Union[WithinRadius, _Mapping]] = ...) -> None: ...

class Compare(_message.Message):
    __slots__ = ("operator", "value")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    operator: Operator
    value: Literal
    def __init__(self, operator: _Optional[_Union[Operator, str]] = ..., value: _Optional[_Union[Literal, _Mapping]] = ...) -> None: ...

class OneOf(_message.Message):
    __slots__ = ("values", "negated")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Literal]
    negated: bool
    def __init__(self, values: _Optional[_Iterable[_Union[Literal, _Mapping]]] = ..., negated: _Optional[bool] = ...) -> None: ...

class InRange(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: Literal
    high: Literal
    def __init__(self, low: _Optional[_Union[Literal, _Mapping]] = ..., high: _Optional[_Union[Literal, _Mapping]] = ...) -> None: ...

class IsSet(_message.Message):
    __slots__ = ("negated",)
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    negated: bool
    def __init__(self, negated: _Optional[bool] = ...) -> None: ...

class Contains(_message.Message):
    __slots__ = ("pattern", "negated")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    negated: bool
    def __init__(self, pattern: _Optional[str] = ..., negated: _Optional[bool] = ...) -> None: ...

class StartsWith(_message.Message):
    __slots__ = ("prefix",)
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    def __init__(self, prefix: _Optional[str] = ...) -> None: ...

class EndsWith(_message.Message):
    __slots__ = ("suffix",)
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    suffix: str
    def __init__(self, suffix: _Optional[str] = ...) -> None: ...

class Matches(_message.Message):
    __slots__ = ("expression",)
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    expression: str
    def __init__(self, expression: _Optional[str] = ...) -> None: ...

class Has(_message.Message):
    __slots__ = ("quantifier", "values")
    QUANTIFIER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    quantifier: Quantifier
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, quantifier: _Optional[_Union[Quantifier, str]] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Falls(_message.Message):
    __slots__ = ("window",)
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    window: Window
    def __init__(self, window: _Optional[_Union[Window, _Mapping]] = ...) -> None: ...

class Anniversary(_message.Message):
    __slots__ = ("window",)
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    window: Window
    def __init__(self, window: _Optional[_Union[Window, _Mapping]] = ...) -> None: ...

class WithinRadius(_message.Message):
    __slots__ = ("radius_km", "latitude", "longitude")
    RADIUS_KM_FIELD_NUMBER: _ClassVar[int]
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    radius_km: float
    latitude: float
    longitude: float
    def __init__(self, radius_km: _Optional[float] = ..., latitude: _Optional[float] = ..., longitude: _Optional[float] = ...) -> None: ...

class Literal(_message.Message):
    __slots__ = ("text", "number", "boolean", "day", "instant", "version")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    INSTANT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    text: Text
    number: Number
    boolean: Boolean
    day: Day
    instant: Instant
    version: Version
    def __init__(self, text: _Optional[_Union[Text, _Mapping]] = ..., number: _Optional[_Union[Number, _Mapping]] = ..., boolean: _Optional[_Union[Boolean, _Mapping]] = ..., day: _Optional[_Union[Day, _Mapping]] = ..., instant: _Optional[_Union[Instant, _Mapping]] = ..., version: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...

class Text(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class Number(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class Boolean(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bool
    def __init__(self, value: _Optional[bool] = ...) -> None: ...

class Day(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class Instant(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _timestamp_pb2.Timestamp
    def __init__(self, value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("day", "instant")
    DAY_FIELD_NUMBER: _ClassVar[int]
    INSTANT_FIELD_NUMBER: _ClassVar[int]
    day: Day
    instant: Instant
    def __init__(self, day: _Optional[_Union[Day, _Mapping]] = ..., instant: _Optional[_Union[Instant, _Mapping]] = ...) -> None: ...

class Duration(_message.Message):
    __slots__ = ("amount", "unit")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    amount: int
    unit: Unit
    def __init__(self, amount: _Optional[int] = ..., unit: _Optional[_Union[Unit, str]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("in_last", "in_next", "between", "on", "on_today", "before", "since", "after", "more_than_ago", "between_days_ago", "during")
    IN_LAST_FIELD_NUMBER: _ClassVar[int]
    IN_NEXT_FIELD_NUMBER: _ClassVar[int]
    BETWEEN_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    ON_TODAY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MORE_THAN_AGO_FIELD_NUMBER: _ClassVar[int]
    BETWEEN_DAYS_AGO_FIELD_NUMBER: _ClassVar[int]
    DURING_FIELD_NUMBER: _ClassVar[int]
    in_last: InLast
    in_next: InNext
    between: Between
    on: On
    on_today: OnToday
    before: Before
    since: Since
    after: After
    more_than_ago: MoreThanAgo
    between_days_ago: BetweenDaysAgo
    during: During
    def __init__(self, in_last: _Optional[_Union[InLast, _Mapping]] = ..., in_next: _Optional[_Union[InNext, _Mapping]] = ..., between: _Optional[_Union[Between, _Mapping]] = ..., on: _Optional[_Union[On, _Mapping]] = ..., on_today: _Optional[_Union[OnToday, _Mapping]] = ..., before: _Optional[_Union[Before, _Mapping]] = ..., since: _Optional[_Union[Since, _Mapping]] = ..., after: _Optional[_Union[After, _Mapping]] = ..., more_than_ago: _Optional[_Union[MoreThanAgo, _Mapping]] = ..., between_days_ago: _Optional[_Union[BetweenDaysAgo, _Mapping]] = ..., during: _Optional[_Union[During, _Mapping]] = ...) -> None: ...

class InLast(_message.Message):
    __slots__ = ("duration",)
    DURATION_FIELD_NUMBER: _ClassVar[int]
    duration: Duration
    def __init__(self, duration: _Optional[_Union[Duration, _Mapping]] = ...) -> None: ...

class InNext(_message.Message):
    __slots__ = ("duration",)
    DURATION_FIELD_NUMBER: _ClassVar[int]
    duration: Duration
    def __init__(self, duration: _Optional[_Union[Duration, _Mapping]] = ...) -> None: ...

class Between(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: Moment
    end: Moment
    def __init__(self, start: _Optional[_Union[Moment, _Mapping]] = ..., end: _Optional[_Union[Moment, _Mapping]] = ...) -> None: ...

class On(_message.Message):
    __slots__ = ("moment",)
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    moment: Moment
    def __init__(self, moment: _Optional[_Union[Moment, _Mapping]] = ...) -> None: ...

class OnToday(_message.Message):
    __slots__ = ("offset_days",)
    OFFSET_DAYS_FIELD_NUMBER: _ClassVar[int]
    offset_days: int
    def __init__(self, offset_days: _Optional[int] = ...) -> None: ...

class Before(_message.Message):
    __slots__ = ("moment",)
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    moment: Moment
    def __init__(self, moment: _Optional[_Union[Moment, _Mapping]] = ...) -> None: ...

class Since(_message.Message):
    __slots__ = ("moment",)
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    moment: Moment
    def __init__(self, moment: _Optional[_Union[Moment, _Mapping]] = ...) -> None: ...

class After(_message.Message):
    __slots__ = ("moment",)
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    moment: Moment
    def __init__(self, moment: _Optional[_Union[Moment, _Mapping]] = ...) -> None: ...

class MoreThanAgo(_message.Message):
    __slots__ = ("duration",)
    DURATION_FIELD_NUMBER: _ClassVar[int]
    duration: Duration
    def __init__(self, duration: _Optional[_Union[Duration, _Mapping]] = ...) -> None: ...

class BetweenDaysAgo(_message.Message):
    __slots__ = ("oldest_days", "newest_days")
    OLDEST_DAYS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_DAYS_FIELD_NUMBER: _ClassVar[int]
    oldest_days: int
    newest_days: int
    def __init__(self, oldest_days: _Optional[int] = ..., newest_days: _Optional[int] = ...) -> None: ...

class During(_message.Message):
    __slots__ = ("period",)
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    period: Period
    def __init__(self, period: _Optional[_Union[Period, str]] = ...) -> None: ...

class Quantity(_message.Message):
    __slots__ = ("times", "distinct_days", "aggregate", "first_time", "last_time")
    TIMES_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_DAYS_FIELD_NUMBER: _ClassVar[int]
    AGGREGATE_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    times: Times
    distinct_days: DistinctDays
    aggregate: Aggregate
    first_time: FirstTime
    last_time: LastTime
    def __init__(self, times: _Optional[_Union[Times, _Mapping]] = ..., distinct_days: _Optional[_Union[DistinctDays, _Mapping]] = ..., aggregate: _Optional[_Union[Aggregate, _Mapping]] = ..., first_time: _Optional[_Union[FirstTime, _Mapping]] = ..., last_time: _Optional[_Union[LastTime, _Mapping]] = ...) -> None: ...

class Times(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: CountRange
    def __init__(self, count: _Optional[_Union[CountRange, _Mapping]] = ...) -> None: ...

class DistinctDays(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: CountRange
    def __init__(self, count: _Optional[_Union[CountRange, _Mapping]] = ...) -> None: ...

class Aggregate(_message.Message):
    __slots__ = ("function", "property", "test")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PROPERTY_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    function: Function
    property: str
    test: Predicate
    def __init__(self, function: _Optional[_Union[Function, str]] = ..., property: _Optional[str] = ..., test: _Optional[_Union[Predicate, _Mapping]] = ...) -> None: ...

class FirstTime(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LastTime(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountRange(_message.Message):
    __slots__ = ("count", "count_between")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNT_BETWEEN_FIELD_NUMBER: _ClassVar[int]
    count: Count
    count_between: CountBetween
    def __init__(self, count: _Optional[_Union[Count, _Mapping]] = ..., count_between: _Optional[_Union[CountBetween, _Mapping]] = ...) -> None: ...

class Count(_message.Message):
    __slots__ = ("bound", "number")
    BOUND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    bound: Bound
    number: int
    def __init__(self, bound: _Optional[_Union[Bound, str]] = ..., number: _Optional[int] = ...) -> None: ...

class CountBetween(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: int
    high: int
    def __init__(self, low: _Optional[int] = ..., high: _Optional[int] = ...) -> None: ...

class TimeOfDay(_message.Message):
    __slots__ = ("start_minute", "end_minute")
    START_MINUTE_FIELD_NUMBER: _ClassVar[int]
    END_MINUTE_FIELD_NUMBER: _ClassVar[int]
    start_minute: int
    end_minute: int
    def __init__(self, start_minute: _Optional[int] = ..., end_minute: _Optional[int] = ...) -> None: ...
