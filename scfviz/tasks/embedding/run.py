"""The task `embedding`: cells through the model, the baseline, and both together; maps and clusters of each, agreement
with labels.

Arrays: `embedding` (n_kept, D), `places` (n_kept, K) where the model has a cell space for it, `baseline` (n_kept,
components) and `joint` (n_kept, components + 20), float32; for each representation of `FILES` `umap_NAME` (n_kept, 2)
float32, NaN where there is none. Tables: `neighbors_NAME` (the graph, for clusters at another resolution) and `obs`
(the file's own columns). Columns of `cells`: total_counts, n_genes, pct_counts_mt, clusters_NAME. Scores: `agreement`
by label column and representation, `skipped_labels` with the reason; `pictures` by representation where a sample was
laid out, see `Fidelity` of `sampled`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import OptionError
from scfviz.tasks.embedding.options import EmbeddingOptions
from scfviz.tasks.embedding.sampled import MOST_LAID_OUT, N_PLACING
from scfviz.tasks.result import Result, graph_table
from scfviz.tasks.run import OpenedCells, embedding_in_file
from scfviz.tasks.steps import Steps
from scfviz.threads import available_cores

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.model.config import ModelConfig
    from scfviz.model.infer import CellEmbedding
    from scfviz.tasks.embedding.compute import CellMap

EMBEDDING = "Embedding the cells with the model"
FILES = {"model": "embedding", "baseline": "baseline", "joint": "joint"}  # array of each representation
PLACES = "places"  # array that the model's map is drawn from, where it is not the embedding itself
_NAMES = {"model": "Model", "baseline": "Baseline", "joint": "Both together"}
# Bytes of PyTorch, UMAP and the others at rest, and of what grows until the neighbour search of many cells is compiled.
# Peaks with the shipped checkpoint: 70 generated cells 0.62 GB, 400 and 1,600 cells of PBMC 0.71 and 0.83 GB, 400 cells
# of Smart-seq2 with their thousands of genes 1.36 GB.
PROGRAMS, GROWTH, GROWN_CELLS = 0.75e9, 0.5e9, 10_000
# Numbers of a batch on a processor, twice those that `scfviz.model.batching` plans with, and batches at a time at most.
NUMBERS_PER_BATCH, MOST_BATCHES = 2 * 24 * 4_096, 4
# Seconds that imports, and UMAP per cell, take on two common cores: only to give the stages sensible shares of the bar.
SECONDS_PER_MAP, SECONDS_PER_MAPPED_CELL, SECONDS_PER_PLACED_CELL, FLOP_PER_SECOND = 6.0, 2e-3, 4e-4, 1e11


def memory(options: dict[str, Any]) -> Need:
    """Components and links of all cells; of at most as many as are laid out the neighbour search or variable genes at
    10 % density, whichever is more, and graphs.
    """
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    # embedding, components and places lie on disk; each but the first is held once while it is written
    per_cell = 4 * 128 + 3 * 12 * N_PLACING + 200
    # graphs of three maps; beside them what finds the neighbours, with one copy of the sample, or the variable genes
    per_laid_out = 3 * 12 * 30 + max(4 * info.config.cell_embedding_width + 2_500, 20 * 200)
    batches = 4 * NUMBERS_PER_BATCH * info.config.encoder_width * min(available_cores(), MOST_BATCHES)
    fixed = PROGRAMS + 8 * info.n_parameters + batches
    sample = (per_laid_out * MOST_LAID_OUT, MOST_LAID_OUT)
    return Need(fixed, per_cell, "Embeddings, neighbours and maps", GROWTH, GROWN_CELLS, *sample)


def run(cells: OpenedCells, options: EmbeddingOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    import pandas as pd

    from scfviz.model.depths import depth_notes
    from scfviz.tasks.embedding.compute import build_map, embed_baseline, join_embeddings

    obs = cells.aligned.obs
    _check_columns(obs, options.label_columns)
    shares = _shares(cells)
    with steps.step(shares[0], EMBEDDING):
        embedding, from_file = _embed(cells, options, steps, shares)
    with steps.step(shares[1], "Computing the baseline: variable genes and principal components"):
        baseline = steps.keep("baseline", lambda: embed_baseline(cells.aligned, most_cells=MOST_LAID_OUT), mapped=True)
        joint = steps.keep("joint", lambda: join_embeddings(baseline, embedding.values), mapped=True)
        places = _place(cells, options, embedding.values, steps)
    embeddings = {"model": places, "baseline": baseline, "joint": joint}
    maps = {}
    for (representation, values), share in zip(embeddings.items(), shares[2:], strict=True):
        with steps.step(share, f"Drawing the map and finding clusters: {_NAMES[representation].lower()}"):
            maps[representation] = build_map(values, most_cells=MOST_LAID_OUT)
    with steps.step(0.96, "Scoring the agreement with known labels"):
        representations = {
            representation: (values, maps[representation].clusters) for representation, values in embeddings.items()
        }
        agreement, skipped, label_notes = _agreement(obs, options.label_columns, representations)
    depths = depth_notes(cells.checkpoint.training, embedding.source_depth, embedding.target_depth)
    table = cells.metrics.reset_index(drop=True).set_index(obs.index)
    for representation in FILES:
        clusters = maps[representation].clusters
        table[f"clusters_{representation}"] = pd.Categorical(clusters, categories=sorted(set(clusters), key=int))
    is_placed = places is not embedding.values
    space = {"cell_space": cells.model.cell_space.hash} if is_placed else {}
    return Result(
        kept=cells.kept,
        cells=table,
        arrays={"embedding": embedding.values, "baseline": baseline, "joint": joint}
        | ({PLACES: places} if is_placed else {})
        | {f"umap_{representation}": of.umap for representation, of in maps.items()},
        tables={f"neighbors_{representation}": graph_table(of.neighbors) for representation, of in maps.items()}
        | {"obs": obs},
        notes=(
            *_collect_notes({representation: of.notes for representation, of in maps.items()}),
            *label_notes,
            *depths,
            *from_file,
        ),
        scores={"agreement": agreement, "skipped_labels": skipped} | _pictures(maps),
        report={"provenance": embedding.provenance | space},
    )


def _place(cells: OpenedCells, options: EmbeddingOptions, embedding: np.ndarray, steps: Steps) -> np.ndarray:
    """What the model's map is drawn from: the cell space was fitted at the cells' own depth, with pooling `all`."""
    space = cells.model.cell_space
    if space is None or options.pooling != "all" or not (options.target_depth is options.depth_fold is None):
        return embedding
    return steps.keep(PLACES, lambda: space.transform(embedding), mapped=True)


def _pictures(maps: "dict[str, CellMap]") -> dict[str, Any]:
    """How well each picture keeps neighbours; nothing where all cells were laid out."""
    found = {name: of.fidelity.as_dict() for name, of in maps.items() if of.fidelity is not None}
    return {"pictures": found} if found else {}


def _check_columns(obs: "pd.DataFrame", columns: tuple[str, ...] | None) -> None:
    missing = [name for name in columns or () if name not in obs.columns]
    if missing:
        raise OptionError(
            f"The dataset has no column {', '.join(missing)}.",
            f"Its columns are {', '.join(map(str, obs.columns[:20])) or 'none'}.",
            "Choose labels among them.",
        )


def expected_seconds(
    config: "ModelConfig", n_obs: int, tokens_per_cell: float, *, seconds_per_cell: float | None = None
) -> tuple[float, ...]:
    """Seconds that the stages will take: the model, the baseline, and the map of each representation.

    Parameters
    ----------
    tokens_per_cell
        Genes with counts of a mean cell in the model's list, plus two.
    seconds_per_cell
        Of the model, where it was measured on this computer; else two common cores are supposed.
    """
    # two operations per weight and token; the gene table is looked up, not multiplied
    weights = 12 * config.encoder_layers * config.encoder_width**2
    per_cell = 2 * weights * tokens_per_cell / FLOP_PER_SECOND if seconds_per_cell is None else seconds_per_cell
    n_laid_out = min(n_obs, MOST_LAID_OUT)
    one_map = SECONDS_PER_MAP + SECONDS_PER_MAPPED_CELL * n_laid_out + SECONDS_PER_PLACED_CELL * (n_obs - n_laid_out)
    return per_cell * n_obs + 3.0, 3.0 + 1e-3 * n_obs, *[one_map] * len(FILES)


def _shares(cells: OpenedCells) -> tuple[float, ...]:
    """Where on the bar, 0 to 1, start: the model, the baseline, and the map of each representation."""
    tokens = float(np.mean(cells.aligned.n_expressed)) + 2
    seconds = np.array(expected_seconds(cells.checkpoint.config, cells.aligned.n_obs, tokens))
    starts = 0.03 + 0.93 * np.concatenate([[0.0], np.cumsum(seconds)[:-1]]) / seconds.sum()
    return tuple(float(start) for start in starts)


def _embed(
    cells: OpenedCells, options: EmbeddingOptions, steps: Steps, shares: tuple[float, ...]
) -> "tuple[CellEmbedding, list[str]]":
    """The embedding, computed or read from the file; and what a reader should know of what the file holds."""
    from scfviz.model.infer import CellEmbedding, embed_cells

    notes = []
    if options.target_depth is None and options.depth_fold is None and options.pooling == "all":
        found = embedding_in_file(options.dataset, cells.kept, cells.aligned, cells, options, steps, "embedding")
        notes += [found.note] if found.note else []
        if found.values is not None:
            depth = np.asarray(cells.aligned.total_counts, dtype=np.float64)
            return CellEmbedding(found.values, depth, depth, dict(found.provenance)), notes
    embedding = embed_cells(
        cells.aligned,
        cells.model,
        target_depth=options.target_depth,
        depth_fold=options.depth_fold,
        pooling=options.pooling,
        precision=options.precision,
        device=options.device,
        out=steps.work / "embedding",
        resume=True,
        progress=steps.progress(shares[0], shares[1]),
        should_stop=steps.should_stop,
        cluster=steps.cluster,
    )
    return embedding, notes


def _collect_notes(by_representation: dict[str, tuple[str, ...]]) -> list[str]:
    """Each note once, with the maps that it is about."""
    representations: dict[str, list[str]] = {}
    for representation, notes in by_representation.items():
        for note in notes:
            representations.setdefault(note, []).append(_NAMES[representation])
    return [
        f"{'All maps' if len(of) == len(by_representation) else ', '.join(of)}: {note}"
        for note, of in representations.items()
    ]


def _agreement(
    obs: "pd.DataFrame", columns: tuple[str, ...] | None, representations: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Scores by label column and representation, columns left out with the reason, notes."""
    from scfviz.analysis.metrics import choose_labels, score_agreement

    skipped: dict[str, str] = {}
    if columns is None:
        columns, skipped = choose_labels(obs)
    scores = {
        name: {
            representation: score_agreement(*values, obs[name]).as_dict()
            for representation, values in representations.items()
        }
        for name in columns
    }
    notes = [] if scores else ["There are no labels to compare with: no column of the dataset looks like cell labels."]
    return scores, skipped, notes
