"""The cache stays within its bounds by evicting the least recently used entries."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from bitseg.runtime.bounded_cache import BoundedCache


def keys(cache):
    return [key for key, _ in cache.items()]


def test_Cache_evicts_the_least_recently_used_entry():
    cache = BoundedCache(30)
    for key in "abc":
        assert cache.put(key, key.upper(), 10) == []
    assert cache.get("a") == "A"
    assert cache.put("d", "D", 10) == [("b", "B")]
    assert keys(cache) == ["c", "a", "d"]
    assert cache.get("b") is None
    assert cache.size_bytes == 30


def test_Cache_is_bounded_in_entries():
    cache = BoundedCache(1_000, max_entries=2)
    assert [cache.put(key, key, 0) for key in "abc"] == [[], [], [("a", "a")]]


def test_Value_and_size_replace_the_earlier_ones():
    cache = BoundedCache(30)
    cache.put("a", 1, 10)
    cache.put("a", 2, 25)
    assert (cache.get("a"), cache.size_bytes, len(cache)) == (2, 25, 1)
    assert cache.pop("a") == 2
    assert cache.pop("a") is None
    assert (cache.size_bytes, len(cache)) == (0, 0)


def test_Value_larger_than_the_bound_stays_only_with_keeps_last():
    assert BoundedCache(10).put("a", 1, 11) == [("a", 1)]
    cache = BoundedCache(10, keeps_last=True)
    assert cache.put("a", 1, 11) == []
    assert cache.put("b", 2, 12) == [("a", 1)]
    assert (keys(cache), cache.size_bytes) == (["b"], 12)
    cache.clear()
    assert (keys(cache), cache.size_bytes) == ([], 0)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 60)), max_size=60),
    st.integers(0, 100),
    st.integers(1, 4),
    st.booleans(),
)
def test_Cache_agrees_with_a_plain_list(steps, max_bytes, max_entries, keeps_last):
    """A size of None stands for a look-up."""
    cache = BoundedCache(max_bytes, max_entries, keeps_last=keeps_last)
    model = OrderedDict()
    for number, (key, size) in enumerate(steps):
        if size is None:
            assert cache.get(key) == (model[key][0] if key in model else None)
            if key in model:
                model.move_to_end(key)
        else:
            evicted = cache.put(key, number, size)
            model.pop(key, None)
            model[key] = (number, size)
            expected = []
            while len(model) > keeps_last and (
                sum(each for _, each in model.values()) > max_bytes or len(model) > max_entries
            ):
                oldest, (value, _) = model.popitem(last=False)
                expected.append((oldest, value))
            assert evicted == expected
        assert [*cache.items()] == [(each, value) for each, (value, _) in model.items()]
        assert cache.size_bytes == sum(each for _, each in model.values())
