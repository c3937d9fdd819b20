"""Cell types told apart by a model before and after it was adapted, beside variable genes + PCA, on held-out cells."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import VariableGenePca
from scfviz.benchmark.comparison import macro_f1, resample_labels
from scfviz.benchmark.representation import PCA, PROBES, probe
from scfviz.data.corpus_reader import Corpus, Split
from scfviz.data.normalise import log_normalise
from scfviz.errors import DatasetError
from scfviz.model.infer import embed_cells
from scfviz.model.scfoundation import ScFoundation

BEFORE, AFTER = "the model as it was", "adapted"
FEWEST = 5  # cells of a type, on either side
N_TRAIN, N_TEST = 600, 400


def score_types(
    corpus: Corpus,
    types: np.ndarray,
    models: Mapping[str, ScFoundation],
    *,
    n_train: int = N_TRAIN,
    n_test: int = N_TEST,
    seed: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Macro-F1 of cell types that plain probes read from each embedding; see `representation.probe`.

    Probes learn on cells that the model learned from, without their types, and are scored on held-out ones.

    Parameters
    ----------
    types
        object (n_rows,): the type of each cell of the corpus's one file, None where it has none.
    models
        By `BEFORE` and `AFTER`.

    Returns
    -------
    dict
        `n_train`, `n_test`, `n_types`; `scores` by probe and method; `gains` by probe: what `AFTER` has more than
        `BEFORE` and than the baseline: difference, and the ends of its 95 % interval over test cells.

    Raises
    ------
    DatasetError
        Fewer than two types have `FEWEST` cells among the held-out and among the other cells.
    Stopped
        `should_stop` said so.
    """
    sides = [_take(corpus, split, types, n, seed) for split, n in (("train", n_train), ("held-out cells", n_test))]
    kept = sorted(set.intersection(*({t for t in set(side[1]) if (side[1] == t).sum() >= FEWEST} for side in sides)))
    if len(kept) < 2:
        raise DatasetError(
            f"{len(kept)} types have {FEWEST} cells both among the held-out and among the other cells.",
            "Two are needed to see whether types are told apart.",
            "Take a column with fewer, larger types, or hold out cells instead of donors.",
        )
    counts, codes = [], []
    for block, names in sides:
        rows = np.flatnonzero(np.isin(names.astype(str), kept))
        counts.append(block[rows])
        codes.append(np.searchsorted(kept, names[rows].astype(str)))
    values = [log_normalise(block) for block in counts]
    baseline = VariableGenePca(seed=seed).fit(values[0])
    points = {PCA: [baseline.transform(part) for part in values]}
    for name, model in models.items():
        points[name] = [embed_cells(block, model, should_stop=should_stop).values for block in counts]
    predicted = {name: probe(train, codes[0], test) for name, (train, test) in points.items()}
    scores: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for metric in PROBES:
        labels = {name: predicted[name][metric] for name in points}
        scores[metric], drawn = resample_labels(labels, codes[1], macro_f1, seed=seed)
        gains[metric] = {
            name: [
                scores[metric][AFTER] - scores[metric][name],
                *map(float, np.quantile(drawn[AFTER] - drawn[name], (0.025, 0.975))),
            ]
            for name in (BEFORE, PCA)
        }
    return {
        "n_train": len(codes[0]),
        "n_test": len(codes[1]),
        "n_types": len(kept),
        "scores": scores,
        "gains": gains,
    }


def _take(
    corpus: Corpus, split: Split, types: np.ndarray, n_cells: int, seed: int
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts of typed cells of a split, (n, n_genes), and their types."""
    order = np.random.default_rng(seed).permutation(corpus.n_cells(split))
    rows, columns, data, names = [0], [], [], []
    for position in order.tolist():
        cell = corpus.cell(position, split)
        if (name := types[cell.file_row]) is None:
            continue
        columns.append(cell.genes)
        data.append(cell.counts)
        rows.append(rows[-1] + len(cell.genes))
        names.append(str(name))
        if len(names) == n_cells:
            break
    parts = (np.concatenate([np.empty(0, dtype), *some]) for dtype, some in ((np.float32, data), (np.int64, columns)))
    shape = (len(names), len(corpus.genes))
    return sparse.csr_matrix((*parts, rows), shape=shape, dtype=np.float32), np.array(names, dtype=object)
