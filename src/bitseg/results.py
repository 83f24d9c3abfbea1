"""The results that the engine and the clients return."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from bitseg.columns import Rejection
from bitseg.values import Value


@dataclass(frozen=True, slots=True)
class CountResult:
    """How many users are in a segment at one version, and the seconds that the engine took."""

    count: int
    version: int
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A count with a sample of members and, on request, the dense ids of all members as portable Roaring bytes."""

    count: int
    version: int
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    bitmap: bytes | None = None


Item = TypeVar("Item")
PageT_co = TypeVar("PageT_co", covariant=True)


class Pages(Iterator[PageT_co]):
    """An iterator over pages. `resume_token` stands for the end of the page that was taken last."""

    def __init__(self, pages: Iterator[tuple[PageT_co, str]], resume_token: str = "") -> None:
        self._pages = pages
        self.resume_token = resume_token

    def __next__(self) -> PageT_co:
        page, self.resume_token = next(self._pages)
        return page


@dataclass(frozen=True, slots=True)
class Members(Generic[PageT_co]):
    """All members of a segment at one version, without repeats. Iterate over it for their ids.

    `pages` has the same ids page by page. Both read the same stream, which can be read once. `total` counts the
    members; users who are deleted meanwhile are left out of the following pages.
    """

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: Pages[PageT_co]

    @property
    def resume_token(self) -> str:
        """Stands for the end of the page that was taken last; pass it to another call to get the following pages.

        It is empty before the first page if there is only one page. Iterating over ids takes a page as a whole.
        """
        return self.pages.resume_token

    def __iter__(self: "Members[Iterable[Item]]") -> Iterator[Item]:
        return chain.from_iterable(self.pages)


@dataclass(frozen=True, slots=True)
class NamedPage(Generic[Item]):
    """A page of catalog entries in the order of names; `total` counts the entries on all pages.

    Pass `next_page_token` to get the next page; it is empty on the last page.
    """

    items: tuple[Item, ...]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The result of a batch: accepted rows, duplicates, rejected rows and values, and the version after it."""

    accepted: int
    duplicates: int
    rejections: tuple[Rejection, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening a data directory recovered.

    `snapshot_bytes` were read from the snapshot, and `records` replayed from the journal. If a crash interrupted the
    last write, its `torn_bytes` were cut from the journal and saved as `torn_saved_as`; that write was not
    acknowledged.
    """

    snapshot_bytes: int
    records: int
    torn_bytes: int
    torn_saved_as: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """The snapshot of a data directory: its version, the bytes written for it, and the seconds that took."""

    version: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One event of one user."""

    event: str
    timestamp_ms: int
    properties: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class EventSummary:
    """How often a user did an event, with the first and last time in milliseconds."""

    event: str
    count: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One user at one version: the attributes that are set, and a summary of each event, both by name."""

    user_id: str
    attributes: Mapping[str, Value]
    events: tuple[EventSummary, ...]
    version: int


@dataclass(frozen=True, slots=True)
class UserSegments:
    """The names of the saved segments that a user is in at one version, in alphabetical order.

    `warnings` names the segments that cannot be answered, and says why.
    """

    segments: tuple[str, ...]
    version: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """One condition, as text, for one user.

    `value` is the value of the condition's attribute; None if it is unset or the condition is not about an attribute.
    `interval_ms` is the interval of the window, from the first instant, included, to the second, excluded; None without
    a window. `event_count` counts the events that decide; `events` has the latest of them, oldest first. `note` adds in
    words what else decides. `conditions` explains the conditions below.
    """

    condition: str
    matches: bool
    value: Value | None = None
    interval_ms: tuple[int, int] | None = None
    event_count: int = 0
    events: tuple[UserEvent, ...] = ()
    note: str = ""
    conditions: "tuple[Explanation, ...]" = ()


@dataclass(frozen=True, slots=True)
class UserExplanation:
    """An explanation with its version, its instant, and the time zone of the days in its windows."""

    explanation: Explanation
    version: int
    as_of_ms: int
    timezone: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One part of a plan: its estimated and its true number of members, and the seconds that it took by itself.

    `is_known` means that its members did not have to be computed: they were stored in the index, cached or pinned.
    """

    title: str
    estimated: int
    members: int
    seconds: float
    is_known: bool
    steps: "tuple[PlanStep, ...]"


@dataclass(frozen=True, slots=True)
class Statistics:
    """The size of a workspace. Bytes are the memory of arrays and bitmaps, without the dictionaries of strings.

    Cached answers that were current count as hits, stale ones that were refreshed as refreshes, and answers computed
    for all users as misses. `snapshot_bytes` and `journal_bytes` are on disk, the journal since the snapshot; 0 for a
    workspace in memory. `snapshot_ms` is when the snapshot was taken, and `journal_ms` when the oldest record was
    written that only the journal has; 0 without a snapshot or such a record.
    """

    version: int
    users: int
    events: int
    user_bytes: int
    event_bytes: int
    attribute_bytes: int
    materialised_conditions: int
    materialised_bytes: int
    materialised_hits: int
    materialised_refreshes: int
    materialised_misses: int
    snapshot_bytes: int
    journal_bytes: int
    snapshot_ms: int
    journal_ms: int
