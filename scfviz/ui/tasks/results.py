"""Results of finished computations, read from the workspace as they are needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.jobs import Workspace, result_dir
from scfviz.jobs.kinds.embed import FILES
from scfviz.jobs.workspace import read_json

WAYS = {"model": "scFoundation", "baseline": "Baseline: variable genes + PCA", "joint": "Both together"}
CLUSTERS = {
    "clusters_model": "Clusters of scFoundation's map",
    "clusters_baseline": "Clusters of the baseline's map",
    "clusters_joint": "Clusters of both together",
}
STORED_RESOLUTION = 1.0


@dataclass(frozen=True)
class EmbeddingResult:
    """A finished embedding.

    Attributes
    ----------
    obs
        The file's own columns, one row per embedded cell.
    cells
        `total_counts`, `n_genes`, `pct_counts_mt`, and `clusters_WAY` of every way.
    kept
        int64 (n_cells,): row of each embedded cell in the file.
    umap
        By way, of those that the result has: float32 (n_cells, 2).
    report
        `report.json` of the computation.
    """

    job_id: str
    folder: Path
    obs: pd.DataFrame
    cells: pd.DataFrame
    kept: np.ndarray
    umap: dict[str, np.ndarray]
    report: dict[str, Any]

    def embedding(self, way: str) -> np.ndarray:
        """float32 (n_cells, width), read from disk where it is used."""
        return np.load(self.folder / f"{FILES[way]}.npy", mmap_mode="r", allow_pickle=False)


def titles_of(ways: Iterable[str], *, is_trained: bool) -> dict[str, str]:
    """What ways are called; those with a model behind them say so when its weights are random."""
    return {way: WAYS[way] + " (untrained model)" * (way != "baseline" and not is_trained) for way in ways}


def load_embedding(job_id: str) -> EmbeddingResult:
    """The result of a finished embedding; shared by all visitors, never changed."""
    folder = result_dir(Workspace(), job_id)
    return _load(job_id, str(folder), (folder / "report.json").stat().st_mtime_ns)


def clusters_of(result: EmbeddingResult, way: str, resolution: float) -> np.ndarray:
    """Leiden clusters at a resolution: str (n_cells,)."""
    if resolution == STORED_RESOLUTION:
        return result.cells[f"clusters_{way}"].astype(str).to_numpy()
    return _recluster(result.job_id, str(result.folder), way, resolution)


def agreement_of(result: EmbeddingResult, label: str, resolution: float) -> dict[str, dict[str, Any]]:
    """Scores against a column of labels by way: `ari`, `nmi`, `silhouette`, `n`, `n_clusters`, `notes`."""
    stored = result.report["agreement"].get(label)
    if stored and resolution == STORED_RESOLUTION:
        return stored
    return {way: _score(result.job_id, str(result.folder), way, label, resolution) for way in result.umap}


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(job_id: str, folder_name: str, stamp: int) -> EmbeddingResult:
    folder = Path(folder_name)
    return EmbeddingResult(
        job_id,
        folder,
        pd.read_parquet(folder / "obs.parquet"),
        pd.read_parquet(folder / "cells.parquet"),
        np.load(folder / "kept.npy", allow_pickle=False),
        {way: np.load(path, allow_pickle=False) for way in WAYS if (path := folder / f"umap_{way}.npy").exists()},
        read_json(folder / "report.json") or {},
    )


@st.cache_data(max_entries=24, show_spinner="Finding clusters …")
def _recluster(job_id: str, folder: str, way: str, resolution: float) -> np.ndarray:
    from scipy import sparse

    from scfviz.tasks.embedding.compute import cluster_cells

    return cluster_cells(sparse.load_npz(Path(folder) / f"neighbors_{way}.npz"), resolution=resolution)


@st.cache_data(max_entries=64, show_spinner="Comparing with the labels …")
def _score(job_id: str, folder: str, way: str, label: str, resolution: float) -> dict[str, Any]:
    from scfviz.analysis.metrics import score_agreement

    result = load_embedding(job_id)
    clusters = clusters_of(result, way, resolution)
    return score_agreement(result.embedding(way), clusters, result.obs[label]).as_dict()
