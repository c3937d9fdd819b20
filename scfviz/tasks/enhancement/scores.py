"""What an enhancement is worth on the very cells it is made for: molecular cross-validation, without a known truth.

A tenth of every cell's counts is held back (binomial, gene by gene); all methods see the rest and are compared with
what was held back. Nothing is tuned on it: numbers of neighbours and ranks are chosen on a tenth of the rest.
Correlations are of counts per 10,000, without a logarithm: there they follow a known law as the depth grows, and mixing
a constant into the counts gains nothing.

Tables: `methods` (one row each: correlation per gene, fold, losses, invented correlations), `genes` (correlations,
gain and light of each gene), `curve` (correlation of raw counts by share of the depth).

Source: molecular cross-validation, Batson et al. 2019, doi:10.1101/786269.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scfviz.data.normalise import log_values
from scfviz.errors import Stopped
from scfviz.tasks.enhancement.correlations import Correlations, fit_depth_curve, fold_at, interval
from scfviz.tasks.enhancement.invented import count_invented
from scfviz.tasks.enhancement.lights import judge_genes
from scfviz.tasks.enhancement.methods import (
    SMALLEST_SHARE,
    Neighbourhood,
    loss_of,
    shares_at_depth,
    split_counts,
    values_at_depth,
)
from scfviz.tasks.enhancement.mixture import GENE_MEANS, Mixture, learn_mixture
from scfviz.tasks.enhancement.options import COMBINATION, DATASET_ALONE, INPUT, POSTERIOR

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.tasks.enhancement.compute import Expect, Weights

MOST_CELLS = 3_000  # whose counts are split, a random sample of more
N_SCORED, N_SCORED_BY_MODEL = 600, 120  # cells that are compared; fewer where a model must answer for each
N_DRAWN_BY_MODEL = 60  # cells in which invented correlations are counted, where a model must answer
# Cells with held-back counts of a gene, so that its correlation means something: the first that leaves 100 genes.
FEWEST_CELLS = (20, 10, 5)
FEWEST_GENES = 100
FEWEST_CORRELATION = 0.01  # of raw counts, below which no depth can be told
MOST_GENES = 4_000  # that are compared, a random sample of more
HELD_BACK = 0.1
MOST_MISFIT = 2.0  # of the curve of thinned counts, as a fold of the counts themselves
FEWEST_TOLD = 1_000  # entries that a coverage rests on
CURVE = (0.1, 0.2, 0.35, 0.6, 1.0)  # shares of the depth at which raw counts are compared

_NO_FOLD = "The counts say too little about those held back to tell a fold: the cells are too few or too shallow."

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Verdict:
    """What the methods are worth; see the module's text for the tables.

    Attributes
    ----------
    scores
        Numbers by name.
    mixture
        What each method is worth in the combinations.
    notes
        What was sampled, or could not be judged.
    """

    scores: dict[str, Any]
    methods: "pd.DataFrame"
    genes: "pd.DataFrame"
    curve: "pd.DataFrame"
    mixture: Mixture
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Cells whose counts are split, and what is compared.

    Attributes
    ----------
    train, test
        Sparse (n, n_genes), counts that the methods see, and those held back.
    target
        float64 (n,), depth that is asked for, as many times the depth of `train` as for the whole cells.
    rows, genes
        int64: cells and genes that are compared.
    counted, fewest_cells
        bool (n_genes compared,): genes with held-back counts in so many cells, which medians are over.
    is_measured
        bool (n_genes,).
    """

    train: sparse.csr_matrix
    test: sparse.csr_matrix
    target: np.ndarray
    rows: np.ndarray
    genes: np.ndarray
    counted: np.ndarray
    fewest_cells: int
    is_measured: np.ndarray
    seed: int

    @property
    def depth(self) -> np.ndarray:
        """float64 (n,), counts that the methods see."""
        return np.asarray(self.train.sum(axis=1, dtype=np.float64)).ravel()

    def seen(self) -> np.ndarray:
        """float64 (n_rows, n_genes compared), counts that the methods see."""
        return self.train[self.rows][:, self.genes].toarray().astype(np.float64)

    def held_back(self) -> tuple[np.ndarray, np.ndarray]:
        """Held-back counts of compared genes in compared cells, and all held-back counts of each of these cells."""
        test = self.test[self.rows]
        return test[:, self.genes].toarray().astype(np.float64), np.asarray(test.sum(axis=1, dtype=np.float64)).ravel()


def judge(
    counts: sparse.csr_matrix,
    is_measured: np.ndarray,
    fold: np.ndarray,
    expect: "Expect | None",
    names: np.ndarray,
    *,
    method: str = COMBINATION,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    n_scored: int | None = None,
) -> Verdict:
    """Compare all methods on held-back counts of the user's own cells.

    Parameters
    ----------
    counts, is_measured
        See `Enhancer`.
    fold
        (n_obs,) target depth over own depth of each cell.
    expect
        The model; `None` leaves out the combination with it.
    names
        (n_genes,) of the genes.
    method
        The one that is asked for: the lights of the genes are about it.
    n_scored
        Cells that are compared; 600, or 120 with a model, when left out.
    """
    n_scored = n_scored or (N_SCORED if expect is None else N_SCORED_BY_MODEL)
    split = split_cells(counts, is_measured, fold, n_scored, seed)
    if split is None:
        return _cannot_tell(counts, names)
    found = judge_split(split, expect, names, method=method, progress=progress, should_stop=should_stop)
    sample = "" if len(split.rows) == counts.shape[0] else f", a random sample of {counts.shape[0]:,} cells"
    note = (
        f"The verdict compares {len(split.rows):,} cells and {int(split.counted.sum()):,} genes{sample}; a gene takes "
        f"part with held-back counts in at least {split.fewest_cells} of these cells."
    )
    return replace(found, notes=(note, *found.notes))


def judge_split(
    split: Split,
    expect: "Expect | None",
    names: np.ndarray,
    *,
    method: str = COMBINATION,
    progress: Progress = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict:
    """The same for counts that are split already; see `judge`."""
    from scfviz.tasks.enhancement.compute import MODEL

    def step(number: int) -> None:
        if should_stop():
            raise Stopped
        progress(number, 6)

    seed = split.seed
    step(1)
    fold = split.target / split.depth
    mixture = learn_mixture(split.train, split.is_measured, split.genes, fold, seed=seed)
    step(2)
    shares, weights, clusters, size = predict_shares(split, mixture, expect)
    step(4)
    test, test_depth = split.held_back()
    correlations = Correlations(test / test_depth[:, None], split.counted, seed=seed)
    depth, target = split.depth[split.rows], split.target[split.rows]
    for name, share in shares.items():
        correlations.add(name, shares_at_depth(split.seen(), share, depth, target))
    for share, thinned in thinned_shares(split):
        correlations.add(share, thinned)
    step(5)
    table = _compare(split, shares, correlations)
    drawn = split.rows[: N_SCORED if expect is None else N_DRAWN_BY_MODEL]
    invented = count_invented(split, mixture, weights, expect, clusters, drawn)
    for name in ("invented_per_1000", "false_positives"):
        table[name] = [invented.get(method, {}).get(name, np.nan) for method in table["method"]]
    genes = judge_genes(split, names, shares, correlations, method if method in shares else DATASET_ALONE)
    scores = _headline(table, genes, correlations, method)
    if COMBINATION in weights:
        of_posterior = mixture.weights.get(POSTERIOR, 0.0)
        scores["weight_of_the_model"] = float(weights[COMBINATION].exponents[MODEL]) * of_posterior
    if (coverage := interval_coverage(split, shares.get(COMBINATION, shares[DATASET_ALONE]), size)) is not None:
        scores["interval_coverage"] = coverage
    table["weight"] = [mixture.weights.get(name, np.nan) for name in table["method"]]
    scores |= {"cells_compared": len(split.rows), "genes_compared": int(split.counted.sum())}
    curve = _curve_table(correlations)
    step(6)
    notes = () if table["fold"].notna().any() else (_NO_FOLD,)
    return Verdict(scores, table, genes, curve, mixture, notes)


def split_cells(
    counts: sparse.csr_matrix, is_measured: np.ndarray, fold: np.ndarray, n_scored: int, seed: int
) -> Split | None:
    """Hold back a tenth of the counts; `None` where no gene has counts in enough cells."""
    rng = np.random.default_rng((seed, 0))
    chosen = np.sort(rng.permutation(counts.shape[0])[:MOST_CELLS])
    train, test = split_counts(counts[chosen], HELD_BACK, rng)
    left = np.flatnonzero(np.asarray(train.sum(axis=1)).ravel() > 0)
    train, test, fold = train[left], test[left], fold[chosen][left]
    scorable = np.flatnonzero(np.asarray(test.sum(axis=1)).ravel() > 0)
    rows = np.sort(rng.permutation(scorable)[:n_scored])
    n_cells = np.bincount(test[rows].indices, minlength=len(is_measured)) * is_measured
    genes = np.flatnonzero(n_cells >= FEWEST_CELLS[-1])
    if not len(genes):
        return None
    genes = np.sort(rng.permutation(genes)[:MOST_GENES])
    fewest = next((n for n in FEWEST_CELLS if (n_cells[genes] >= n).sum() >= FEWEST_GENES), FEWEST_CELLS[-1])
    depth = np.asarray(train.sum(axis=1, dtype=np.float64)).ravel()
    counted = n_cells[genes] >= fewest
    return Split(train, test, depth * fold, rows, genes, counted, fewest, is_measured, seed)


def predict_shares(
    split: Split, mixture: Mixture, expect: "Expect | None"
) -> tuple[dict[str, np.ndarray], dict[str, "Weights"], np.ndarray, np.ndarray]:
    """Shares of the compared genes that each method expects, weights of the posteriors, and clusters of all cells.

    The last is the size of the gamma posterior of the combination, float64 (n_rows, n_genes compared).
    """
    from scfviz.tasks.enhancement.compute import Enhancer

    space = Neighbourhood(split.train, seed=split.seed)
    found = {name: mixture.simple(name, space)(split.rows, split.genes) for name in mixture.simple_methods}
    enhancer, weights = Enhancer(split.train, split.is_measured, seed=split.seed), {}
    for name, view in {DATASET_ALONE: None, COMBINATION: expect}.items():
        if name == COMBINATION and expect is None:
            continue
        weights[name] = enhancer.learn(split.target, view)
        _, size, rate = enhancer.posterior(split.rows, split.target, weights[name], view, split.genes)
        share = size / rate
        found[name] = mixture.mix(space, lambda *_, share=share: share)(split.rows, split.genes)
        found.setdefault(POSTERIOR, share)
    return found, weights, space.clusters, size


def interval_coverage(split: Split, share: np.ndarray, size: np.ndarray) -> float | None:
    """Share of held-back counts inside the interval that should hold 90 % of them; None where nothing can be told.

    Entries whose interval is zero alone are left out: most are zero, and nearly all intervals would hold.
    """
    from scfviz.tasks.enhancement.compute import INTERVAL
    from scfviz.tasks.enhancement.fit import more_counts

    test, depth = split.held_back()
    low, high = (more_counts(end, size, size / np.maximum(share, SMALLEST_SHARE), depth) for end in INTERVAL)
    is_told = high > 0
    return float(((low <= test) & (test <= high))[is_told].mean()) if is_told.sum() >= FEWEST_TOLD else None


def thinned_shares(split: Split) -> list[tuple[float, np.ndarray]]:
    """Shares of the genes in the counts of the compared cells, with a part of these counts, by that part."""
    rng, whole, found = np.random.default_rng((split.seed, 3)), split.train[split.rows], []
    for share in CURVE:
        part = whole if share == 1 else split_counts(whole, share, rng)[1]
        depth = np.maximum(np.asarray(part.sum(axis=1, dtype=np.float64)).ravel(), 1.0)
        found.append((share, part[:, split.genes].toarray() / depth[:, None]))
    return found


def _folds(correlations: Correlations, name: Any) -> np.ndarray:
    """(1 + n_resampled,) depth at which raw counts reach the correlation of a method, over that of the raw counts."""
    curve = np.stack([correlations.median(share) for share in CURVE], axis=1)
    fitted = fit_depth_curve(np.array(CURVE), curve)
    return fold_at(correlations.median(name), *fitted) / fold_at(correlations.median(INPUT), *fitted)


def _fits_curve(correlations: Correlations) -> bool:
    """Whether the curve of thinned counts gives the counts themselves their own depth: else it is noise."""
    curve = np.array([[correlations.median(share)[0] for share in CURVE]])
    own = fold_at(correlations.median(INPUT)[:1], *fit_depth_curve(np.array(CURVE), curve))[0]
    return bool(1 / MOST_MISFIT < own < MOST_MISFIT)


def _compare(split: Split, shares: dict[str, np.ndarray], correlations: Correlations) -> "pd.DataFrame":
    import pandas as pd

    test, test_depth = split.held_back()
    truth, seen = log_values(test, test_depth[:, None]), split.seen()
    depth, target = split.depth[split.rows], split.target[split.rows]
    means = np.asarray(split.train.sum(axis=0, dtype=np.float64)).ravel()[split.genes] / split.train.sum()
    is_clear = interval(correlations.median(INPUT))[1] > FEWEST_CORRELATION and _fits_curve(correlations)
    rows = []
    for name, share in shares.items():
        at_depth = means[None] if name == GENE_MEANS else shares_at_depth(seen, share, depth, target)
        row: dict[str, Any] = {"method": name}
        of_row = dict(zip(_ends("correlation"), interval(correlations.median(name)), strict=True))
        folds = np.exp(interval(np.log(_folds(correlations, name)))).tolist() if is_clear else [np.nan] * 3
        of_row |= dict(zip(_ends("fold"), folds, strict=True))
        row |= of_row
        row["poisson_loss"] = float(loss_of(np.broadcast_to(at_depth, test.shape), means, test, test_depth).mean())
        values = values_at_depth(seen, share, depth, target).astype(np.float64)
        row["mse"] = float(((values - truth) ** 2).mean())
        rows.append(row)
    return pd.DataFrame(rows)


def _headline(
    methods: "pd.DataFrame", genes: "pd.DataFrame", correlations: Correlations, method: str
) -> dict[str, Any]:
    by_name = methods.set_index("method")
    asked = method if method in by_name.index else DATASET_ALONE
    simple = by_name.drop(index=[DATASET_ALONE, COMBINATION, POSTERIOR], errors="ignore")["correlation"]
    best = str(simple.idxmax())
    scores: dict[str, Any] = {
        "effective_fold": float(by_name.loc[asked, "fold"]),
        "effective_fold_low": float(by_name.loc[asked, "fold_low"]),
        "effective_fold_high": float(by_name.loc[asked, "fold_high"]),
        "correlation_per_gene": float(by_name.loc[asked, "correlation"]),
        "correlation_per_gene_of_input": float(by_name.loc[INPUT, "correlation"]),
        "best_simple_method": best,
        "effective_fold_of_best_simple_method": float(by_name.loc[best, "fold"]),
        "genes_not_to_be_used": int((genes["light"] == "do not use").sum()),
        "genes_to_use": int((genes["light"] == "use").sum()),
    }
    gains = {"gain_over_best_simple_method": (asked, best)} if asked != best else {}
    gains |= {"gain_by_the_model": (COMBINATION, DATASET_ALONE)} if COMBINATION in by_name.index else {}
    for name, pair in gains.items():
        scores |= dict(zip(_ends(name), interval(correlations.gain(*pair)), strict=True))
    return {name: value for name, value in scores.items() if isinstance(value, str) or np.isfinite(value)}


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _curve_table(correlations: Correlations) -> "pd.DataFrame":
    import pandas as pd

    rows = [(share, *interval(correlations.median(share))) for share in CURVE]
    return pd.DataFrame(rows, columns=["share_of_depth", "correlation", "correlation_low", "correlation_high"])


def _cannot_tell(counts: sparse.csr_matrix, names: np.ndarray) -> Verdict:
    import pandas as pd

    columns = ["gene", "n_cells", "correlation_input", "correlation", "gain", "gain_error", "loss_gain", "light"]
    note = (
        f"No verdict: no gene has held-back counts in {FEWEST_CELLS[-1]} of the {counts.shape[0]:,} cells, so nothing "
        f"says whether the enhanced values are better than the counts."
    )
    empty = [pd.DataFrame(columns=names) for names in (["method"], columns, ["share_of_depth", "correlation"])]
    mixture = Mixture(min(15, counts.shape[0] - 1), 5, {POSTERIOR: 1.0})
    return Verdict({}, *empty, mixture, (note,))
