"""StringArray in one buffer behave as a list of strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitseg.strings import StringArray

texts = st.lists(
    st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(["", "\0", "12345678", "123456789"])
)


@given(texts)
def test_Texts_are_a_list_of_strings(strings):
    held = StringArray.of(strings)
    assert list(held) == held.strings() == strings
    assert held.lengths.tolist() == [len(each.encode()) for each in strings]
    assert [held[place] for place in range(len(held))] == strings
    assert held[1:].strings() == strings[1:]
    assert held.compact().strings() == strings


@given(texts, st.randoms(use_true_random=False))
def test_Taken_texts_hash_and_compare_as_they_are(strings, source):
    held = StringArray.of(strings)
    order = source.sample(range(len(strings)), len(strings))
    taken = held.take(order) if order else held
    assert taken.strings() == taken.compact().strings() == [strings[place] for place in order]
    assert held.take(order).hashes(7).tolist() == [StringArray.of([strings[place]]).hashes(7)[0] for place in order]
    assert held.equal(taken).tolist() == [one == strings[place] for one, place in zip(strings, order, strict=True)]


def test_Text_that_is_not_Unicode_is_refused():
    with pytest.raises(UnicodeEncodeError):
        StringArray.of(["a", "\ud800"])


def test_Hashes_depend_on_every_byte_the_length_and_the_seed():
    strings = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "abcdefgh",
        "abcdefgh\0",
        "abcdefghi",
        "bbcdefgh",
        *map(str, range(10_000)),
    ]
    assert len(set(StringArray.of(strings).hashes(1).tolist())) == len(strings)
    assert StringArray.of(["a"]).hashes(1)[0] != StringArray.of(["a"]).hashes(2)[0]
