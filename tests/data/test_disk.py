"""Room on the disk is taken before it is needed, and a full disk is one sentence."""

import errno
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from scfviz.data.disk import hold, in_words, refuse_small_disk, reserve
from scfviz.errors import JobError
from scfviz.model.store import new_array

Usage = namedtuple("Usage", "total used free")


def test_reserving_takes_every_block_and_keeps_what_is_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    reserve(path, 3_000_000)
    assert path.stat().st_size == 3_000_000 and path.read_bytes()[:3] == b"abc"
    assert path.stat().st_blocks * 512 >= 3_000_000, "a hole has no room"


def test_where_the_system_cannot_promise_room_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    (tmp_path / "a").write_bytes(b"abc")
    reserve(tmp_path / "a", 2_500_000)
    assert (tmp_path / "a").read_bytes() == b"abc" + bytes(2_499_997)


def test_results_that_find_no_room_are_refused_before_they_are_mapped(tmp_path, monkeypatch):
    """A sparse map would end the process with a bus error at the first write that finds none."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JobError, match="'values.npy' needs 4.0 MB. Remove datasets"):
        new_array(tmp_path / "values.npy", (1000, 1000))
    assert not (tmp_path / "values.npy").exists()
    monkeypatch.undo()
    values = new_array(tmp_path / "values.npy", (10, 10))
    assert values.shape == (10, 10) and not values.any() and values.dtype == np.float32


def test_too_small_a_disk_is_said_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 102_400))
    with pytest.raises(JobError, match="The disk has 102.4 kB left; the file may need 4.2 MB. Remove datasets"):
        refuse_small_disk(tmp_path, 4_200_000, "the file")
    refuse_small_disk(tmp_path, 102_400, "the file")
    assert [in_words(n) for n in (7, 2e3, 3e9)] == ["7 bytes", "2.0 kB", "3.0 GB"]


def test_a_place_is_held_by_one_run_until_it_ends(tmp_path):
    first = hold(tmp_path / "lock", "'out.h5ad'")
    with pytest.raises(JobError, match="Another run is writing 'out.h5ad' right now"):
        hold(tmp_path / "lock", "'out.h5ad'")
    first.release()
    hold(tmp_path / "lock", "'out.h5ad'").release()


def test_a_lock_whose_file_was_taken_away_meanwhile_still_keeps_others_out(tmp_path, monkeypatch):
    """The run before takes its file away at its end, perhaps just after this one had opened it."""
    from filelock import FileLock

    acquire = FileLock.acquire

    def acquire_too_late(self, *args, **options):
        acquire(self, *args, **options)
        (tmp_path / "lock").unlink()
        monkeypatch.setattr(FileLock, "acquire", acquire)

    monkeypatch.setattr(FileLock, "acquire", acquire_too_late)
    first = hold(tmp_path / "lock", "'out.h5ad'")
    with pytest.raises(JobError, match="Another run"):
        hold(tmp_path / "lock", "'out.h5ad'")
    first.release()
