"""The patterns of `contains`: `|` alternatives of `+` parts, `*` any run of characters, backslash escapes."""

from dataclasses import dataclass

from bitseg.errors import InvalidSegmentError


@dataclass(frozen=True, slots=True)
class Part:
    """Literal pieces that follow one another with any run of characters between them."""

    pieces: tuple[str, ...]


def parse_pattern(pattern: str) -> tuple[tuple[Part, ...], ...]:
    """Alternatives, any of which suffices, each of parts that must all occur.

    Raises InvalidSegmentError for an empty part or a backslash at the end.
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
    return tuple(tuple(Part(tuple(part)) for part in alternative) for alternative in alternatives)
