"""The position of a stream of members, as a token for callers."""

import struct
from dataclasses import dataclass

from bitseg.errors import InvalidArgumentError
from bitseg.runtime.opaque_tokens import make_token, read_token
from bitseg.storage.cursors import CURSOR_ID_BYTES

_KIND = b"members"
_QUERY_BYTES = 8
_LAYOUT = struct.Struct(f"<{CURSOR_ID_BYTES}s{_QUERY_BYTES}sQIIB")

# The cursor of a stream with a single page, whose members are not stored.
NO_CURSOR = bytes(CURSOR_ID_BYTES)


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """`position` of the `total` members at a version were sent; `cursor_id` is the cursor with the members.

    `query` is an 8-byte digest of the segment and the instant. `is_dense` says that the stream is of dense ids, not of
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
        """Whether the stream can be resumed from here."""
        return self.position >= self.total or self.cursor_id != NO_CURSOR

    def at(self, position: int) -> "ResumeToken":
        """The token of another position in the same stream."""
        return ResumeToken(self.cursor_id, self.query, self.version, position, self.total, self.is_dense)

    def text(self) -> str:
        """The text of the token, for `parse`."""
        packed = _LAYOUT.pack(self.cursor_id, self.query, self.version, self.position, self.total, self.is_dense)
        return make_token(_KIND, packed)

    @classmethod
    def parse(cls, text: str) -> "ResumeToken":
        """The token with a text; InvalidArgumentError if it is not a valid resume token."""
        try:
            cursor_id, query, version, position, total, is_dense = _LAYOUT.unpack(read_token(_KIND, text))
        except (ValueError, struct.error):
            raise InvalidArgumentError("invalid resume token", hint="send the token of a page unchanged") from None
        return cls(cursor_id, query, version, position, total, bool(is_dense))
