"""Static lists of user ids; their members are those users on the list who exist."""

from collections.abc import Iterable
from typing import Any

from pyroaring import BitMap

from bitseg.index.bitmaps import from_array
from bitseg.index.users import UserDirectory
from bitseg.names import MAX_ID_BYTES
from bitseg.storage.snapshot import Part
from bitseg.strings import StringArray


class UserList:
    """The ids of one list. A user who is not known yet becomes a member on arrival."""

    def __init__(self, name: str, user_ids: Iterable[str], revision: int) -> None:
        self.name = name
        # Differs from the revision of every other list that ever had this name.
        self.revision = revision
        self.user_ids = frozenset(user_ids)
        self._members = BitMap()
        self._directory_revision = -1

    def members(self, users: UserDirectory) -> BitMap:
        """The users on the list, as a bitmap that must not be changed."""
        if self._directory_revision != users.revision:
            dense = users.find_all(list(self.user_ids))
            members = from_array(dense[dense >= 0])
            self._members, self._directory_revision = members, users.revision
        return self._members

    def without(self, user_ids: Iterable[str], revision: int) -> "UserList":
        """The list without some users; the same object if it has no such user."""
        remaining = self.user_ids.difference(user_ids)
        return self if len(remaining) == len(self.user_ids) else UserList(self.name, remaining, revision)

    @classmethod
    def restored(cls, name: str, state: Any, revision: int) -> "UserList":
        """The list whose part of a snapshot has a state; ValueError for what is not user ids."""
        return cls(name, require_user_ids(state), revision)

    def part(self) -> Part:
        """The part for a snapshot."""
        return Part(("list", self.name), self.revision, lambda: sorted(self.user_ids))


def require_user_ids(state: Any) -> list[str]:
    """The same, if it is a list of user ids; else ValueError."""
    if not isinstance(state, list) or not set(map(type, state)) <= {str}:
        raise ValueError("the user ids of a list are not texts")
    # UnicodeEncodeError is a ValueError.
    lengths = StringArray.of(state).lengths
    if not lengths.min(initial=1) >= 1 or lengths.max(initial=0) > MAX_ID_BYTES:
        raise ValueError("a list has user ids that are empty or too long")
    return state
