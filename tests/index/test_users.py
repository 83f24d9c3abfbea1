"""The user directory against a dict, and buckets against fixed vectors."""

from hypothesis import given
from hypothesis import strategies as st

from bitseg.index import buckets
from bitseg.index.users import UserDirectory
from bitseg.segment.nodes import InBucket

ids = st.sampled_from([f"u{number}" for number in range(12)])
steps = st.lists(st.tuples(st.just("assign"), st.lists(ids, max_size=8)) | st.tuples(st.just("delete"), ids))


@given(steps)
def test_Directory_is_a_dict(plan):
    directory, model, given_out = UserDirectory(), {}, 0
    for verb, what in plan:
        if verb == "assign":
            for each in what:
                if each not in model:
                    model[each] = given_out
                    given_out += 1
            assert directory.assign(what).tolist() == [model[each] for each in what]
        else:
            assert directory.delete([what]).tolist() == ([model.pop(what)] if what in model else [])
        assert set(directory.everyone) == set(model.values())
        assert sorted(directory.external(directory.everyone)) == sorted(model)
        assert UserDirectory.from_state(directory.state()).state() == directory.state()
    for each in [f"u{number}" for number in range(12)]:
        assert directory.find(each) == model.get(each)


def test_Deleted_number_is_never_given_out_again():
    directory = UserDirectory()
    directory.assign(["a", "b"])
    directory.delete(["a"])
    assert directory.assign(["a", "c"]).tolist() == [2, 3]


def test_Buckets_are_the_same_on_every_machine():
    """Vectors: they must never change, or people would change sides in running experiments."""
    directory = UserDirectory()
    directory.assign(["user-1", "user-2", "üser", "", "0", "a" * 512])
    assert directory.hashes()[:2].tolist() == [VECTOR_HASHES[0], VECTOR_HASHES[1]]
    assert buckets.bucket_of(directory.hashes(), "spring", 100).tolist() == VECTOR_SPRING
    assert buckets.bucket_of(directory.hashes(), "", 1_000_000).tolist() == VECTOR_NO_SEED


VECTOR_HASHES = [8968379626967066057, 2320263887105451220]
VECTOR_SPRING = [16, 40, 78, 82, 95, 56]
VECTOR_NO_SEED = [988364, 633212, 101151, 0, 774442, 731151]


def test_Buckets_split_evenly_and_seeds_split_anew():
    directory = UserDirectory()
    directory.assign([f"user-{number}" for number in range(100_000)])
    tenth = buckets.members(InBucket(0, 9, 100, "spring"), directory)
    other = buckets.members(InBucket(0, 9, 100, "autumn"), directory)
    assert 9_500 < len(tenth) < 10_500
    assert 800 < len(tenth & other) < 1_200
    whole = buckets.members(InBucket(0, 99, 100, "spring"), directory)
    assert whole == directory.everyone
