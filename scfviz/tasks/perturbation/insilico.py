"""A gene's counts changed in the cells' own input, and what the model makes of it: exploration, not a prediction.

Columns of `cells`: in_silico_shift. Arrays: places, moved (n_kept, 2), of the cells that were computed, else NaN.
Tables: `genes`, one row a gene that was measured: what the model expects to change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import GeneError, OptionError
from scfviz.tasks.perturbation.options import KNOCKOUT, OVEREXPRESS, InSilicoOptions
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation

SHIFT = "in_silico_shift"
EXPLORATION = (
    "Exploration, not a prediction that was tested: it says how the model's picture of a cell depends on one number of "
    "its input. No experiment was learned from."
)
_PERCENTILE, _N_NEIGHBORS = 99, 15


@dataclass(frozen=True)
class InSilicoChange:
    """What the model makes of changed counts.

    Attributes
    ----------
    before, after
        float32 (n_cells, D): embeddings of the cells as they are and with the gene changed.
    change, error
        float64 (n_genes,): mean change of expected expression over cells, ln(1 + counts per 10,000), and its standard
        error.
    n_changed
        Cells whose input is another now; the others do not move.
    level
        Counts per 10,000 that the gene was set to.
    """

    before: np.ndarray
    after: np.ndarray
    change: np.ndarray
    error: np.ndarray
    n_changed: int
    level: float


def memory(options: dict[str, Any]) -> Need:
    """Embeddings and expected expression of the sampled cells, twice; other cells hardly count."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    width = 4 * info.config.cell_embedding_width
    cells = int(options.get("most_cells", 1_000)) * (2 * width + 3 * 4 * info.config.n_genes)
    return Need(1.2e9 + 8 * info.n_parameters + cells, 100.0, "Embeddings and expected expression of the sample")


def perturb_in_silico(
    counts: "AlignedCounts",
    model: "ScFoundation",
    gene: str,
    *,
    mode: str = KNOCKOUT,
    precision: str = "auto",
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> InSilicoChange:
    """Change one gene's counts in cells and compare what the model makes of them; see `EXPLORATION`.

    Parameters
    ----------
    counts
        In the model's gene order; a sample of cells that fits into memory. Not changed.
    gene
        A symbol, alias or Ensembl ID.
    mode
        "knockout" sets its counts to zero; "overexpress" to its 99th percentile among the cells that have it, at each
        cell's depth.
    precision
        See `embed_cells`, but "auto" is fp32: of a difference of two passes bf16's rounding is most of what most genes
        show (measured, see `benchmarks/NOTES.md`).

    Raises
    ------
    GeneError
        The gene is unknown, was not measured, or no cell has counts of it.
    """
    from scfviz.model.infer import embed_cells, predict_expression

    column = find_gene(counts, gene)
    block = counts.rows(0, counts.n_obs)
    changed, level = change_counts(block, column, mode, gene)
    differs = np.flatnonzero(np.asarray(abs(changed - block).sum(axis=1)).ravel() > 0)
    options = {"precision": "fp32" if precision == "auto" else precision, "device": device, "should_stop": should_stop}
    total = 4 * counts.n_obs
    done = iter(range(0, total, counts.n_obs))

    def step() -> Callable[[int, int], None]:
        first = next(done)
        return lambda n, of: progress(first + int(counts.n_obs * n / max(of, 1)), total)

    before = embed_cells(block, model, progress=step(), **options).values
    after = np.array(before)
    after[differs] = embed_cells(changed[differs], model, progress=step(), **options).values if len(differs) else 0
    expected = predict_expression(block[differs], model, progress=step(), **options) if len(differs) else None
    other = predict_expression(changed[differs], model, progress=step(), **options) if len(differs) else None
    difference = np.zeros((1, counts.n_genes)) if expected is None else other.astype(np.float64) - expected
    error = difference.std(axis=0, ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0 * difference[0]
    return InSilicoChange(before, after, difference.mean(axis=0), error, len(differs), level)


def find_gene(counts: "AlignedCounts", gene: str) -> int:
    """Column of a gene that was measured.

    Raises
    ------
    GeneError
        It is unknown, or was not measured.
    """
    from scfviz.data.vocabulary import load_vocabulary

    symbol = load_vocabulary().lookup(gene) or gene
    found = np.flatnonzero(counts.genes == symbol)
    if not len(found) or not counts.is_measured[found[0]]:
        raise GeneError(
            f"'{gene}' is not among the genes of this dataset that the model knows.",
            "Only genes in the file can be changed.",
            "Choose another gene.",
        )
    return int(found[0])


def change_counts(block: "sp.csr_matrix", column: int, mode: str, gene: str) -> "tuple[sp.csr_matrix, float]":
    """Counts with one gene changed, and its new level in counts per 10,000.

    Raises
    ------
    GeneError
        No cell has counts of the gene.
    """
    import scipy.sparse as sp

    totals = np.maximum(np.asarray(block.sum(axis=1, dtype=np.float64)).ravel(), 1)
    own = np.asarray(block[:, column].todense(), dtype=np.float64).ravel()
    if not (own > 0).any():
        raise GeneError(
            f"None of the {block.shape[0]:,} cells has counts of '{gene}'.",
            "A gene can be switched off where it is on, and set to a level that some cells have.",
            "Choose other cells or another gene.",
        )
    level = 0.0
    target = np.zeros(len(own))
    if mode == OVEREXPRESS:
        level = float(np.percentile((own / totals * 1e4)[own > 0], _PERCENTILE))
        target = np.maximum(np.rint(level * totals / 1e4), own)
    table = sp.csc_matrix(block, copy=True).astype(np.float32)
    part = sp.csc_matrix(target[:, None].astype(np.float32))
    changed = sp.hstack([table[:, :column], part, table[:, column + 1 :]], format="csr")
    changed.eliminate_zeros()
    changed.sort_indices()
    return changed, level


def move_places(before: np.ndarray, after: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where cells go on a map: by how much the mean place of the nearest cells differs before and after.

    Parameters
    ----------
    before, after
        (n_cells, D) embeddings.
    places
        (n_cells, 2) on the map.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(_N_NEIGHBORS, len(before))
    finder = NearestNeighbors(n_neighbors=k).fit(before)
    typical = float(np.median(finder.kneighbors(before)[0])) + 1e-9

    def smoothed(points: np.ndarray) -> np.ndarray:
        apart, nearest = finder.kneighbors(points)
        weight = 1 / (apart + typical)
        return (weight[:, :, None] * places[nearest]).sum(axis=1) / weight.sum(axis=1, keepdims=True)

    return places + smoothed(after) - smoothed(before)


def run(cells: OpenedCells, options: InSilicoOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    import pandas as pd

    from scfviz.tasks.embedding.compute import build_map

    chosen = _choose_cells(cells.aligned, options)
    part = cells.aligned.subset(chosen)
    with steps.step(0.05, "Computing the cells with the gene changed"):
        found = perturb_in_silico(
            part,
            cells.model,
            options.gene,
            mode=options.mode,
            precision=options.precision,
            device=options.device,
            progress=steps.progress(0.05, 0.75),
            should_stop=steps.should_stop,
        )
    with steps.step(0.75, "Drawing the map"):
        places = steps.keep("places", lambda: build_map(found.before, seed=options.seed).umap)
        moved = move_places(found.before, found.after, places)
    shift = np.linalg.norm(found.after - found.before, axis=1) / max(_typical_distance(found.before), 1e-9)
    n_obs = cells.aligned.n_obs
    table = _genes(part, found)
    notes = [EXPLORATION, *_say(found, options, len(chosen), n_obs)]
    scores = {"share_changed": found.n_changed / len(chosen), "median_shift": float(np.median(shift))}
    columns = pd.DataFrame({SHIFT: _spread(shift, chosen, n_obs)}, index=cells.aligned.obs.index)
    arrays = {"places": _spread(places, chosen, n_obs), "moved": _spread(moved, chosen, n_obs)}
    about = {"provenance": {"gene": options.gene, "mode": options.mode, "level": found.level, "n_cells": len(chosen)}}
    return Result(cells.kept, columns, arrays, {"genes": table}, tuple(notes), scores, about)


def _choose_cells(counts: "AlignedCounts", options: InSilicoOptions) -> np.ndarray:
    rows = np.arange(counts.n_obs)
    if options.column is not None:
        if options.column not in counts.obs.columns:
            raise OptionError(
                f"The dataset has no column '{options.column}'.", "A column of the cells is needed.", "Choose another."
            )
        rows = np.flatnonzero(counts.obs[options.column].astype(str).to_numpy() == options.group)
        if len(rows) < 10:
            raise OptionError(
                f"{len(rows)} cells have '{options.group}' in '{options.column}'.",
                "At least 10 are needed.",
                "Choose another group.",
            )
    if len(rows) > options.most_cells:
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, options.most_cells, replace=False))
    return rows


def _typical_distance(points: np.ndarray) -> float:
    """Median distance of a cell to its nearest other one."""
    from sklearn.neighbors import NearestNeighbors

    if len(points) < 2:
        return 1.0
    return float(np.median(NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]))


def _genes(counts: "AlignedCounts", found: InSilicoChange) -> "pd.DataFrame":
    import pandas as pd

    measured = np.flatnonzero(counts.is_measured)
    change, error = found.change[measured], found.error[measured]
    table = pd.DataFrame(
        {
            "gene": counts.genes[measured].astype(str),
            "change": change,
            "low": change - 1.96 * error,
            "high": change + 1.96 * error,
        }
    )
    return table.sort_values("change", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _say(found: InSilicoChange, options: InSilicoOptions, n_chosen: int, n_obs: int) -> list[str]:
    what = "has counts of it" if options.mode == KNOCKOUT else f"was below {found.level:,.1f} counts per 10,000"
    notes = [
        f"{found.n_changed:,} of {n_chosen:,} cells change: the gene {options.gene} {what} there. Cells whose input is "
        "the same do not move."
    ]
    if n_chosen < n_obs:
        notes.append(f"{n_chosen:,} of {n_obs:,} cells were computed.")
    return notes


def _spread(values: np.ndarray, rows: np.ndarray, n_obs: int) -> np.ndarray:
    found = np.full((n_obs, *values.shape[1:]), np.nan, dtype=np.float32)
    found[rows] = values
    return found
