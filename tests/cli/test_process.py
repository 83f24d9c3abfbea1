"""Settings of the whole process: changed by commands, never by the library."""

import gc
import sys

import pytest

from bitseg.cli import process


def fail_while_collecting_seldom():
    with process.collecting_seldom():
        raise RuntimeError(gc.get_threshold())


def test_Collecting_seldom_ends_with_the_import_even_if_it_fails():
    before = gc.get_threshold()
    with pytest.raises(RuntimeError) as caught:
        fail_while_collecting_seldom()
    assert caught.value.args == ((1_000_000, *before[1:]),)
    assert gc.get_threshold() == before


def test_Server_in_a_program_leaves_its_thread_switching_alone(server):
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_Threads_switch_often_once_a_command_says_so():
    before = sys.getswitchinterval()
    try:
        process.switch_threads_often()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)
