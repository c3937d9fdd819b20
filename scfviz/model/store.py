"""Results on disk, written as they come, so that an interrupted run can go on.

A folder holds `values.npy`, which is memory-mapped, and `progress.json`, which says what the values are of (a
fingerprint), how the cells are cut into batches and how many batches are done. Running sums lie beside them in
`sums-0.npy` and `sums-1.npy`, in turn.
"""

import hashlib
import json
import os
import time
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.data.disk import hold, refuse_small_disk, reserve
from scfviz.errors import JobError
from scfviz.model.batching import BatchPlan

_SAVE_EVERY_SECONDS = 5.0
_FORMAT = 1


def new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 .npy file of zeros, mapped into memory, with room on the disk for every value.

    Raises
    ------
    JobError
        The disk is too small.
    """
    refuse_small_disk(path.parent, 4 * prod(shape), "the results")
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    try:
        reserve(path, path.stat().st_size)
    except JobError:
        del values
        path.unlink()
        raise
    return values


class ResultStore:
    """Values of one run, in memory or in a folder.

    Parameters
    ----------
    folder
        Where to write; `None` keeps everything in memory.
    shape
        Shape of the float32 values.
    plan
        How cells are cut into batches, for a new run; a resumed run keeps the plan that it was started with.
    fingerprint
        What the values are of, as plain JSON values: cells, weights, options.
    resume
        Go on with what the folder holds; otherwise it begins again.

    Attributes
    ----------
    values
        float32 array of the given shape.
    plan
        The plan to follow.
    batches_done
        Batches whose results are in `values` (and in the sums) already.
    batch_limit
        Most tokens of a batch after memory did not suffice once; `None` before.

    Raises
    ------
    JobError
        The folder holds results of other cells, weights or options, or is damaged; another run writes into it; or the
        disk has no room for the values.
    """

    def __init__(
        self, folder: Path | None, shape: tuple[int, ...], plan: BatchPlan, fingerprint: dict[str, Any], resume: bool
    ):
        self.plan, self.batches_done, self.batch_limit = plan, 0, None
        self._folder, self._fingerprint, self._turn, self._saved_at = folder, fingerprint, 0, time.monotonic()
        self._has_sums, self._lock = False, None
        if folder is None:
            self.values = np.zeros(shape, dtype=np.float32)
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(folder / "lock", f"the results in '{folder}'")
        try:
            if resume and (folder / "progress.json").exists():
                self._resume(shape)
            else:
                (folder / "progress.json").unlink(missing_ok=True)
                self.values = new_array(folder / "values.npy", shape)
                self.save(force=True)
        except BaseException:
            self.close()
            raise

    def _resume(self, shape: tuple[int, ...]) -> None:
        try:
            state = json.loads((self._folder / "progress.json").read_text(encoding="utf-8"))
            differing = sorted(
                name
                for name in self._fingerprint.keys() | state["fingerprint"].keys()
                if self._fingerprint.get(name) != state["fingerprint"].get(name)
            )
            if differing or state["format"] != _FORMAT:
                raise JobError(
                    f"The results in '{self._folder}' are of another run: {', '.join(differing) or 'format'} differ.",
                    "A run can only go on with the same cells, weights and options.",
                    "Start it again without resuming, or choose another folder.",
                )
            self.plan, self.batches_done = BatchPlan(**state["plan"]), int(state["batches_done"])
            self.batch_limit, self._turn = state["batch_limit"], int(state["turn"])
            self._has_sums = bool(state["has_sums"])
            reserve(self._folder / "values.npy", (self._folder / "values.npy").stat().st_size)
            self.values = np.lib.format.open_memmap(self._folder / "values.npy", mode="r+")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(
                f"The interrupted run in '{self._folder}' cannot be read ({error}).",
                "Its files must be as scfviz wrote them.",
                "Start it again without resuming.",
            ) from error
        if self.values.shape != shape or self.values.dtype != np.float32:
            raise JobError(
                f"'{self._folder / 'values.npy'}' holds {self.values.shape} values instead of {shape}.",
                "Its files must be as scfviz wrote them.",
                "Start it again without resuming.",
            )

    def load_sums(self) -> np.ndarray | None:
        """Running sums as they were after the last batch that is done; `None` if there were none."""
        if not self._has_sums:
            return None
        return np.load(self._folder / f"sums-{self._turn}.npy", allow_pickle=False)

    def save(self, sums: np.ndarray | None = None, *, force: bool = False) -> None:
        """Make what is done last, at most every few seconds.

        Parameters
        ----------
        sums
            Running sums that belong to `batches_done`.
        force
            Save now.
        """
        interval = _SAVE_EVERY_SECONDS if sums is None else max(_SAVE_EVERY_SECONDS, sums.nbytes / 1e7)
        if self._folder is None or (not force and time.monotonic() - self._saved_at < interval):
            return
        self.values.flush()
        turn = 1 - self._turn
        if sums is not None:
            with (self._folder / f"sums-{turn}.npy").open("wb") as file:
                np.save(file, sums, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        state = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "plan": vars(self.plan),
            "batches_done": self.batches_done,
            "batch_limit": self.batch_limit,
            "turn": turn,
            "has_sums": sums is not None,
        }
        temporary = self._folder / ".progress.json.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._folder / "progress.json")
        self._turn, self._has_sums, self._saved_at = turn, sums is not None, time.monotonic()

    def content(self) -> str:
        """64 hexadecimal digits over what the values are of."""
        return hashlib.sha256(json.dumps(self._fingerprint, sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """Let another run go on in the folder."""
        if self._lock is not None:
            self._lock.release()

    def finish(self) -> np.ndarray:
        """Save, remove the sums, and hand the values out: read-only from disk where there is a folder."""
        self.save(force=True)
        if self._folder is None:
            return self.values
        self.close()
        for turn in (0, 1):
            (self._folder / f"sums-{turn}.npy").unlink(missing_ok=True)
        return np.load(self._folder / "values.npy", mmap_mode="r", allow_pickle=False)
