"""Switches of the whole process: set by commands, never by the library."""

import gc
import sys

import pytest

from bitseg.cli import process


def test_Collecting_seldom_ends_with_the_import():
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), process.collecting_seldom():
        assert gc.get_threshold() == (1_000_000, *before[1:])
        raise RuntimeError
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
