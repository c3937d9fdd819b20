"""Embeddings of finished computations, for tasks that need the same again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import JobError
from scfviz.jobs.workspace import read_json

_AS_IT_IS = {"target_depth": None, "depth_fold": None, "pooling": "all"}


def find_embedding(job: Path, path: str, wanted: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The newest kept embedding of a dataset at its own depth; None where there is none.

    Parameters
    ----------
    job
        Folder of the computation that asks. It finds what was computed on public data, and on data as private as its
        own: see `scfviz.jobs.access.scope_of`.
    path
        Of the dataset; an embedding of the same content counts.
    wanted
        What else it depends on, as in a job's identity: `checkpoint` (its hash), `gene_column`, `counts`,
        `precision`, `device`.

    Returns
    -------
    tuple
        int64 (n_kept,): rows in the file that it holds, increasing; float32 (n_kept, D), on disk.
    """
    from scfviz.data.source import dataset_id
    from scfviz.tasks.result import read_result

    like = dict(wanted) | _AS_IT_IS | {"dataset": dataset_id(path)}
    scopes = ("", (read_json(job / "job.json") or {}).get("scope") or "")
    found = []
    for file in job.parent.glob("*/job.json"):
        about = read_json(file) or {}
        is_same = about.get("kind") == "embedding" and (about.get("scope") or "") in scopes
        if is_same and all((about.get("identity") or {}).get(name) == value for name, value in like.items()):
            found.append((float(about.get("created_at") or 0), file.parent / "result"))
    for _created, folder in sorted(found, reverse=True):
        try:
            result = read_result(folder)
            return np.asarray(result.kept), result.arrays["embedding"]
        except (JobError, OSError, KeyError):  # not finished, removed meanwhile, or of an older version
            continue
    return None
