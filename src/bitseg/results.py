"""What the engine answers, and the client after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from bitseg.ops import Rejection


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


Page = TypeVar("Page")


@dataclass(frozen=True, slots=True)
class Members(Generic[Page]):
    """All members of a segment at one version, page by page, each member once.

    `total` counts them; users deleted while the pages are read are left out of those that follow.
    """

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: Iterator[Page]


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch. A rejection with a name left out one value; one without, the whole row."""

    accepted: int
    duplicates: int
    rejections: tuple[Rejection, ...]
    version: int
