"""Where a stream of members stands, as the token that callers hold."""

import struct
from dataclasses import dataclass

from bitseg.errors import InvalidArgumentError
from bitseg.runtime.opaque_tokens import make_token, read_token
from bitseg.storage.cursors import CURSOR_ID_BYTES

_KIND = b"members"
_QUERY_BYTES = 8
_LAYOUT = struct.Struct(f"<{CURSOR_ID_BYTES}s{_QUERY_BYTES}sQIIB")

# The cursor of a stream with a single page, whose members are not kept.
NO_CURSOR = bytes(CURSOR_ID_BYTES)


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """`position` of `total` members of a version were sent; `cursor_id` finds the members.

    `query` is a digest of 8 bytes of the segment and the instant. `is_dense` tells streams of dense ids from those of
    external ids.
    """

    cursor_id: bytes
    query: bytes
    version: int
    position: int
    total: int
    is_dense: bool

    @property
    def can_resume(self) -> bool:
        """Whether the rest of the stream can be found again."""
        return self.position >= self.total or self.cursor_id != NO_CURSOR

    def at(self, position: int) -> "ResumeToken":
        """The token of another place in the same stream."""
        return ResumeToken(self.cursor_id, self.query, self.version, position, self.total, self.is_dense)

    def text(self) -> str:
        """The token that `parse` reads."""
        packed = _LAYOUT.pack(self.cursor_id, self.query, self.version, self.position, self.total, self.is_dense)
        return make_token(_KIND, packed)

    @classmethod
    def parse(cls, text: str) -> "ResumeToken":
        """The content of a token; InvalidArgumentError for a text that is no resume token."""
        try:
            cursor_id, query, version, position, total, is_dense = _LAYOUT.unpack(read_token(_KIND, text))
        except (ValueError, struct.error):
            raise InvalidArgumentError("invalid resume token", hint="send the token of a page unchanged") from None
        return cls(cursor_id, query, version, position, total, bool(is_dense))
