"""The embedding that a file holds already, made elsewhere: taken instead of computed again, once it is checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.source import resolve_source
from scfviz.model.infer import embed_cells
from scfviz.model.store import new_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation

KEY = "X_scfoundation"
N_CHECKED = 32
LARGEST_DIFFERENCE = 0.01  # relative, of one cell; bfloat16 is apart from float32 by 0.003, twice the depth by 0.035
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class FileEmbedding:
    """What came of a look into a file.

    Attributes
    ----------
    values
        float32 (n, D), on disk; None where there is none that can be taken.
    note
        What a reader should know; empty where the file holds nothing.
    provenance
        What the file says of it.
    """

    values: np.ndarray | None
    note: str = ""
    provenance: Mapping[str, Any] | None = None


def read_embedding(
    path: str | Path,
    rows: np.ndarray,
    counts: "AlignedCounts",
    model: "ScFoundation",
    checkpoint: "CheckpointInfo",
    place: Path,
    *,
    device: str = "auto",
    should_stop: "Callable[[], bool] | None" = None,
) -> FileEmbedding:
    """Take `obsm["X_scfoundation"]` of an .h5ad, if it is this model's embedding of these cells at their own depth.

    What the file says of its making may be wrong, or of other counts: some cells are embedded again and compared.

    Parameters
    ----------
    rows
        int (n,): rows of the file.
    counts
        Of these rows, in the model's gene order.
    place
        The .npy file that receives the values; of its own for each dataset of a task.
    """
    import h5py

    real = resolve_source(Path(path))
    if real.suffix != ".h5ad" or not real.is_file() or not h5py.is_hdf5(real):
        return FileEmbedding(None)
    try:
        with h5py.File(real, "r") as file:
            stored = file.get(f"obsm/{KEY}")
            if not isinstance(stored, h5py.Dataset):
                return FileEmbedding(None)
            about = _provenance(file)
            if reason := _refuse(stored, about, rows, model, checkpoint):
                return FileEmbedding(None, f"The file's obsm['{KEY}'] was not taken: {reason}. It was computed again.")
            values = _copy(stored, rows, place)
    except OSError as error:
        return FileEmbedding(None, f"The file's obsm['{KEY}'] cannot be read ({error}); it was computed again.")
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:N_CHECKED])
    again = embed_cells(counts.subset(chosen), model, device=device, should_stop=should_stop).values
    apart = np.linalg.norm(again - values[chosen], axis=1) / np.maximum(np.linalg.norm(again, axis=1), 1e-12)
    if not apart.max() <= LARGEST_DIFFERENCE:
        place.unlink()
        why = f"of {len(chosen)} cells that were computed again, {int((~(apart <= LARGEST_DIFFERENCE)).sum())} differ"
        return FileEmbedding(None, f"The file's obsm['{KEY}'] was not taken: {why}. It was computed again.")
    note = (
        f"The embedding is the file's own obsm['{KEY}'], not computed again; {len(chosen)} cells were, and agree "
        f"(largest relative difference {apart.max():.2g})."
    )
    return FileEmbedding(values, note, about | {"read_from": f"obsm['{KEY}']", "cells_checked": len(chosen)})


def _refuse(
    stored: Any, about: Mapping[str, Any], rows: np.ndarray, model: "ScFoundation", checkpoint: "CheckpointInfo"
) -> str:
    """Why an embedding cannot be this model's of these cells; empty where it can."""
    width = model.config.cell_embedding_width
    if stored.ndim != 2 or stored.shape[1] != width or stored.dtype.kind != "f" or len(stored) <= rows.max(initial=0):
        return f"it has the shape {stored.shape}, {width} values for each cell are needed"
    named = about.get("checkpoint_hash")
    if named is not None and named != checkpoint.hash:
        return f"the checkpoint '{about.get('checkpoint')}' ({named}) made it, in use is '{checkpoint.name}'"
    if about.get("target_depth") is not None or about.get("depth_fold") is not None:
        return "it was made at another read depth"
    return ""


def _provenance(file: Any) -> dict[str, Any]:
    """What `scfviz embed`, or an export of the app, wrote of it; empty where that cannot be read."""
    from anndata.io import read_elem

    try:
        found = read_elem(file["uns/scfviz"])
        told = found["embedding"] if "embedding" in found else found
        told = json.loads(told) if isinstance(told, str) else dict(told)
        checkpoint = told.get("checkpoint")
        if isinstance(checkpoint, dict):
            told |= {"checkpoint": checkpoint.get("name"), "checkpoint_hash": checkpoint.get("hash")}
        return {str(name): value.item() if isinstance(value, np.generic) else value for name, value in told.items()}
    except Exception:  # whatever a foreign writer stored there: the values are checked anyway
        return {}


def _copy(stored: Any, rows: np.ndarray, path: Path) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = new_array(path, (len(rows), stored.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = rows[start : start + _BLOCK_ROWS]
        block = stored[int(part.min()) : int(part.max()) + 1] if len(part) else stored[:0]
        values[start : start + len(part)] = block[part - part.min()]
    return values
