"""What `bitseg` itself offers, and what importing it costs."""

import inspect
import subprocess
import sys

import pytest

import bitseg
from bitseg import engine, errors, ops
from bitseg.clock import FixedClock
from bitseg.operations import PAGE_VIEWED
from tests.conftest import NOW_MS


def test_Import_of_the_package_alone_loads_neither_grpc_nor_numpy():
    code = (
        "import sys, bitseg; dir(bitseg); "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('grpc', 'numpy', 'google', 'pyroaring')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_Import_of_an_error_or_an_operation_loads_no_grpc():
    code = "import sys; from bitseg import NotFoundError, Page; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_Package_has_every_name_that_it_promises():
    assert set(bitseg.__all__) <= set(dir(bitseg))
    for name in bitseg.__all__:
        assert inspect.isclass(getattr(bitseg, name)), name
        assert getattr(bitseg, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Enigne'"):
        _ = bitseg.Enigne


def test_Package_has_every_public_error():
    known = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.BitsegError)
    }
    assert known == {name for name in bitseg.__all__ if name.endswith("Error")}


def test_Names_of_0_1_are_still_there():
    assert engine.Workspace is bitseg.WorkspaceSettings
    for name in ("Columns", "Delete", "Identify", "Track"):
        assert getattr(ops, name) is getattr(bitseg, name)
    assert all(hasattr(ops, name) for name in ops.__all__)
    assert ops.page("u", "Home", {"url": "/"}, NOW_MS, "m") == bitseg.Page("u", "Home", {"url": "/"}, NOW_MS, "m")


def test_Page_is_the_event_Page_Viewed_with_its_name():
    store = bitseg.Engine(clock=FixedClock(NOW_MS))
    views = [
        bitseg.Page("u", "Home", {"url": "/"}, NOW_MS, "m1"),
        bitseg.Track("u", PAGE_VIEWED, {"name": "Home"}, NOW_MS),
        bitseg.Page("v", None, {"name": "in properties"}, NOW_MS),
        bitseg.Page("v", "", {}, NOW_MS),
        bitseg.Page("u", "Home", {}, NOW_MS, "m1"),
        bitseg.Page("", "Home", {}, NOW_MS),
    ]
    result = store.ingest(views)
    assert (result.accepted, result.duplicates) == (4, 1)
    assert [(each.row, each.reason) for each in result.rejections] == [(5, "the user id is empty")]
    assert store.count('did "Page Viewed" where name = "Home" at least 2 times').count == 1
    assert store.count('did "Page Viewed" where name = "in properties"').count == 1
    assert store.count('did "Page Viewed" where url = "/"').count == 1
