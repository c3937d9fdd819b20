"""Workers that compute at the same time share the cores; one that computes alone has all of them."""

import os

import pytest

from scfviz import jobs, threads
from scfviz.jobs import cores, slots
from scfviz.jobs.cores import SharedCores


@pytest.fixture
def workspace(tmp_path):
    return jobs.Workspace(tmp_path / "workspace")


@pytest.fixture
def used(monkeypatch):
    """Five threads, not chosen by the user; what is asked of the libraries is written down."""
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv(threads.CHOSEN_HERE, "5")
    monkeypatch.setattr(cores, "SECONDS_BETWEEN_READINGS", 0.0)
    calls = []
    monkeypatch.setattr(cores, "use_threads", calls.append)
    return calls


def test_a_long_computation_gives_half_of_the_cores_while_a_click_is_computed(workspace, used):
    with SharedCores(workspace, "long") as long:
        assert used == [5]
        with SharedCores(workspace, "quick") as quick:
            assert used[-1] == quick.n_threads() == 3
            long.share()
            assert used[-1] == 2
        long.share()
        assert used[-1] == 5


def test_several_clicks_share_equally_and_have_what_is_left(workspace, used, monkeypatch):
    monkeypatch.setattr(slots, "available_cores", lambda: 4)
    with SharedCores(workspace, "long") as long, SharedCores(workspace, "quick-2") as last:
        with SharedCores(workspace, "quick") as first:
            assert [one.n_threads() for one in (first, last, long)] == [2, 2, 1]
        assert [one.n_threads() for one in (last, long)] == [3, 2]


def test_one_core_is_not_divided_further(workspace, used, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(threads.CHOSEN_HERE, "1")
    with SharedCores(workspace, "long") as long, SharedCores(workspace, "quick") as quick:
        assert (long.n_threads(), quick.n_threads()) == (1, 1)


def test_a_number_that_the_user_set_is_left_alone(workspace, used, monkeypatch):
    monkeypatch.delenv(threads.CHOSEN_HERE)
    with SharedCores(workspace, "long") as long, SharedCores(workspace, "quick"):
        long.share()
    assert used == [] and os.environ["OMP_NUM_THREADS"] == "5"


def test_threads_are_set_in_what_was_loaded_meanwhile(workspace, used, monkeypatch):
    """torch comes in the middle of a job: it must not start with all cores then."""
    monkeypatch.setattr(cores, "LIBRARIES", ("a_library_that_comes_later",))
    with SharedCores(workspace, "quick") as quick:
        monkeypatch.setitem(cores.sys.modules, "a_library_that_comes_later", os)
        quick.share()
    assert used == [5, 5]


def test_use_threads_reaches_torch(one_thread):
    import torch

    torch.set_num_threads(2)
    threads.use_threads(1)
    assert torch.get_num_threads() == 1
