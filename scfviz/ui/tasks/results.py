"""Results of finished tasks, read from the workspace as they are needed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.selection.rules import Rule
from scfviz.jobs import Workspace, result_dir
from scfviz.jobs.labels import names_used
from scfviz.tasks.embedding.run import FILES, PLACES
from scfviz.tasks.registry import get_task
from scfviz.tasks.result import Result, read_graph, read_result

_TITLES = {entry.name: entry.title for entry in get_task("embedding").writes}
REPRESENTATIONS = {representation: _TITLES[f"umap_{representation}"] for representation in FILES}
CLUSTERS = {f"clusters_{representation}": _TITLES[f"clusters_{representation}"] for representation in FILES}
STORED_RESOLUTION = 1.0


@dataclass(frozen=True)
class EmbeddingResult:
    """A finished embedding.

    Attributes
    ----------
    result
        As the task wrote it.
    obs
        The file's own columns, one row per embedded cell.
    cells
        `total_counts`, `n_genes`, `pct_counts_mt`, and `clusters_NAME` of every representation.
    kept
        int64 (n_cells,): row of each embedded cell in the file.
    umap
        By representation, of those that the result has: float32 (n_cells, 2).
    report
        `report.json` of the computation.
    """

    job_id: str
    result: Result
    obs: pd.DataFrame
    umap: dict[str, np.ndarray]

    @property
    def cells(self) -> pd.DataFrame:
        """See the class."""
        return self.result.cells

    @property
    def kept(self) -> np.ndarray:
        """See the class."""
        return self.result.kept

    @property
    def report(self) -> Mapping[str, Any]:
        """See the class."""
        return self.result.report

    @property
    def agreement(self) -> Mapping[str, Any]:
        """Scores by label column and representation, as they were computed with the maps."""
        return self.result.scores["agreement"]

    @property
    def pictures(self) -> Mapping[str, Any]:
        """How well the pictures keep neighbours, by representation; empty where all cells were laid out."""
        return self.result.scores.get("pictures", {})

    def embedding(self, representation: str) -> np.ndarray:
        """float32 (n_cells, width), what its map was drawn from; read from disk where it is used."""
        arrays = self.result.arrays
        return arrays[PLACES if representation == "model" and PLACES in arrays else FILES[representation]]


def titles_of(representations: Iterable[str], *, is_trained: bool) -> dict[str, str]:
    """What representations are called; those with a model behind them say so when its weights are random."""
    return {
        representation: REPRESENTATIONS[representation]
        + " (untrained model)" * (representation != "baseline" and not is_trained)
        for representation in representations
    }


def map_titles(*, is_trained: bool) -> dict[str, str]:
    """What the embedding's maps are called, by their names in the result."""
    return {
        f"umap_{representation}": title
        for representation, title in titles_of(REPRESENTATIONS, is_trained=is_trained).items()
    }


def load_embedding(job_id: str) -> EmbeddingResult:
    """The result of a finished embedding; shared by all visitors, never changed."""
    result = load_result(job_id)
    return _embedding(job_id, str(result.report.get("dataset_id")), result)


def load_result(job_id: str) -> Result:
    """The result of a finished task; shared by all visitors, never changed.

    Raises
    ------
    JobError
        There is none, or it is of an older version.
    """
    folder = result_dir(Workspace(), job_id)
    return _load(str(folder), (folder / "report.json").stat().st_mtime_ns)


def jobs_used(job_ids: Iterable[str], rules: Iterable[Rule | None]) -> list[str]:
    """Of finished tasks, those whose columns or maps rules speak of."""
    names, found = names_used(rules), []
    for job_id in job_ids if names else ():
        result = load_result(job_id)
        if None in names or names & {*result.cells.columns, *result.arrays}:
            found.append(job_id)
    return found


def clusters_of(result: EmbeddingResult, representation: str, resolution: float) -> np.ndarray:
    """Leiden clusters at a resolution: str (n_cells,)."""
    if resolution == STORED_RESOLUTION:
        return result.cells[f"clusters_{representation}"].astype(str).to_numpy()
    return _recluster(result.job_id, representation, resolution)


def agreement_of(result: EmbeddingResult, label: str, resolution: float) -> dict[str, dict[str, Any]]:
    """Scores against a column of labels by representation: `ari`, `nmi`, `silhouette`, `n`, `n_clusters`, `notes`."""
    stored = result.agreement.get(label)
    if stored and resolution == STORED_RESOLUTION:
        return stored
    return {representation: _score(result.job_id, representation, label, resolution) for representation in result.umap}


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(folder: str, stamp: int) -> Result:
    return read_result(Path(folder))


@st.cache_resource(max_entries=4, show_spinner=False)
def _embedding(job_id: str, dataset: str, _result: Result) -> EmbeddingResult:
    umap = {representation: np.array(_result.arrays[f"umap_{representation}"]) for representation in REPRESENTATIONS}
    return EmbeddingResult(job_id, _result, _result.tables["obs"], umap)


@st.cache_data(max_entries=24, show_spinner="Finding clusters …")
def _recluster(job_id: str, representation: str, resolution: float) -> np.ndarray:
    from scfviz.tasks.embedding.compute import cluster_map

    result = load_embedding(job_id)
    graph = read_graph(result.result.tables[f"neighbors_{representation}"], len(result.kept))
    return cluster_map(graph, resolution=resolution)


@st.cache_data(max_entries=64, show_spinner="Comparing with the labels …")
def _score(job_id: str, representation: str, label: str, resolution: float) -> dict[str, Any]:
    from scfviz.analysis.metrics import score_agreement

    result = load_embedding(job_id)
    clusters = clusters_of(result, representation, resolution)
    return score_agreement(result.embedding(representation), clusters, result.obs[label]).as_dict()
