"""The decisions on which products disagree, each by name, through the engine."""

from datetime import UTC, datetime

import pytest

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.errors import InvalidArgumentError, TypeMismatchError, UnknownAttributeError
from bitseg.operations import Delete, Identify, Track
from tests.conftest import NOW_MS

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def who(engine, text, as_of=None):
    return {user for page in engine.members(text, as_of).pages for user in page}


def identify(engine, user, at_ms=NOW_MS, /, **traits):
    return engine.ingest([Identify(user, traits, at_ms)])


def track(engine, user, event, at_ms=NOW_MS, /, **properties):
    return engine.ingest([Track(user, event, properties, at_ms)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('country = "US"', {"us"}),
        ('country != "US"', {"ca"}),
        ('country not in ("US", "ES")', {"ca"}),
        ('country does not contain "us"', {"ca"}),
        ('not country = "US"', {"ca", "unset", "never"}),
        ("country is not set", {"unset", "never"}),
        ('tags has none ("vip")', {"ca"}),
    ],
)
def test_Comparison_with_an_unset_attribute_is_false_even_negated(engine, text, expected):
    identify(engine, "us", country="US", tags=["vip"])
    identify(engine, "ca", country="CA", tags=[])
    identify(engine, "unset", country="US")
    identify(engine, "unset", country=None)
    track(engine, "never", "Seen")
    assert who(engine, text) == expected


def test_Quantity_ranges_over_users_who_did_the_event(engine):
    track(engine, "once", "Buy")
    identify(engine, "never", country="US")
    assert who(engine, 'did "Buy" at most 2 times') == {"once"}
    assert who(engine, 'did "Buy" fewer than 2 times') == {"once"}
    assert who(engine, 'did "Buy" between 0 and 3 times') == {"once"}
    assert who(engine, 'did not "Buy" at least 2 times') == {"once", "never"}


def test_In_last_n_days_is_today_and_the_days_before_in_the_workspace_zone():
    now_ms = NOW_MS
    madrid = Engine(WorkspaceSettings("Europe/Madrid"), clock=FixedClock(now_ms))
    # Local midnight of 30 January is 23:00 UTC of the 29th.
    start_ms = NOW_MS - 12 * HOUR_MS - DAY_MS - HOUR_MS
    track(madrid, "in", "E", start_ms)
    track(madrid, "out", "E", start_ms - 1)
    assert who(madrid, 'did "E" in last 2 days') == {"in"}
    assert who(madrid, 'did "E" more than 2 days ago') == {"out"}


def test_In_last_hours_excludes_its_start_and_includes_now(engine):
    track(engine, "start", "E", NOW_MS - 6 * HOUR_MS)
    track(engine, "after", "E", NOW_MS - 6 * HOUR_MS + 1)
    track(engine, "now", "E", NOW_MS)
    track(engine, "later", "E", NOW_MS + 1)
    assert who(engine, 'did "E" in last 6 hours') == {"after", "now"}
    assert who(engine, 'did "E"') == {"start", "after", "now"}


def test_As_of_hides_later_events_and_keeps_attributes(engine):
    identify(engine, "u", country="US")
    track(engine, "u", "E", NOW_MS - DAY_MS)
    before = datetime(2024, 1, 30, 11, 59, 59, 999_000, tzinfo=UTC)
    assert who(engine, 'did "E"', before) == set()
    assert who(engine, 'country = "US" and not did "E"', before) == {"u"}
    assert who(engine, 'did "E" today', datetime(2024, 1, 30, 12, tzinfo=UTC)) == {"u"}


def test_First_time_is_of_all_time_and_must_lie_in_the_window(engine):
    track(engine, "old", "E", NOW_MS - 40 * DAY_MS)
    track(engine, "old", "E", NOW_MS - DAY_MS)
    track(engine, "new", "E", NOW_MS - DAY_MS)
    assert who(engine, 'did "E" for the first time in last 7 days') == {"new"}
    assert who(engine, 'did "E" for the last time in last 7 days') == {"old", "new"}
    assert who(engine, 'did "E" for the last time more than 30 days ago') == set()


def test_Sequence_limit_includes_its_last_millisecond_and_not_the_same_instant(engine):
    for user, gap_ms in {"same": 0, "soon": 1, "last": 10 * MINUTE_MS, "late": 10 * MINUTE_MS + 1}.items():
        track(engine, user, "A", NOW_MS - HOUR_MS)
        track(engine, user, "B", NOW_MS - HOUR_MS + gap_ms)
    assert who(engine, 'did "A" then did "B" within 10 minutes') == {"soon", "last"}
    assert who(engine, 'did "A" then did not "B" within 10 minutes') == {"same", "late"}


def test_Then_did_not_waits_until_its_time_has_run_out(engine):
    track(engine, "u", "A", NOW_MS - 10 * MINUTE_MS)
    at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert who(engine, 'did "A" then did not "B" within 10 minutes', at) == {"u"}
    assert who(engine, 'did "A" then did not "B" within 10 minutes', at.replace(hour=11, minute=59)) == set()


def test_Aggregate_leaves_out_events_without_the_property_and_users_without_any(engine):
    track(engine, "some", "E", amount=5)
    track(engine, "some", "E")
    track(engine, "none", "E")
    assert who(engine, 'did "E" with avg(amount) = 5') == {"some"}
    assert who(engine, 'did "E" with sum(amount) < 100') == {"some"}


def test_Last_write_wins_by_timestamp_and_ties_go_to_the_later_arrival(engine):
    identify(engine, "u", NOW_MS, plan="gold")
    identify(engine, "u", NOW_MS - 1, plan="free")
    assert who(engine, 'plan = "gold"') == {"u"}
    identify(engine, "u", NOW_MS, plan="silver")
    assert who(engine, 'plan = "silver"') == {"u"}
    identify(engine, "u", NOW_MS - 1, plan=None)
    assert who(engine, "plan is set") == {"u"}
    identify(engine, "u", NOW_MS + 1, plan=None)
    assert who(engine, "plan is set") == set()
    identify(engine, "u", NOW_MS, plan="gold")
    assert who(engine, "plan is set") == set()


def test_First_value_fixes_the_type_and_another_loses_only_that_value(engine):
    identify(engine, "a", age=20)
    result = identify(engine, "b", age="old", country="US")
    assert (result.accepted, [each.name for each in result.rejections]) == (1, ["age"])
    assert "expected a number" in result.rejections[0].reason
    assert who(engine, 'country = "US" and age is not set') == {"b"}


def test_Whole_iso_string_makes_a_date_or_a_datetime(engine):
    identify(engine, "a", born="2000-02-29", seen="2024-01-31T10:00:00Z", code="2024-1-1")
    assert who(engine, "born = 2000-02-29 and seen on 2024-01-31") == {"a"}
    assert who(engine, 'code = "2024-1-1"') == {"a"}


def test_Repeated_message_id_changes_nothing(engine):
    again = [Track("u", "E", {}, NOW_MS, "m1")]
    engine.ingest(again)
    assert engine.ingest(again).duplicates == 1
    assert who(engine, 'did "E" exactly 1 times') == {"u"}


def test_Repeated_message_id_within_a_batch_keeps_the_first(engine):
    engine.ingest([Track("a", "X", {}, NOW_MS), Track("u", "Y", {}, NOW_MS, "m"), Track("v", "X", {}, NOW_MS, "m")])
    assert who(engine, 'did "Y"') == {"u"}
    assert who(engine, 'did "X"') == {"a"}


def test_Event_more_than_an_hour_ahead_is_rejected_with_a_reason(engine):
    assert track(engine, "u", "E", NOW_MS + HOUR_MS).accepted == 1
    result = track(engine, "u", "E", NOW_MS + HOUR_MS + 1)
    assert result.accepted == 0
    assert "future" in result.rejections[0].reason


def test_Deleting_a_user_removes_them_from_every_answer_at_once(engine):
    for user in ("gone", "stays"):
        identify(engine, user, country="US", age=3)
        track(engine, user, "E", NOW_MS - HOUR_MS, amount=1)
    texts = ("everyone", 'country = "US"', "age > 1", 'did "E"', 'did "E" with sum(amount) = 1', "age is set")
    assert all(len(who(engine, text)) == 2 for text in texts)
    engine.ingest([Delete("gone")])
    assert all(who(engine, text) == {"stays"} for text in texts)
    assert who(engine, 'not country = "US"') == set()
    identify(engine, "gone", city="Rome")
    assert who(engine, "country is not set") == {"gone"}


def test_Datetime_attribute_and_a_date_are_compared_by_local_day():
    engine = Engine(WorkspaceSettings("America/New_York"), clock=FixedClock(NOW_MS))
    identify(engine, "u", seen="2024-01-31T03:00:00Z")
    assert who(engine, "seen = 2024-01-30 and seen <= 2024-01-30 and seen < 2024-01-31") == {"u"}
    assert who(engine, "seen > 2024-01-30 or seen != 2024-01-30") == set()
    assert who(engine, "seen = 2024-01-31T03:00:00Z") == {"u"}


def test_29_February_falls_on_28_February_in_common_years(engine):
    identify(engine, "leap", born="2000-02-29")
    identify(engine, "day", born="1999-02-28")
    at = datetime(2023, 2, 28, 12, tzinfo=UTC)
    assert who(engine, "born anniversary on today", at) == {"leap", "day"}
    assert who(engine, "born anniversary on today", at.replace(year=2024)) == {"day"}
    assert who(engine, "born anniversary on today", datetime(2024, 2, 29, tzinfo=UTC)) == {"leap"}


def test_Unknown_attribute_is_an_error_with_the_nearest_name(engine):
    identify(engine, "u", country="US")
    with pytest.raises(UnknownAttributeError, match='"country"'):
        engine.count('contry = "US"')


@pytest.mark.parametrize(
    "text",
    [
        'age = "20"',
        'age has "x"',
        'age contains "2"',
        'did "E" where amount = "5"',
        'did "E" with sum(color) > 1',
        "born in last 6 hours",
    ],
)
def test_Type_that_does_not_fit_is_an_error(engine, text):
    identify(engine, "u", age=20, born="2000-01-01")
    track(engine, "u", "E", amount=5, color="red")
    with pytest.raises(TypeMismatchError):
        engine.count(text)


def test_Event_and_property_not_seen_yet_are_warnings_with_the_nearest_name(engine):
    track(engine, "u", "Charged", amount=5)
    result = engine.count('did "Chraged" or did "Charged" where amuont > 1')
    assert result.count == 0
    assert ['"Charged"' in result.warnings[0], '"amount"' in result.warnings[1]] == [True, True]


def test_Materialised_condition_follows_every_change(engine):
    text = 'did "E" where amount > 1 in last 2 days and plan = "gold"'
    for step in range(6):
        identify(engine, f"u{step}", plan="gold" if step % 2 else "free")
        track(engine, f"u{step}", "E", NOW_MS - step * HOUR_MS, amount=step)
        assert (
            who(engine, text) == who(engine, text) == {f"u{each}" for each in range(step + 1) if each % 2 and each > 1}
        )
    assert who(engine, text, datetime(2024, 1, 31, 8, tzinfo=UTC)) == {"u5"}
    assert who(engine, text, datetime(2024, 2, 3, tzinfo=UTC)) == set()


@pytest.mark.parametrize("year", [1, 9999])
def test_As_of_outside_the_years_that_can_be_answered_is_refused(engine, year):
    with pytest.raises(InvalidArgumentError, match="as-of"):
        engine.count("everyone", datetime(year, 6, 1, tzinfo=UTC))


def test_Order_of_deletions_within_a_batch_is_kept(engine):
    """Deletions are made together, but never across an operation that came between them."""
    engine.ingest(
        [
            Identify("a", {"n": 1}, NOW_MS),
            Delete("a"),
            Identify("a", {"m": 2}, NOW_MS),
            Delete("b"),
            Identify("b", {"m": 3}, NOW_MS),
            Track("c", "E", {}, NOW_MS),
            Delete("c"),
            Delete("nobody"),
        ]
    )
    assert who(engine, "everyone") == {"a", "b"}
    assert who(engine, "m is set and n is not set") == {"a", "b"}
    assert who(engine, 'did "E"') == set()
