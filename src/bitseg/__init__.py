"""bitseg: exact, live user segments from bitmaps.

`Engine` embeds a workspace, `Client` and `AsyncClient` call a server, and `Identify`, `Track`, `Page`, `Delete` and
`Columns` are the operations that they ingest. Every error is a `BitsegError`:

    from bitseg import Client, Track

The names in `__all__` are the public interface, beside the protocols in `bitseg.api`, the answers in `bitseg.results`
and the segment language in `bitseg.segment`; `bitseg.ops` has the names of 0.1. Everything else is private and may
change in any release. A name is imported when it is first used, so that `import bitseg` alone costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitseg.client import AsyncClient, Client, Credentials
    from bitseg.columns import Columns
    from bitseg.engine import Engine, WorkspaceSettings
    from bitseg.errors import (
        AlreadyExistsError,
        BitsegError,
        CancelledError,
        CorruptJournalError,
        CorruptSnapshotError,
        DataDirectoryError,
        DirectoryLockedError,
        DiskFullError,
        ImportFileError,
        InternalError,
        InUseError,
        InvalidArgumentError,
        InvalidSegmentError,
        NotDurableError,
        NotFoundError,
        NotReadyError,
        OverloadedError,
        PermissionDeniedError,
        RequestError,
        SegmentError,
        SegmentSyntaxError,
        ServerUnavailableError,
        StaleEtagError,
        TimeLimitError,
        TypeMismatchError,
        UnauthenticatedError,
        UnknownAttributeError,
        UnknownListError,
        UnknownSegmentError,
        UnsupportedFormatError,
        VersionGoneError,
        WorkspaceBrokenError,
    )
    from bitseg.operations import Delete, Identify, Page, Track

__all__ = [
    "AlreadyExistsError",
    "AsyncClient",
    "BitsegError",
    "CancelledError",
    "Client",
    "Columns",
    "CorruptJournalError",
    "CorruptSnapshotError",
    "Credentials",
    "DataDirectoryError",
    "Delete",
    "DirectoryLockedError",
    "DiskFullError",
    "Engine",
    "Identify",
    "ImportFileError",
    "InUseError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidSegmentError",
    "NotDurableError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "Page",
    "PermissionDeniedError",
    "RequestError",
    "SegmentError",
    "SegmentSyntaxError",
    "ServerUnavailableError",
    "StaleEtagError",
    "TimeLimitError",
    "Track",
    "TypeMismatchError",
    "UnauthenticatedError",
    "UnknownAttributeError",
    "UnknownListError",
    "UnknownSegmentError",
    "UnsupportedFormatError",
    "VersionGoneError",
    "WorkspaceBrokenError",
    "WorkspaceSettings",
]

_NAMES = {
    "bitseg.client": ("AsyncClient", "Client", "Credentials"),
    "bitseg.columns": ("Columns",),
    "bitseg.engine": ("Engine", "WorkspaceSettings"),
    "bitseg.operations": ("Delete", "Identify", "Page", "Track"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported from its module; AttributeError for any other name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES.get(name, "bitseg.errors")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
