"""What the engine answers, and the client after it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from bitseg.columns import Rejection
from bitseg.values import Value


@dataclass(frozen=True, slots=True)
class CountResult:
    """How many users are in a segment, at one version, and the seconds it took inside the engine."""

    count: int
    version: int
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A count with a sample of members and, if asked, all of them as portable Roaring bytes of dense ids."""

    count: int
    version: int
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    bitmap: bytes | None = None


Item = TypeVar("Item")
PageT_co = TypeVar("PageT_co", covariant=True)


class Pages(Iterator[PageT_co]):
    """Pages one after the other, each made of a page and the token that stands for its end."""

    def __init__(self, pages: Iterator[tuple[PageT_co, str]], resume_token: str = "") -> None:
        self._pages = pages
        self.resume_token = resume_token

    def __next__(self) -> PageT_co:
        page, self.resume_token = next(self._pages)
        return page


@dataclass(frozen=True, slots=True)
class Members(Generic[PageT_co]):
    """All members of a segment at one version, each member once: iterate over it for their ids.

    `pages` gives the same ids page by page. Both take from the same stream, once. `total` counts the members; users
    deleted while the pages are read are left out of those that follow.
    """

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: Pages[PageT_co]

    @property
    def resume_token(self) -> str:
        """Stands for the end of the page that was taken last: given to another call, it asks for those that follow.

        It is empty before the first where that is the only one. Whoever iterates over ids has taken the whole page of
        the last one.
        """
        return self.pages.resume_token

    def __iter__(self: "Members[Iterable[Item]]") -> Iterator[Item]:
        return chain.from_iterable(self.pages)


@dataclass(frozen=True, slots=True)
class NamedPage(Generic[Item]):
    """Some of what is kept by name, in the order of names; `total` counts all that was asked for.

    `next_page_token` asks for those that follow; it is empty on the last page.
    """

    items: tuple[Item, ...]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch. A rejection with a name left out one value; one without, the whole row."""

    accepted: int
    duplicates: int
    rejections: tuple[Rejection, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found when a data directory was opened.

    `snapshot_bytes` were read from the snapshot, `records` done again from the journal. Of a write that a crash cut
    off, `torn_bytes` were cut from the journal and saved as `torn_saved_as`; it had not been acknowledged.
    """

    snapshot_bytes: int
    records: int
    torn_bytes: int
    torn_saved_as: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """The snapshot that a data directory has: of which version, and what was written for it in how long."""

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
    """How often a user did an event, and when first and last."""

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
    """The names of the saved segments that a user is in, in alphabetical order, all of one version.

    `warnings` tells of segments that cannot be answered, and why.
    """

    segments: tuple[str, ...]
    version: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """One condition, as text, for one user.

    `value` is that of the attribute asked about, None where it is unset or none is. `interval_ms` is what the window
    means, from the first instant, included, to the second, excluded; None without one. `event_count` counts the events
    that bear on the condition, of which `events` has the latest, oldest first. `note` says what else decides.
    `conditions` explains the conditions below.
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
    """An explanation with the version and the instant it holds for, and the zone whose days its windows mean."""

    explanation: Explanation
    version: int
    as_of_ms: int
    timezone: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One part of a plan: about how many users it was taken to have, how many it has, and the time it took by itself.

    `is_known` says that its members were known without work: stored in the index, cached or pinned.
    """

    title: str
    estimated: int
    members: int
    seconds: float
    is_known: bool
    steps: "tuple[PlanStep, ...]"


@dataclass(frozen=True, slots=True)
class Statistics:
    """How much a workspace holds. Bytes are those of arrays and bitmaps, in memory; dictionaries of texts are apart.

    Of answers asked for, hits stood as they were kept, refreshes were brought up to date, misses worked out afresh.
    `snapshot_bytes` and `journal_bytes` are on disk, the journal's since the snapshot; 0 for a workspace in memory.
    `snapshot_ms` is when the snapshot was taken, and `journal_ms` when the oldest record was written that only the
    journal has; 0 where there is none.
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
