"""A cell space: a fitted linear map of a checkpoint's cell embeddings, which brings cells of one kind together.

One file beside the weights, which stay as they are. Needs no torch.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import CheckpointError

FILE = "cell_space.safetensors"
_ROWS = 20_000


@dataclass(frozen=True)
class CellSpace:
    """Where cells lie by what kind they are of.

    Attributes
    ----------
    mean
        float32 (D,), to be subtracted from an embedding with pooling `all` at the cells' own depth.
    loadings
        float32 (D, K).
    about
        How it was fitted, as plain values.

    Source: ours; the contrast is that of van den Oord et al. 2018, arXiv:1807.03748.
    """

    mean: np.ndarray
    loadings: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def transform(self, embedding: np.ndarray) -> np.ndarray:
        """Places of cells.

        Parameters
        ----------
        embedding
            (n_obs, D), any kind of array; read in pieces.

        Returns
        -------
        np.ndarray
            float32 (n_obs, K), rows of length one: the cosine of two cells is what was fitted.
        """
        found = np.empty((len(embedding), self.dims), dtype=np.float32)
        for start in range(0, len(embedding), _ROWS):
            block = np.asarray(embedding[start : start + _ROWS], dtype=np.float32)
            places = (block - self.mean) @ self.loadings
            length = np.linalg.norm(places, axis=1, keepdims=True)
            found[start : start + len(block)] = places / np.maximum(length, 1e-12)
        return found

    @property
    def dims(self) -> int:
        """K, numbers per cell."""
        return self.loadings.shape[1]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that stand for the numbers."""
        digest = hashlib.sha256()
        for part in (self.mean, self.loadings):
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part, dtype="<f4").tobytes())
        return digest.hexdigest()[:16]


def save_cell_space(space: CellSpace, folder: Path | str, checkpoint: str) -> Path:
    """Write it into a checkpoint folder, whole or not at all; an earlier one is replaced.

    Parameters
    ----------
    checkpoint
        Hash of the weights whose embeddings it was fitted on.
    """
    from safetensors.numpy import save_file

    path = Path(folder) / FILE
    tensors = {"mean": np.ascontiguousarray(space.mean, "<f4"), "loadings": np.ascontiguousarray(space.loadings, "<f4")}
    number, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=path.parent)
    os.close(number)
    try:
        about = {"checkpoint": checkpoint, "hash": space.hash, "about": json.dumps(space.about)}
        save_file(tensors, name, metadata=about)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def load_cell_space(folder: Path | str, checkpoint: str, width: int) -> CellSpace | None:
    """The cell space of a checkpoint folder; None where it has none.

    Parameters
    ----------
    checkpoint, width
        Hash of the folder's weights, and numbers per embedding.

    Raises
    ------
    CheckpointError
        The file is damaged, or was fitted on another checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            told = dict(file.metadata() or {})
            space = CellSpace(file.get_tensor("mean"), file.get_tensor("loadings"), dict(json.loads(told["about"])))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _refusal(path, f"cannot be read ({error})") from error
    if told.get("checkpoint") != checkpoint:
        raise _refusal(path, f"was fitted on the weights {told.get('checkpoint')}, here are {checkpoint}")
    if space.mean.shape != (width,) or space.loadings.ndim != 2 or len(space.loadings) != width:
        shapes = f"{space.mean.shape} and {space.loadings.shape}"
        raise _refusal(path, f"holds arrays of the shapes {shapes}, embeddings have {width} numbers")
    if told.get("hash") != space.hash:
        raise _refusal(path, "holds other numbers than were saved")
    return space


def _refusal(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"The cell space '{path}' {what}.",
        "It must be the file that was fitted with these weights.",
        "Copy the whole folder again, fit it again with `scfviz cell-space`, or remove the file to go without it.",
    )
