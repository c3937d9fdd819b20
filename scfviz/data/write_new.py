"""Write a dataset of our own, values that were computed for cells, as .h5ad; its values may lie on disk."""

import errno
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from scfviz.data.disk import disk_error

ROWS = 1024


def write_new_h5ad(path: Path, values: np.ndarray, obs: pd.DataFrame, genes: list[str], uns: dict[str, Any]) -> None:
    """Write cells x genes, block by block; the file appears at the end, as a whole.

    Parameters
    ----------
    values
        float32 (n_obs, n_genes), may be mapped from disk.
    obs
        Table of the cells.
    genes
        Names of the columns.
    uns
        What is said about the values.

    Raises
    ------
    JobError
        The disk is full.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            write_elem(file, "obs", obs)
            write_elem(file, "var", pd.DataFrame(index=pd.Index(genes, dtype=object)))
            write_elem(file, "uns", uns)
            for key in ("obsm", "varm", "obsp", "varp", "layers"):
                write_elem(file, key, {})
            target = file.create_dataset("X", values.shape, np.float32)
            target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for start in range(0, len(values), ROWS):
                target[start : start + ROWS] = values[start : start + ROWS]
        os.replace(partial, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_error(f"The disk became full while '{path.name}' was written") from error
        raise
    finally:
        partial.unlink(missing_ok=True)
