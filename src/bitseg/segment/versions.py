"""The order of version numbers as in semantic versioning (semver.org, precedence); missing parts count as 0."""

import re

_VERSION = re.compile(
    r"[vV]?(?P<numbers>\d+(?:\.\d+)*)(?:-(?P<release>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)
# Python refuses to convert longer runs of digits; no version needs them.
_MAX_LENGTH = 256

VersionKey = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def parse(text: str) -> VersionKey | None:
    """A key that orders versions; None for text that is not a version.

    Trailing zero parts are dropped, so 4.10 equals 4.10.0. A pre-release sorts before its release, its numeric
    identifiers before its alphanumeric ones. Build metadata (`+…`) is ignored.
    """
    match = _VERSION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        return None
    numbers = [int(part) for part in match["numbers"].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    release = match["release"]
    identifiers = tuple(_identifier(part) for part in release.split(".")) if release else ()
    return tuple(numbers), release is None, identifiers


def _identifier(part: str) -> tuple[bool, int, str]:
    return (False, int(part), "") if part.isdigit() else (True, 0, part)
