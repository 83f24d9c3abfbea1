"""A token gives back its payload, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitseg.runtime.opaque_tokens import make_token, read_token


@given(st.binary(max_size=10), st.binary(max_size=60))
def test_Token_gives_back_its_payload(kind, payload):
    token = make_token(kind, payload)
    assert read_token(kind, token) == payload
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


def test_Token_has_a_fixed_layout():
    assert make_token(b"page", b"payload") == "cGF5bG9hZPVaST0="


@given(st.binary(max_size=60), st.data())
def test_Token_with_another_character_is_refused(payload, data):
    token = make_token(b"page", payload)
    place = data.draw(st.integers(0, len(token) - 1))
    changed = token[:place] + data.draw(st.characters(exclude_characters=token[place])) + token[place + 1 :]
    try:
        assert read_token(b"page", changed) == payload
    except ValueError:
        return
    # Base64 ignores the low bits of the last character.
    assert place == len(token.rstrip("=")) - 1


@pytest.mark.parametrize("token", ["", "=", "AAAA", "é", "a b", "\ud800", make_token(b"other", b"payload")])
def test_Text_that_is_not_a_token_of_the_kind_is_refused(token):
    with pytest.raises(ValueError, match=r"."):
        read_token(b"page", token)
