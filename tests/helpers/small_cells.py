"""A small dataset with known groups on the model's real genes, and a tiny checkpoint, for tests that need files."""

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scfviz.data.genes import load_vocabulary

if TYPE_CHECKING:
    from scfviz.model.cell_space import CellSpace

GROUPS = ("B cell", "T cell", "monocyte")


def make_cells(n_obs: int, *, n_genes: int = 400, depth: float = 1500.0, seed: int = 0) -> ad.AnnData:
    """Cells of three groups, each with forty genes ten times higher; Poisson counts, whole numbers."""
    rng = np.random.default_rng(seed)
    genes = np.array(load_vocabulary().symbols)[:: 19264 // n_genes][:n_genes]
    level = rng.gamma(0.5, size=n_genes) + 0.02
    group = rng.integers(len(GROUPS), size=n_obs)
    profiles = np.stack([np.where(np.arange(n_genes) // 40 == g, 10 * level, level) for g in range(len(GROUPS))])
    means = depth * profiles[group] / profiles[group].sum(axis=1, keepdims=True)
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(np.array(GROUPS)[group]), "sample": "one", "age": rng.random(n_obs)},
        index=[f"cell{i}" for i in range(n_obs)],
    )
    return ad.AnnData(sparse.csr_matrix(rng.poisson(means).astype(np.float32)), obs, pd.DataFrame(index=genes))


def write_cells(path: Path, n_obs: int, **options) -> Path:
    """The cells as an h5ad file."""
    make_cells(n_obs, **options).write_h5ad(path)
    return path


def save_tiny_checkpoint(folder: Path, *, preset: str = "tiny", seed: int = 0) -> Path:
    """An untrained model over all genes, the same every time."""
    import torch

    from scfviz.model.checkpoint import save_checkpoint
    from scfviz.model.config import PRESETS
    from scfviz.model.scfoundation import ScFoundation

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ScFoundation(PRESETS[preset], load_vocabulary().symbols)
    save_checkpoint(model, folder, name=preset, licence="Apache-2.0", readme=f"# {preset}\n", training={})
    return folder


def give_cell_space(checkpoint: Path, dims: int = 8) -> "CellSpace":
    """A cell space beside the weights of a checkpoint, drawn and not fitted."""
    from scfviz.model.cell_space import CellSpace, save_cell_space
    from scfviz.model.checkpoint import checkpoint_info

    info, rng = checkpoint_info(checkpoint), np.random.default_rng(0)
    width = info.config.cell_embedding_width
    mean, loadings = (rng.normal(size=shape).astype(np.float32) for shape in (width, (width, dims)))
    space = CellSpace(mean, loadings, {"n_cells": 5, "datasets": ["a", "b"]})
    save_cell_space(space, checkpoint, info.hash)
    return space
