"""A real history: CDNOW, 23,570 customers who bought CDs in 1997 and 1998, imported by the CSV importer.

The file comes from the wheel of the PyPI package `lifetimes`, which is only unpacked. Published totals: 23,570
customers, 69,659 transactions, 167,881 CDs, $2,500,315.63.
"""

import subprocess
import sys
import zipfile
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bitseg.engine import Engine
from bitseg.formats.base import ColumnMapping
from bitseg.formats.csv import WHITESPACE, read_csv
from bitseg.formats.load import RejectsFile, load
from tests.conftest import NOW_MS

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.xdist_group("cdnow")]

DOWNLOADS = Path(__file__).parent.parent / ".downloads"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"


@pytest.fixture(scope="session")
def cdnow(tmp_path_factory):
    """The purchase history as it was published: columns of text, divided by spaces."""
    if not list(DOWNLOADS.glob("*ifetimes-*.whl")):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            DOWNLOADS,
            "lifetimes>=0.11,<0.12",
        ]
        subprocess.run(command, check=True)
    (wheel,) = DOWNLOADS.glob("*ifetimes-*.whl")
    path = tmp_path_factory.mktemp("cdnow") / "CDNOW_master.txt"
    path.write_bytes(zipfile.ZipFile(wheel).read(MEMBER))
    return path


@pytest.fixture(scope="session")
def history(cdnow):
    """Purchases by customer, in the file's order: (day, CDs, dollars as float)."""
    purchases = defaultdict(list)
    for line in cdnow.read_text().splitlines()[1:]:
        customer, day, cds, dollars = line.split()
        purchases[customer].append((date(int(day[:4]), int(day[4:6]), int(day[6:])), int(cds), dollars))
    return purchases


def imported(cdnow, time_format="%Y%m%d"):
    mapping = ColumnMapping("customer_id", event="Purchased", time_column="date", time_format=time_format)
    engine = Engine()
    batches = read_csv(cdnow, mapping, engine.calendar, NOW_MS, WHITESPACE)
    with RejectsFile(cdnow.with_suffix(".rejects")) as rejects:
        summary = load(batches, engine, rejects, lambda done, account: None)
    assert (summary.accepted, summary.rejected_lines, summary.rejected_values) == (69_659, 0, 0)
    return engine


@pytest.fixture(scope="session")
def engine(cdnow):
    return imported(cdnow)


def total_over_users(engine, text, most):
    """The sum of a whole number per user, from how many users have at least 1, 2, 3, … of it."""
    return sum(engine.count(text.format(least)).count for least in range(1, most + 1))


def test_Published_customers_and_transactions(engine):
    assert engine.count("everyone").count == 23_570
    assert engine.count('did "Purchased"').count == 23_570
    assert total_over_users(engine, 'did "Purchased" at least {} times', 400) == 69_659


def test_Published_CDs(engine, history):
    most = max(sum(cds for _, cds, _ in each) for each in history.values())
    assert engine.count(f'did "Purchased" with sum(number_of_cds) > {most}').count == 0
    assert total_over_users(engine, 'did "Purchased" with sum(number_of_cds) >= {}', most) == 167_881


def test_Published_dollars(cdnow, history):
    """Each price times how often it was paid; months as days make the thousands of counts quick."""
    monthly = cdnow.with_name("monthly.txt")
    lines = cdnow.read_text().splitlines()
    shortened = [" ".join([customer, day[:6] + "01", *rest]) for customer, day, *rest in map(str.split, lines[1:])]
    monthly.write_text("\n".join([lines[0], *shortened]))
    engine = imported(monthly)
    total, transactions = Decimal(0), 0
    for price in sorted({dollars for each in history.values() for _, _, dollars in each}, key=Decimal):
        times, users = 0, engine.count(f'did "Purchased" where dollar_value = {float(price)!r}').count
        while users:
            transactions += users
            total += users * Decimal(price)
            times += 1
            text = f'did "Purchased" where dollar_value = {float(price)!r} more than {times} times'
            users = engine.count(text).count
    assert transactions == 69_659
    assert total == Decimal("2500315.63")


AS_OF = datetime(1998, 6, 30, 23, 59, tzinfo=UTC)
LAST_DAY = AS_OF.date()


def since(days):
    return LAST_DAY - timedelta(days=days - 1)


SEGMENTS = {
    'did "Purchased" at least 5 times': lambda p: len(p) >= 5,
    'did "Purchased" exactly 1 times': lambda p: len(p) == 1,
    'did "Purchased" in last 30 days': lambda p: any(since(30) <= day <= LAST_DAY for day, _, _ in p),
    'did "Purchased" at least 3 times in last 90 days': lambda p: sum(since(90) <= day for day, _, _ in p) >= 3,
    'did "Purchased" with sum(dollar_value) > 500': lambda p: ordered_sum(p) > 500,
    'did "Purchased" with sum(dollar_value) between 100 and 200 since 1998-01-01': lambda p: (
        100 <= ordered_sum([each for each in p if each[0] >= date(1998, 1, 1)]) <= 200
    ),
    'did "Purchased" with avg(number_of_cds) >= 4': lambda p: sum(c for _, c, _ in p) / len(p) >= 4,
    'did "Purchased" with max(dollar_value) >= 100 in last 12 months': lambda p: any(
        float(d) >= 100 and date(1997, 7, 1) <= day for day, _, d in p
    ),
    'did "Purchased" where (number_of_cds >= 3 and dollar_value < 30)': lambda p: any(
        c >= 3 and float(d) < 30 for _, c, d in p
    ),
    'did "Purchased" on at least 4 days between 1997-06-01 and 1997-12-31': lambda p: (
        len({day for day, _, _ in p if date(1997, 6, 1) <= day <= date(1997, 12, 31)}) >= 4
    ),
    'did "Purchased" for the first time between 1997-03-01 and 1997-03-31': lambda p: (
        date(1997, 3, 1) <= min(day for day, _, _ in p) <= date(1997, 3, 31)
    ),
    'did "Purchased" for the last time more than 365 days ago': lambda p: max(day for day, _, _ in p) < since(365),
    'did "Purchased" at least 2 times on weekdays (sat, sun)': lambda p: (
        sum(day.weekday() >= 5 for day, _, _ in p) >= 2
    ),
    'did "Purchased" in last 90 days and not did "Purchased" between 1997-04-01 and 1998-03-31': lambda p: (
        any(since(90) <= day for day, _, _ in p)
        and not any(date(1997, 4, 1) <= day <= date(1998, 3, 31) for day, _, _ in p)
    ),
    'did "Purchased" then did not "Purchased" within 30 days in last 200 days': lambda p: any(
        since(200) <= day <= LAST_DAY - timedelta(days=30)
        and not any(day < other <= day + timedelta(days=30) for other, _, _ in p)
        for day, _, _ in p
    ),
    'did "Purchased" then did "Purchased" within 7 days': lambda p: any(
        a < b <= a + timedelta(days=7) for a, _, _ in p for b, _, _ in p
    ),
    'not did "Purchased" at least 2 times': lambda p: len(p) < 2,
}


def ordered_sum(purchases):
    total = 0.0
    for _, _, dollars in sorted(purchases, key=lambda each: each[0]):
        total += float(dollars)
    return total


@pytest.mark.parametrize("text", SEGMENTS)
def test_Segment_has_the_customers_that_plain_Python_finds(engine, history, text):
    members = {user for page in engine.members(text, AS_OF).pages for user in page}
    expected = {customer for customer, purchases in history.items() if SEGMENTS[text](purchases)}
    assert members == expected
    assert 0 < len(expected) < len(history)
