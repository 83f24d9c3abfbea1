"""The user directory agrees with a dict, and buckets with fixed vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.index.bitmaps import to_array
from bitseg.index.operators import buckets
from bitseg.index.users import UserDirectory
from bitseg.segment.nodes import InBucket
from bitseg.strings import StringArray

IDS = ["u0", "u1", "", "ü", "\0", "\0\0", "u0\0", "eight888", "nine99999", "x" * 511, "x" * 512, "é" * 100]
ids = st.sampled_from(IDS)
steps = st.lists(st.tuples(st.just("assign"), st.lists(ids, max_size=8)) | st.tuples(st.just("delete"), ids))


def restored(directory):
    again = UserDirectory()
    for part in directory.capture():
        again.restore(part.state())
    directory.release()
    assert again.faults() == []
    return again


@pytest.mark.parametrize(
    "hashes", [StringArray.hashes, lambda texts, seed: texts.lengths.astype(np.uint64) << np.uint64(60)]
)
@settings(deadline=None)
@given(steps)
@pytest.mark.slow
def test_Directory_is_a_dict(hashes, plan):
    """Even if most ids have the same hash, so that their bytes decide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StringArray, "hashes", hashes)
        directory, model, given_out = UserDirectory(), {}, 0
        for verb, what in plan:
            if verb == "assign":
                for each in what:
                    if each not in model:
                        model[each] = given_out
                        given_out += 1
                assert directory.assign(what).tolist() == [model[each] for each in what]
            else:
                assert directory.delete([what, what]).tolist() == ([model.pop(what)] if what in model else [])
            assert set(directory.everyone) == set(model.values())
            for each in (directory, restored(directory)):
                assert sorted(each.external(to_array(each.everyone))) == sorted(model)
                assert [each.find(user_id) for user_id in IDS] == [model.get(user_id) for user_id in IDS]


def test_Directory_grows_and_forgets():
    directory = UserDirectory()
    every = [f"user-{number}" for number in range(50_000)]
    assert directory.assign(every).tolist() == list(range(50_000))
    assert directory.assign(every[::-1]).tolist() == list(range(50_000))[::-1]
    gone = every[::3]
    assert len(directory.delete([*gone, "nobody"])) == len(gone)
    assert (directory.find_all(every) < 0).tolist() == [number % 3 == 0 for number in range(50_000)]
    assert directory.assign(gone).tolist() == list(range(50_000, 50_000 + len(gone)))
    # Deletions leave marks in the table, which must not fill it.
    for round_number in range(20):
        fresh = [f"{round_number}-{number}" for number in range(5_000)]
        directory.assign(fresh)
        directory.delete(fresh)
    assert directory.find_all(every).min() >= 0
    assert directory.size_bytes < 8_000_000


def test_Deleted_id_is_gone_from_memory():
    directory = UserDirectory()
    directory.assign(["alice", "bob"])
    directory.delete(["alice"])
    assert b"alice" not in b"".join(part.state()["data"].tobytes() for part in directory.capture())
    assert directory.external(np.array([0, 1])) == ["bob"]


def test_Dense_id_of_a_deleted_user_is_not_reused():
    directory = UserDirectory()
    directory.assign(["a", "b"])
    directory.delete(["a"])
    assert directory.assign(["a", "c"]).tolist() == [2, 3]


def test_Buckets_are_the_same_on_every_machine():
    """These vectors must never change, or users would change groups in running experiments."""
    directory = UserDirectory()
    directory.assign(["user-1", "user-2", "üser", "", "0", "a" * 512])
    assert directory.hashes()[:2].tolist() == [VECTOR_HASHES[0], VECTOR_HASHES[1]]
    assert buckets.bucket_of(directory.hashes(), "spring", 100).tolist() == VECTOR_SPRING
    assert buckets.bucket_of(directory.hashes(), "", 1_000_000).tolist() == VECTOR_NO_SEED


VECTOR_HASHES = [8968379626967066057, 2320263887105451220]
VECTOR_SPRING = [16, 40, 78, 82, 95, 56]
VECTOR_NO_SEED = [988364, 633212, 101151, 0, 774442, 731151]


def test_Buckets_split_evenly_and_every_seed_splits_differently():
    directory = UserDirectory()
    directory.assign([f"user-{number}" for number in range(100_000)])
    tenth = buckets.members(InBucket(0, 9, 100, "spring"), directory.hashes(), directory.everyone)
    other = buckets.members(InBucket(0, 9, 100, "autumn"), directory.hashes(), directory.everyone)
    assert 9_500 < len(tenth) < 10_500
    assert 800 < len(tenth & other) < 1_200
    whole = buckets.members(InBucket(0, 99, 100, "spring"), directory.hashes(), directory.everyone)
    assert whole == directory.everyone
