"""The protocols of a workspace that `Engine` and `Client` both implement.

A program written against `Workspace` works with an embedded engine and with a server. `AsyncClient` has the same
methods with the same parameters; they return awaitables, and so do its properties.

Only an engine has the methods without a call in the protocol: `dense_members`, `last_sequence` (a client's `producer`
has it), `schema`, `declare`, `window`, `explain_plan`, `tables`, `verify`, `flush`, `version`, and the counts of users
and events. Only a client has `producer`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bitseg.calendar import Calendar
from bitseg.columns import Columns
from bitseg.entries import SavedSegment, StaticList
from bitseg.errors import BitsegError
from bitseg.operations import Operation
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    Members,
    NamedPage,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.segment.nodes import Condition

Query = str | Condition
Labels = Mapping[str, str]


class Catalog(Protocol):
    """Saved segments and static lists. An `etag` must equal the current one; an empty one skips the check.

    A call that changes something returns the changed entry, once the change is durable. Unknown names raise
    NotFoundError, names in use AlreadyExistsError, stale etags StaleEtagError.
    """

    @property
    def segments(self) -> Mapping[str, SavedSegment]: ...

    @property
    def lists(self) -> Mapping[str, StaticList]: ...

    def get_segment(self, name: str) -> SavedSegment: ...

    def list_segments(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[SavedSegment]: ...

    def create_segment(
        self, name: str, query: Query, *, description: str = "", labels: Labels | None = None
    ) -> SavedSegment: ...

    def save_segment(
        self,
        name: str,
        query: Query,
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment: ...

    def update_segment(
        self,
        name: str,
        *,
        query: Query | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment: ...

    def rename_segment(self, name: str, new_name: str, *, etag: str = "") -> SavedSegment: ...

    def clone_segment(self, name: str, new_name: str) -> SavedSegment: ...

    def delete_segment(self, name: str, *, etag: str = "") -> None: ...

    def get_list(self, name: str) -> StaticList: ...

    def list_lists(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[StaticList]: ...

    def create_list(
        self, name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
    ) -> StaticList: ...

    def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList: ...

    def update_list(
        self,
        name: str,
        *,
        user_ids: Iterable[str] | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList: ...

    def rename_list(self, name: str, new_name: str, *, etag: str = "") -> StaticList: ...

    def delete_list(self, name: str, *, etag: str = "") -> None: ...


class Workspace(Protocol):
    """Ingests users and events, and answers segments over them.

    A query is text or a tree. `as_of` replaces the present and hides later events; without an offset it is local to
    the workspace's zone. Instants in answers are milliseconds since 1970-01-01T00:00:00Z.
    """

    @property
    def catalog(self) -> Catalog: ...

    @property
    def calendar(self) -> Calendar: ...

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult: ...

    def count_all(
        self, queries: Iterable[Query], as_of: datetime | None = None
    ) -> tuple[Sequence[CountResult | BitsegError], int]: ...

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation: ...

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[list[str]]: ...

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation: ...

    def user(self, user_id: str) -> UserRecord: ...

    def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments: ...

    def ingest(self, operations: Iterable[Operation]) -> IngestResult: ...

    def ingest_columns(self, columns: Columns) -> IngestResult: ...

    def statistics(self) -> Statistics: ...

    def snapshot(self) -> SnapshotResult: ...

    def backup(self, directory: str | Path) -> SnapshotResult: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
