"""What runs in a worker of a cluster: it opens file and checkpoint itself, once, and writes windows of a result.

A worker is handed names and numbers only. Beside the data it reads what the run has written for all workers (`REPORT`,
`CELLS`): what the check of all values found, and how much each cell holds, so that no worker reads the whole file.
"""

import ctypes
import hashlib
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.errors import CheckpointError, DatasetError, JobError

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    from scfviz.model.batching import BatchPlan
    from scfviz.model.engine import Evaluate, InferenceRun

REPORT, CELLS = "report.npz", "cells.npz"
_N_SAMPLED = 64
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_opening = threading.Lock()


@dataclass(frozen=True)
class WindowJob:
    """What the windows of one run have in common.

    Attributes
    ----------
    version
        Of scfviz.
    data, data_size, gene_column
        The file, its size in bytes, and the column of its genes.
    checkpoint, weights
        The folder, and `weights_hash` of what it holds.
    folder
        Where results go, with `REPORT` and `CELLS`.
    content
        Of what is computed: cells, weights, options.
    target_depth, depth_fold, precision, device
        See `infer.embed_cells`.
    """

    version: str
    data: str
    data_size: int
    gene_column: str | None
    checkpoint: str
    weights: str
    folder: str
    content: str
    target_depth: float | None
    depth_fold: float | None
    precision: str
    device: str

    def window(self, first: int, last: int) -> Path:
        """The file, named by its content, of the cells from `first` to the one before `last`."""
        content = f"{self.version} {self.content} {first} {last}"
        return Path(self.folder) / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.npy"


def resolve_device(device: str, precision: str) -> tuple[str, str]:
    """What `auto` means here: kind of device, and precision."""
    from scfviz.model.prepared import choose_device, choose_precision

    found = choose_device(device)
    return found.type, choose_precision(precision, found)


def gpu_of(device: str) -> str:
    """Which GPU a name means here, whatever `CUDA_VISIBLE_DEVICES` calls it; "" where it means none."""
    import torch

    if not device.startswith("cuda"):
        return ""
    return str(torch.cuda.get_device_properties(torch.device(device)).uuid)


def examine(job: WindowJob) -> tuple[str, str]:
    """Open everything, and say what computes here, and on which GPU.

    Raises
    ------
    JobError, DatasetError, CheckpointError, OptionError
        This worker cannot take part; the message begins with "it".
    """
    import torch

    from scfviz.model.engine import hardware_name

    _open(job)
    return hardware_name(torch.device(job.device)), gpu_of(job.device)


def compute_window(job: WindowJob, evaluate: "Evaluate", plan: "BatchPlan | None", first: int, last: int) -> None:
    """Write what is computed of cells, unless it is there: whoever computes it writes the same bytes.

    Parameters
    ----------
    evaluate
        See `InferenceRun.compute`.
    plan
        How cells are cut into batches whose sums are added up, to float64 (1, ...). None: each cell has a result of its
        own, (last - first, ...), which does not depend on batches.
    first, last
        The first cell, and the one behind the last.
    """
    import numpy as np

    from scfviz.model.batching import BatchPlan, choose_tokens_per_batch
    from scfviz.model.store import ResultStore

    path = job.window(first, last)
    if path.exists():
        return
    opened, found = _open(job), None
    run, prepared = _run(job, opened, opened.read(first, last)), opened.prepared

    def keep(indices: "np.ndarray", values: "np.ndarray", _is_last: bool) -> None:
        nonlocal found
        if found is None:
            n, dtype = (last - first, values.dtype) if plan is None else (1, np.float64)
            found = np.zeros((n, *values.shape[1:]), dtype)
        if plan is None:
            found[indices] = values
        else:
            for part in values:
                np.add(found[0], part, out=found[0])

    n_tokens = choose_tokens_per_batch(run.config, prepared.device, prepared.dtype.itemsize, decode=False)
    store = ResultStore(None, (0,), plan or BatchPlan(n_tokens), {}, resume=False)
    run.compute(store, evaluate, keep, decode=False, progress=None, should_stop=None)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        np.save(file, found, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def evaluate_cells(job: WindowJob, evaluate: "Evaluate", cells: "list[int]") -> "np.ndarray":
    """See `InferenceRun.try_out`."""
    import numpy as np
    import torch
    from scipy.sparse import vstack

    opened = _open(job)
    run = _run(job, opened, vstack([opened.read(cell, cell + 1) for cell in cells], format="csr"))
    with torch.inference_mode():
        return evaluate(run, run.read(np.arange(len(cells))))


def _run(job: WindowJob, opened: "_Opened", counts: "csr_matrix") -> "InferenceRun":
    from scfviz.model.engine import InferenceRun

    return InferenceRun(
        counts, opened.model, job.target_depth, job.depth_fold, job.precision, job.device, prepared=opened.prepared
    )


@dataclass(frozen=True)
class _Opened:
    """File and model of a job; `rows` are the cells of the file that take part, None for all."""

    job: WindowJob
    counts: Any
    rows: "np.ndarray | None"
    n_expressed: "np.ndarray"
    totals: "np.ndarray"
    model: Any
    prepared: Any

    def read(self, first: int, last: int) -> "csr_matrix":
        """Counts of cells in the model's gene order, which are those that the run was started for."""
        import numpy as np

        if self.rows is None:
            found = self.counts.rows(first, last)
        else:
            found = self.counts.subset(self.rows[first:last]).rows(0, last - first)
        totals = np.asarray(found.sum(axis=1, dtype=np.float64)).ravel()
        is_same = np.array_equal(np.diff(found.indptr), self.n_expressed[first:last])
        if not is_same or not np.allclose(totals, self.totals[first:last], rtol=1e-6):
            raise _other_file(self.job, "other counts")
        return found


def _open(job: WindowJob) -> _Opened:
    with _opening:  # one at a time: threads of a worker share what is opened
        return _open_once(job)


@lru_cache(maxsize=4)
def _open_once(job: WindowJob) -> _Opened:
    import numpy as np

    from scfviz.data.align import align_genes
    from scfviz.data.open import read_report
    from scfviz.data.read import read_dataset
    from scfviz.data.source import take_fingerprint

    folder, data = Path(job.folder), Path(job.data)
    if not (folder / REPORT).is_file():
        raise JobError(
            f"it cannot see the folder '{folder}'.",
            "All workers write their results there.",
            "Give an output on a file system that every worker mounts at the same path.",
        )
    try:
        size = take_fingerprint(data).size
    except OSError as error:
        raise DatasetError(
            f"it cannot see the file '{data}'.",
            "Every worker reads the data itself.",
            "Put the file where all workers mount it at the same path.",
        ) from error
    if size != job.data_size:
        raise _other_file(job, f"{size:,} bytes instead of {job.data_size:,}")
    model, prepared = _load(job.checkpoint, job.weights, job.device, job.precision)
    adata = read_dataset(data)
    report = read_report(folder / REPORT, adata)
    if report is None:
        raise _other_file(job, "other cells or genes")
    counts = align_genes(adata, genes=model.genes, counts=report, column=job.gene_column)
    with np.load(folder / CELLS, allow_pickle=False) as cells:
        rows, about = cells.get("rows"), (cells["n_expressed"], cells["totals"])
        counts = counts.only_genes(cells["is_measured"])
    opened = _Opened(job, counts, rows, *about, model, prepared)
    for cell in np.unique(np.linspace(0, len(about[0]) - 1, _N_SAMPLED).astype(int)):
        opened.read(cell, cell + 1)
    return opened


@lru_cache(maxsize=2)
def _load(checkpoint: str, weights: str, device: str, precision: str) -> tuple[Any, Any]:
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.engine import weights_hash
    from scfviz.model.prepared import PreparedModel, choose_device

    if not Path(checkpoint).is_dir():
        raise CheckpointError(
            f"it has no checkpoint '{checkpoint}'.",
            "Every worker loads the model itself.",
            "Put the folder where all workers have it at the same path.",
        )
    _keep_memory()
    model, found = load_checkpoint(checkpoint), choose_device(device)
    if weights_hash(model) != weights:
        raise CheckpointError(
            f"it has another checkpoint at '{checkpoint}'.", "All workers need the same.", "Copy the folder again."
        )
    return model, PreparedModel(model, found, precision)


def _keep_memory() -> None:
    """Let glibc keep what arrays leave behind, as it does by default.

    Dask's nanny sets `MALLOC_TRIM_THRESHOLD_`, which ends that: every large array is then mapped anew, and half as much
    time as the model takes goes into the kernel.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**25)  # where glibc's own adaptation ends
        mallopt(_M_TRIM_THRESHOLD, 2**26)


def _other_file(job: WindowJob, how: str) -> DatasetError:
    return DatasetError(
        f"it sees another file at '{job.data}': {how}.",
        "All workers read the same data.",
        "Copy the file again, or put it where all workers mount it at the same path.",
    )
