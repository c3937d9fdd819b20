"""The job `embed`: cells through the model, the baseline, and both together; maps and clusters of each, agreement with
labels.

Result files: `embedding.npy` (n_obs, D), `baseline.npy` (n_obs, components) and `joint.npy` (n_obs, components + 20),
float32. For each way of `FILES`: `umap_WAY.npy` (n_obs, 2) float32, NaN where there is none, and `neighbors_WAY.npz`
(sparse, for clusters at another resolution). `obs.parquet` (the file's own columns), `cells.parquet` (total_counts,
n_genes, pct_counts_mt, clusters_WAY); `kept.npy` (row numbers of the embedded cells in the file); `report.json`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import DatasetError, OptionError, Stopped
from scfviz.jobs.kinds import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.workspace import Workspace, write_json

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.infer import CellEmbedding
    from scfviz.model.scfoundation import ScFoundation

VERSION = 2  # part of the identity: raise it when the same options give other results
DEFAULTS: dict[str, Any] = {
    "dataset": None,
    "checkpoint": None,
    "target_depth": None,
    "depth_fold": None,
    "pooling": "all",
    "precision": "auto",
    "device": "auto",
    "filters": None,
    "label_columns": None,
    "gene_column": None,
}
FILTERS = {"min_counts", "min_genes", "max_pct_mt"}
EMBEDDING = "Embedding the cells with the model"
FILES = {"model": "embedding", "baseline": "baseline", "joint": "joint"}  # by way; results of old had no joint one
_NAMES = {"model": "Model", "baseline": "Baseline", "joint": "Both together"}
# Seconds that imports, and UMAP per cell, take on two common cores: only to give the stages sensible shares
# of the bar.
SECONDS_PER_MAP, SECONDS_PER_MAPPED_CELL, FLOP_PER_SECOND = 6.0, 2e-3, 1e11


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options of an embedding; see `DEFAULTS` for their names.

    `dataset` and `checkpoint` are paths (no checkpoint: the default one); `target_depth` in counts or
    `depth_fold` as a factor; `filters` holds any of `min_counts`, `min_genes`, `max_pct_mt`; `label_columns`
    names columns of `obs` to score against (left out: all that look like labels); `gene_column` names the
    column of `var` with the genes (left out: found by content).
    """
    from scfviz.data.source import dataset_id
    from scfviz.model.checkpoint import checkpoint_info, default_checkpoint

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "An embedding needs cells.", "Choose a dataset.")
    if options["target_depth"] is not None and options["depth_fold"] is not None:
        raise OptionError("Both a target depth and a depth fold were given.", "Only one can hold.", "Leave one out.")
    filters = {name: value for name, value in (options["filters"] or {}).items() if value is not None}
    if set(filters) - FILTERS:
        raise OptionError(
            f"There is no filter {', '.join(sorted(set(filters) - FILTERS))}.",
            f"There are: {', '.join(sorted(FILTERS))}.",
        )
    dataset = Path(options["dataset"]).expanduser().resolve()
    checkpoint = Path(options["checkpoint"] or default_checkpoint()).expanduser().resolve()
    options |= {"dataset": str(dataset), "checkpoint": str(checkpoint), "filters": filters or None}
    content = {
        "dataset": dataset_id(dataset),
        "checkpoint": checkpoint_info(checkpoint).hash,
        "version": VERSION,
    }
    return options, options | content


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset; the checkpoint is everyone's."""
    return named_data(options, "dataset")


def memory(options: dict[str, Any]) -> Need:
    """Embedding with a copy for the neighbour search, variable genes at 15 % density, components, graphs of all."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    per_cell = 3 * 4 * info.config.cell_embedding_width + 8 * 300 + 4 * 4 * 60 + 3 * 12 * 30
    return Need(1.2e9 + 8 * info.n_parameters, per_cell, "Embeddings, neighbours and maps")


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Compute; see the module's text for the result files."""
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset
    from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
    from scfviz.tasks.embedding.compute import build_map, embed_baseline, join_embeddings

    steps = _Steps(folder / "work", report, should_stop)
    result = folder / "result.partial"
    with steps.step(0.0, "Reading and checking the dataset"):
        info = checkpoint_info(options["checkpoint"])
        adata = read_dataset(options["dataset"])  # a broken file is found before torch is loaded
        model = load_checkpoint(options["checkpoint"])
        aligned = align_genes(adata, genes=model.genes, column=options["gene_column"])
        _check_columns(aligned.obs, options["label_columns"])
        n_in_file = aligned.n_obs
        aligned, metrics, kept = _filter(aligned, options["filters"])
        refuse_what_cannot_fit("embed", options, aligned.n_obs)
    shares = _shares(aligned, info)
    with steps.step(shares[0], EMBEDDING):
        embedding = _embed(aligned, model, options, steps, shares)
    with steps.step(shares[1], "Computing the baseline: variable genes and principal components"):
        baseline = steps.keep("baseline", lambda: embed_baseline(aligned))
        joint = steps.keep("joint", lambda: join_embeddings(baseline, embedding.values))
    embeddings = {"model": embedding.values, "baseline": baseline, "joint": joint}
    maps = {}
    for (way, values), share in zip(embeddings.items(), shares[2:], strict=True):
        with steps.step(share, f"Drawing the map and finding clusters: {_NAMES[way].lower()}"):
            maps[way] = build_map(values)
    with steps.step(0.96, "Scoring the agreement with known labels"):
        agreement, skipped, label_notes = _agreement(
            aligned.obs,
            options["label_columns"],
            {way: (values, maps[way].clusters) for way, values in embeddings.items()},
        )
    with steps.step(0.98, "Writing the result"):
        import pandas as pd
        from scipy import sparse

        for way, values in embeddings.items():
            np.save(result / f"{FILES[way]}.npy", np.asarray(values, dtype=np.float32))
        np.save(result / "kept.npy", kept)
        cells = metrics.reset_index(drop=True).set_index(aligned.obs.index)
        for way in FILES:
            np.save(result / f"umap_{way}.npy", maps[way].umap)
            sparse.save_npz(result / f"neighbors_{way}.npz", maps[way].neighbors)
            clusters = maps[way].clusters
            cells[f"clusters_{way}"] = pd.Categorical(clusters, categories=sorted(set(clusters), key=int))
        cells.to_parquet(result / "cells.parquet")
        storable(aligned.obs).to_parquet(result / "obs.parquet")
        notes = _collect_notes({way: of.notes for way, of in maps.items()})
        write_json(
            result / "report.json",
            {
                "dataset": Path(options["dataset"]).name,
                "counts": aligned.counts_report.as_dict(),
                "genes": aligned.gene_report.as_dict(),
                "n_obs": aligned.n_obs,
                "n_removed": n_in_file - aligned.n_obs,
                "agreement": agreement,
                "skipped_labels": skipped,
                "notes": notes + label_notes,
                "provenance": embedding.provenance,
                "checkpoint": {
                    "name": info.name,
                    "hash": info.hash,
                    "is_trained": info.is_trained,
                    "licence": info.licence,
                },
                "seconds": steps.seconds,
            },
        )


class _Steps:
    """Stages of a run: says where it is, measures each, stops between two, keeps arrays for a later run."""

    def __init__(self, work: Path, report: Report, should_stop: ShouldStop):
        self.work, self.report, self.should_stop = work, report, should_stop
        self.seconds: dict[str, float] = {}
        self._stage, self._start = "", 0.0

    def step(self, fraction: float, stage: str) -> "_Steps":
        if self.should_stop():
            raise Stopped
        self.report(fraction, stage)
        self._stage = stage
        return self

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._stage] = round(time.monotonic() - self._start, 3)

    def keep(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of an earlier run where there is one, else a new one, written as a whole."""
        path = self.work / f"{name}.npy"
        if not path.exists():
            temporary = self.work / f".{name}.tmp.npy"
            np.save(temporary, compute())
            os.replace(temporary, path)
        return np.load(path, allow_pickle=False)


def _filter(
    aligned: "AlignedCounts", filters: dict[str, float] | None
) -> tuple["AlignedCounts", "pd.DataFrame", np.ndarray]:
    """The cells to embed, their QC values, their row numbers in the file."""
    from scfviz.data.qc import filter_cells, qc_metrics, refuse_unusable

    metrics, kept = qc_metrics(aligned), np.arange(aligned.n_obs)
    if not filters:
        refuse_unusable(aligned)
        return aligned, metrics, kept
    kept = np.flatnonzero(filter_cells(metrics, **{name: filters.get(name) for name in sorted(FILTERS)}))
    if not len(kept):
        raise DatasetError(
            f"The filters remove all {aligned.n_obs:,} cells.",
            "At least one cell must remain.",
            "Loosen the filters.",
        )
    return aligned.subset(kept), metrics.iloc[kept], kept


def _check_columns(obs: "pd.DataFrame", columns: list[str] | None) -> None:
    missing = [name for name in columns or () if name not in obs.columns]
    if missing:
        raise OptionError(
            f"The dataset has no column {', '.join(missing)}.",
            f"Its columns are {', '.join(map(str, obs.columns[:20])) or 'none'}.",
            "Choose labels among them.",
        )


def _shares(aligned: "AlignedCounts", info: "CheckpointInfo") -> tuple[float, ...]:
    """Where on the bar, 0 to 1, start: the model, the baseline, and the map of each way."""
    # two operations per weight and token; the gene table is looked up, not multiplied
    weights = 12 * info.config.encoder_layers * info.config.encoder_width**2
    tokens = float(np.sum(aligned.n_expressed, dtype=np.float64)) + 2 * aligned.n_obs
    one_map = SECONDS_PER_MAP + SECONDS_PER_MAPPED_CELL * aligned.n_obs
    first = [2 * weights * tokens / FLOP_PER_SECOND + 3.0, 3.0 + 1e-3 * aligned.n_obs]
    seconds = np.array([*first, *[one_map] * len(FILES)])
    starts = 0.03 + 0.93 * np.concatenate([[0.0], np.cumsum(seconds)[:-1]]) / seconds.sum()
    return tuple(float(start) for start in starts)


def _embed(
    aligned: "AlignedCounts",
    model: "ScFoundation",
    options: dict[str, Any],
    steps: _Steps,
    shares: tuple[float, ...],
) -> "CellEmbedding":
    from scfviz.model.infer import embed_cells

    def progress(done: int, total: int) -> None:
        share = shares[0] + (shares[1] - shares[0]) * done / max(total, 1)
        steps.report(share, EMBEDDING)

    return embed_cells(
        aligned,
        model,
        target_depth=options["target_depth"],
        depth_fold=options["depth_fold"],
        pooling=options["pooling"],
        precision=options["precision"],
        device=options["device"],
        out=steps.work / "embedding",
        resume=True,
        progress=progress,
        should_stop=steps.should_stop,
    )


def _collect_notes(by_way: dict[str, tuple[str, ...]]) -> list[str]:
    """Each note once, with the maps that it is about."""
    ways: dict[str, list[str]] = {}
    for way, notes in by_way.items():
        for note in notes:
            ways.setdefault(note, []).append(_NAMES[way])
    return [f"{'All maps' if len(of) == len(by_way) else ', '.join(of)}: {note}" for note, of in ways.items()]


def _agreement(
    obs: "pd.DataFrame", columns: list[str] | None, ways: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Scores by label column and way, columns left out with the reason, notes."""
    from scfviz.analysis.metrics import choose_labels, score_agreement

    skipped: dict[str, str] = {}
    if columns is None:
        columns, skipped = choose_labels(obs)
    scores = {
        name: {way: score_agreement(*values, obs[name]).as_dict() for way, values in ways.items()} for name in columns
    }
    notes = [] if scores else ["There are no labels to compare with: no column of the dataset looks like cell labels."]
    return scores, skipped, notes


def storable(obs: "pd.DataFrame") -> "pd.DataFrame":
    """A copy of `obs` that Parquet can hold: columns of mixed things become text, missing values stay missing."""
    obs = obs.copy()
    obs.columns = obs.columns.astype(str)
    for name in obs.columns:
        column = obs[name]
        if column.dtype == object:
            obs[name] = column.map(str, na_action="ignore").astype("string")
        elif column.dtype == "category" and column.cat.categories.dtype == object:
            obs[name] = column.cat.rename_categories([str(value) for value in column.cat.categories])
    obs.index = obs.index.astype(str)
    return obs
