"""The patterns of `contains`, and the regular expressions of `matches`.

Both are bounded, so that no pattern is slow. A text is searched once for every piece of a pattern. RE2 takes time
linear in the text for any expression, with a factor that is bounded by the size of its program.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from bitseg.errors import InvalidSegmentError

MAX_PIECES = 50
# `\p{L}+` takes 1,201 instructions; only nested counted repetitions take many more.
MAX_PROGRAM_SIZE = 2_500


@dataclass(frozen=True, slots=True)
class Part:
    """Literal pieces that follow one another, with any characters between them."""

    pieces: tuple[str, ...]


def parse_pattern(pattern: str) -> tuple[tuple[Part, ...], ...]:
    """The alternatives of a pattern, any of which suffices. All parts of an alternative must occur.

    `|` separates alternatives, `+` separates parts, `*` stands for any characters, and a backslash makes the next
    character literal. Raises InvalidSegmentError for an empty part, a backslash at the end, and more than MAX_PIECES
    pieces.
    """
    alternatives: list[list[list[str]]] = [[[""]]]
    characters = iter(pattern)
    for character in characters:
        part = alternatives[-1][-1]
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise InvalidSegmentError(
                    f"the pattern {pattern!r} ends in a lone backslash", hint="write two for a backslash itself"
                )
            part[-1] += escaped
        elif character == "|":
            alternatives.append([[""]])
        elif character == "+":
            alternatives[-1].append([""])
        elif character == "*":
            part.append("")
        else:
            part[-1] += character
    if any(part == [""] for alternative in alternatives for part in alternative):
        raise InvalidSegmentError(
            f"the pattern {pattern!r} has an empty part, which would match everything",
            hint=r"to find the characters | + * \ themselves, put a backslash before them",
        )
    pieces = sum(len(part) for alternative in alternatives for part in alternative)
    if pieces > MAX_PIECES:
        raise InvalidSegmentError(f"the pattern has {pieces:,} pieces, the limit is {MAX_PIECES}")
    return tuple(tuple(Part(tuple(part)) for part in alternative) for alternative in alternatives)


# A small cache: the automaton of an expression may take some megabytes.
@lru_cache(maxsize=64)
def compile_expression(expression: str) -> Any:
    """The RE2 object of a regular expression; InvalidSegmentError for one that RE2 refuses or that is too large.

    Groups do not capture, so that RE2 can answer from its automaton alone.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise InvalidSegmentError(
            f"the regular expression cannot be used: {reason}",
            hint="RE2 has no look-around and no back-references",
        ) from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise InvalidSegmentError(
            f"the regular expression compiles to {compiled.programsize:,} instructions, "
            f"the limit is {MAX_PROGRAM_SIZE:,}",
            hint="lower the numbers in its counted repetitions",
        )
    return compiled
