"""The patterns of `contains`, and the regular expressions of `matches`.

Both are bounded, so that no pattern can be made slow: a text is searched once for each piece of a pattern, and RE2
takes time linear in the text whatever the expression, with a factor that the size of its program limits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from bitseg.errors import InvalidSegmentError

MAX_PIECES = 50
# `\p{L}+` takes 1,201 instructions; what takes more is made of counted repetitions of repetitions.
MAX_PROGRAM_SIZE = 2_500


@dataclass(frozen=True, slots=True)
class Part:
    """Literal pieces that follow one another with any run of characters between them."""

    pieces: tuple[str, ...]


def parse_pattern(pattern: str) -> tuple[tuple[Part, ...], ...]:
    """Alternatives, any of which suffices, each of parts that must all occur.

    `|` divides alternatives, `+` parts, `*` stands for any run of characters, and a backslash takes the character after
    it literally. Raises InvalidSegmentError for an empty part, a backslash at the end, and more than MAX_PIECES pieces.
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


# Each may hold some megabytes of automaton.
@lru_cache(maxsize=64)
def compile_expression(expression: str) -> Any:
    """The RE2 object of a regular expression; InvalidSegmentError where RE2 refuses it or it is too large.

    Groups capture nothing, which lets RE2 answer from its automaton alone.
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
