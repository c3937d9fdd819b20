"""Values at the target depth, by any method: what the task writes, and `enhance_counts` gives.

Both learn what the methods are worth on the same held-back counts and give the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scfviz.data.normalise import log_values
from scfviz.errors import DatasetError, OptionError, Stopped
from scfviz.tasks.enhancement.compute import (
    INTERVAL,
    MODEL,
    Enhancer,
    Expect,
    Weights,
    expect_expression,
    read_counts,
    refuse_shallow,
)
from scfviz.tasks.enhancement.fit import more_counts
from scfviz.tasks.enhancement.methods import SMALLEST_SHARE, Neighbourhood, values_at_depth
from scfviz.tasks.enhancement.mixture import Mixture, learn_mixture
from scfviz.tasks.enhancement.options import COMBINATION, DATASET_ALONE, POSTERIOR, WITH_INTERVALS
from scfviz.tasks.enhancement.scores import N_SCORED, N_SCORED_BY_MODEL, split_cells

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation

MOST_RESULT_BYTES = 2_000_000_000  # of `enhance_counts`, three arrays together; a fourth is needed on the way
FEWEST_CELLS = 3
ENHANCED, LOW, HIGH = "enhanced", "low", "high"


@dataclass(frozen=True)
class EnhancedCounts:
    """Expression of chosen genes that a deeper measurement would have shown, for all cells of a dataset.

    Attributes
    ----------
    values
        float32 (n_obs, n_chosen), ln(1 + counts per 10,000) of the counts that are expected at the target depth: those
        of the task's `enhanced`.
    low, high
        float32 (n_obs, n_chosen): the ends of the interval that holds 90 % of it, in the same unit. NaN, as `values`,
        where the file does not measure the gene.
    genes
        Names of the chosen genes, in the order of the columns.
    is_measured
        bool (n_chosen,): whether the file holds the gene.
    source_depth, target_depth
        float64 (n_obs,), counts per cell.
    weights, mixture
        What the prediction relied on: views of the posterior, and how much the posterior and the simple methods weigh.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    genes: tuple[str, ...]
    is_measured: np.ndarray
    source_depth: np.ndarray
    target_depth: np.ndarray
    weights: Weights
    mixture: Mixture


class Prediction:
    """Values of chosen genes by one method, a few cells at a time.

    Parameters
    ----------
    enhancer
        The counts.
    target
        float64 (n_obs,), counts per cell, none below the cell's own.
    genes
        int64 (n_genes,), measured ones.
    method
        One of `options.METHODS`.
    mixture
        What the methods are worth, see `learn_mixture`.
    expect
        The model, where the method is the combination.
    intervals
        Whether `of` gives intervals.
    always_ask
        Ask the model also where its answer has no weight.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        target: np.ndarray,
        genes: np.ndarray,
        method: str,
        mixture: Mixture,
        expect: Expect | None = None,
        *,
        intervals: bool = False,
        always_ask: bool = False,
    ):
        self._intervals = intervals
        self._enhancer, self._target, self._genes = enhancer, target, genes
        self.mixture = replace(mixture, weights={POSTERIOR: 1.0}) if method == POSTERIOR else mixture
        self.weights = enhancer.learn(target, expect) if method in WITH_INTERVALS else None
        self._space = Neighbourhood(enhancer.counts, seed=enhancer.seed)
        self._simple = self.mixture.simple(method, self._space) if self.weights is None else None
        of_posterior = 0.0 if self.weights is None else self.mixture.weights.get(POSTERIOR, 0.0)
        weight = 0.0 if self.weights is None or expect is None else self.weights.exponents[MODEL] * of_posterior
        self._expect = expect if weight > 0 or always_ask else None
        self._with_posterior = self.weights is not None and (of_posterior > 0 or intervals or always_ask)

    def gather(self, into: np.ndarray) -> None:
        """Sum the counts of neighbours for all cells at once into float32 (n_obs, n_genes), which may lie on disk."""
        if self._with_posterior:
            self._enhancer.around.smooth_all(self._genes, into)

    def of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`ENHANCED`, with intervals `LOW` and `HIGH`, too, of some cells: ln(1 + counts per 10,000), (n, n_genes).

        Intervals are as wide as the posterior says, around what all methods expect; simple methods have none.
        """
        genes, wanted, depth = self._genes, self._target[rows], self._enhancer.totals[rows]
        parts = {}
        if not self._with_posterior:
            seen = self._enhancer.around.counts_of(genes)[rows].toarray()
            share = (self._simple or self.mixture.mix(self._space, _nothing))(rows, genes)
        else:
            seen, size, rate = self._enhancer.posterior(rows, self._target, self.weights, self._expect, genes)
            share = self.mixture.mix(self._space, lambda *_: size / rate)(rows, genes)
            if self._intervals:
                rate = size / np.maximum(share, SMALLEST_SHARE)
                ends = (seen + more_counts(end, size, rate, wanted - depth) for end in INTERVAL)
                parts[LOW], parts[HIGH] = (log_values(end, wanted[:, None]) for end in ends)
        parts[ENHANCED] = values_at_depth(seen, share, depth, wanted)
        return parts


def _nothing(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """In place of a posterior that has no weight."""
    raise AssertionError("a posterior without weight was asked for")


def enhance_counts(
    aligned: "AlignedCounts",
    model: "ScFoundation | None",
    *,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    genes: Sequence[str] | None = None,
    method: str | None = None,
    device: str = "auto",
    seed: int = 0,
    cells_at_once: int = 64,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> EnhancedCounts:
    """Predict the expression of genes at a greater read depth, with intervals: the numbers of the task `enhancement`.

    The counts of the dataset stay in memory as a sparse matrix; results are made for a few cells at a time. Numbers
    depend neither on `cells_at_once` nor on which other genes are chosen. They do depend on the order of the cells, a
    little: cells drawn by their position say what each view and each method is worth.

    Parameters
    ----------
    aligned
        Counts in the model's gene order, at least 3 cells. Estimated counts with fractions are rounded.
    model
        `None` predicts from the dataset alone.
    target_depth
        Target read depth, in counts per cell (not log); not below the depth of any cell.
    depth_fold
        The same as a multiple of each cell's own depth, at least 1. One of the two is needed.
    genes
        Genes to predict, by the names in `aligned.genes`; all when left out, which only small datasets can hold.
    method
        "combination" of all methods and the model, which is the default with a model; "dataset alone", the same without
        it; or "posterior", which sees less and invents least.
    device
        Where the model runs, in fp32: `auto`, `cpu`, `cuda` or `mps`.
    seed
        Of the split of counts and of the principal components in which neighbours are found.
    cells_at_once
        Cells whose results are made together; memory follows it, numbers do not.
    progress
        Called with the cells done and the number of cells.
    should_stop
        Asked before each few cells.

    Raises
    ------
    OptionError
        No or impossible depths, a target depth below that of a cell, another method, the combination without a model,
        or more results than memory should hold.
    GeneError
        A gene is none of the dataset's, or the dataset is aligned to the genes of another model.
    DatasetError
        A cell has no counts, there are fewer than 3 cells, or counts are too few to be split.
    Stopped
        `should_stop` said so.

    Source: see `Enhancer` and `learn_mixture`.
    """
    from scfviz.model.infer import positions_of
    from scfviz.model.source import CellSource
    from scfviz.model.tokens import check_depth, refuse_empty_cells

    check_depth(target_depth, depth_fold)
    method = method or (DATASET_ALONE if model is None else COMBINATION)
    _check(target_depth, depth_fold, method, model)
    source = CellSource(aligned, aligned.genes if model is None else model.genes)
    refuse_few_cells(source.n_obs)
    chosen = positions_of(genes, aligned)
    shape = (source.n_obs, len(chosen))
    _refuse_large(shape)
    enhancer = Enhancer(read_counts(aligned), np.asarray(aligned.is_measured), seed=seed)
    refuse_empty_cells(enhancer.totals, source.names)
    target = np.full(shape[0], float(target_depth)) if depth_fold is None else enhancer.totals * depth_fold
    refuse_shallow(target, enhancer.totals, source.names)
    expect = expect_expression(model, device) if method == COMBINATION else None
    found_in_file = enhancer.is_measured[chosen]
    mixture = mixture_of(enhancer, target / enhancer.totals, with_model=expect is not None)
    made = Prediction(enhancer, target, chosen[found_in_file], method, mixture, expect, intervals=True)
    made.gather(np.empty((shape[0], int(found_in_file.sum())), dtype=np.float32))
    parts = {name: np.full(shape, np.nan, dtype=np.float32) for name in (ENHANCED, LOW, HIGH)}
    for start in range(0, shape[0], cells_at_once):
        if should_stop is not None and should_stop():
            raise Stopped
        rows = np.arange(start, min(start + cells_at_once, shape[0]))
        for name, part in made.of(rows).items():
            parts[name][rows[:, None], np.flatnonzero(found_in_file)] = part
        if progress is not None:
            progress(int(rows[-1]) + 1, shape[0])
    names = tuple(str(aligned.genes[position]) for position in chosen)
    return EnhancedCounts(
        parts[ENHANCED], parts[LOW], parts[HIGH], names, found_in_file, enhancer.totals, target, made.weights,
        made.mixture,
    )  # fmt: skip


def mixture_of(enhancer: Enhancer, fold: np.ndarray, *, with_model: bool) -> Mixture:
    """What the methods are worth, learned on the counts that `judge` leaves visible.

    Raises
    ------
    DatasetError
        The counts are too few to be split.
    """
    n_scored = N_SCORED_BY_MODEL if with_model else N_SCORED
    split = split_cells(enhancer.counts, enhancer.is_measured, fold, n_scored, enhancer.seed)
    if split is None:
        raise DatasetError(
            "No gene has counts in enough cells.",
            "A tenth of the counts is held back to learn what the methods are worth.",
            "Use more or deeper cells.",
        )
    return learn_mixture(split.train, split.is_measured, split.genes, split.target / split.depth, seed=enhancer.seed)


def refuse_few_cells(n_obs: int) -> None:
    """Refuse fewer than 3 cells.

    Raises
    ------
    DatasetError
        They are fewer.
    """
    if n_obs < FEWEST_CELLS:
        raise DatasetError(
            f"{n_obs} cells.", f"At least {FEWEST_CELLS} are needed: cells are compared.", "Use more cells."
        )


def _check(target_depth: float | None, depth_fold: float | None, method: str, model: "ScFoundation | None") -> None:
    if target_depth is None and depth_fold is None:
        raise OptionError(
            "No target depth is given.", "Enhancement needs a depth to predict for.", "For example a depth fold of 3."
        )
    if method not in WITH_INTERVALS:
        raise OptionError(
            f"There is no method '{method}' with intervals.",
            f"Those are {', '.join(WITH_INTERVALS)}.",
            "Choose one of them; simple methods are those of the task.",
        )
    if method == COMBINATION and model is None:
        raise OptionError(
            "The combination was asked for without a model.", f"'{DATASET_ALONE}' needs none.", "Give a model."
        )


def _refuse_large(shape: tuple[int, int]) -> None:
    if 12 * shape[0] * shape[1] > MOST_RESULT_BYTES:
        raise OptionError(
            f"{shape[1]:,} genes of {shape[0]:,} cells make {12 * shape[0] * shape[1] / 1e9:.1f} GB of results.",
            f"They must fit into {MOST_RESULT_BYTES / 1e9:.0f} GB.",
            f"Choose at most {MOST_RESULT_BYTES // (12 * shape[0]):,} genes, or fewer cells.",
        )
