"""Which gene sets a list or a whole ranking of genes is rich in.

The ranking's test is gene set enrichment analysis with shuffled genes. The shuffles of a set depend on nothing but its
size, so sets of one size share them, and a running sum is followed from hit to hit instead of over all genes: ten
thousand sets take seconds, where `gseapy` takes more than ten minutes for the same scores.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.differential_expression import adjust
from scfviz.analysis.expression import Progress, ShouldStop
from scfviz.analysis.gene_sets import GeneSet
from scfviz.errors import GeneError, OptionError, Stopped

if TYPE_CHECKING:
    import pandas as pd

SMALLEST, LARGEST = 5, 500
SMALLEST_RANKED = 15  # the running sum of a few genes is mostly chance
DIRECTIONS = ("higher", "lower")
LIST_COLUMNS = (
    "name",
    "description",
    "n_overlap",
    "n_set",
    "n_list",
    "n_background",
    "fold",
    "pvals",
    "pvals_adj",
    "genes",
)
RANKING_COLUMNS = ("name", "description", "es", "nes", "pvals", "fdr", "n_set", "n_leading", "genes")


def enrich_list(
    genes: Sequence[str],
    sets: Sequence[GeneSet],
    background: Sequence[str],
    *,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> "pd.DataFrame":
    """Over-representation of a list of genes in gene sets (hypergeometric test).

    Parameters
    ----------
    genes
        The list, for example the genes that are higher in a selection.
    background
        Every gene that could have been on the list: the tested, measured ones. Sets are cut down to it.
    smallest, largest
        Sets with fewer or more genes of the background are left out.

    Returns
    -------
    DataFrame, the smallest p first: `name`, `description`, `n_overlap`, `n_set`, `n_list`, `n_background`, `fold`
    (overlap over what chance gives), `pvals`, `pvals_adj` (Benjamini-Hochberg over the sets that remain), `genes`
    (the overlap, with commas).

    Raises
    ------
    GeneError
        No gene of the list is in the background.
    OptionError
        No set remains.
    """
    import pandas as pd
    from scipy.stats import hypergeom

    universe = set(map(str, background))
    chosen = set(map(str, genes)) & universe
    if not chosen:
        raise GeneError("None of the genes of the list is among the tested ones.", "At least one is needed.")
    cut = cut_down(sets, universe, smallest, largest)
    overlaps = []
    for number, (_, members) in enumerate(cut):
        if number % 500 == 0:
            _look_up(number / len(cut), progress, should_stop)
        overlaps.append(sorted(members & chosen))
    n_overlap = np.array([len(overlap) for overlap in overlaps])
    n_set = np.array([len(members) for _, members in cut])
    table = pd.DataFrame(
        {
            "name": [one.name for one, _ in cut],
            "description": [one.description for one, _ in cut],
            "n_overlap": n_overlap,
            "n_set": n_set,
            "n_list": len(chosen),
            "n_background": len(universe),
            "fold": n_overlap / (n_set * len(chosen) / len(universe)),
            "pvals": hypergeom.sf(n_overlap - 1, len(universe), n_set, len(chosen)),
            "genes": [", ".join(overlap) for overlap in overlaps],
        }
    )
    table["pvals_adj"] = adjust(table["pvals"].to_numpy())
    table = table[list(LIST_COLUMNS)]
    return table.sort_values(["pvals", "fold"], ascending=[True, False], kind="stable", ignore_index=True)


def enrich_ranking(
    names: Sequence[str],
    scores: Sequence[float],
    sets: Sequence[GeneSet],
    *,
    smallest: int = SMALLEST_RANKED,
    largest: int = LARGEST,
    n_permutations: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> "pd.DataFrame":
    """Gene set enrichment analysis of a ranking of genes (preranked, weight 1).

    Parameters
    ----------
    names, scores
        Genes and the value they are ranked by, for example `scores` of a differential expression.
    smallest, largest
        Sets with fewer or more genes of the ranking are left out.
    n_permutations
        Shuffles of the genes; about half of them fall on a side, so the smallest p value that can be seen is about
        2 / n_permutations.

    Returns
    -------
    DataFrame, the largest normalised score first: `name`, `description`, `es`, `nes` (above zero: at the top of the
    ranking), `pvals` (share of shuffles on the same side that score as high, the set itself counted), `fdr` (false
    discovery rate), `n_set`, `n_leading`, `genes` (leading edge, the most extreme first, with commas).

    Raises
    ------
    OptionError
        Names and scores do not fit together, or no set remains.

    Source: Subramanian et al. 2005, doi:10.1073/pnas.0506580102; Korotkevich et al. 2016, doi:10.1101/060012 (shuffles
    shared by sets of one size).
    """
    import pandas as pd

    ranking = pd.Series(np.asarray(scores, dtype=np.float64), index=[str(name) for name in names])
    ranking = ranking[np.isfinite(ranking.to_numpy())]
    ranking = ranking[~ranking.index.duplicated()].sort_values(ascending=False, kind="stable")
    if len(ranking) < 2 or ranking.nunique() < 2:
        raise OptionError("The ranking has no two different scores.", "Genes need scores to be ranked by.")
    place = {name: i for i, name in enumerate(ranking.index)}
    weights = np.abs(ranking.to_numpy())
    cut = cut_down(sets, set(place), smallest, min(largest, len(place) - 1))
    n_set = np.array([len(members) for _, members in cut])
    shuffled = _shuffle(weights, np.unique(n_set), n_permutations, seed, progress, should_stop)
    rows, es = [], np.empty(len(cut))
    for number, (one, members) in enumerate(cut):
        places = np.sort(np.fromiter((place[gene] for gene in members), np.int64, len(members)))
        es[number], leading = _running_sum(places, weights)
        genes = ranking.index[leading if es[number] >= 0 else leading[::-1]]
        rows.append((one.name, one.description, len(leading), ", ".join(genes)))
    table = pd.DataFrame(rows, columns=["name", "description", "n_leading", "genes"])
    table["es"], table["n_set"] = es, n_set
    table["nes"], table["pvals"], table["fdr"] = _judge(es, n_set, shuffled)
    table = table[list(RANKING_COLUMNS)]
    return table.sort_values("nes", ascending=False, kind="stable", ignore_index=True)


def check_thresholds(direction: str, max_padj: float, min_change: float, most: int) -> None:
    """Refuse thresholds that make no sense.

    Raises
    ------
    OptionError
        A side is unknown, or a number is out of its range.
    """
    if direction not in DIRECTIONS:
        raise OptionError(f"There is no side '{direction}'.", f"There are: {', '.join(DIRECTIONS)}.")
    if not (0 < max_padj <= 1 and 0 <= min_change < np.inf and most >= 1):
        raise OptionError(
            "A threshold of the list is out of range.",
            "An adjusted p above 0 up to 1, a fold change from 0, and at least one gene.",
            "Change it.",
        )


def top_genes(table: "pd.DataFrame", direction: str, max_padj: float, min_change: float, most: int) -> list[str]:
    """The genes of a comparison that differ most, the most extreme score first.

    Parameters
    ----------
    table
        Of `compare_cells` or `compare_donors`.
    direction
        "higher" or "lower" in the first group.
    max_padj, min_change
        Largest adjusted p value, smallest log2 fold change in that direction.
    most
        At most this many.
    """
    check_thresholds(direction, max_padj, min_change, most)
    sign = 1 if direction == "higher" else -1
    scores = sign * table["scores"].to_numpy(float)
    with np.errstate(invalid="ignore"):
        fits = (table["pvals_adj"].to_numpy(float) <= max_padj) & (scores > 0)
        fits &= sign * table["logfoldchanges"].to_numpy(float) >= min_change
    kept = np.flatnonzero(fits)
    kept = kept[np.argsort(-scores[kept], kind="stable")][:most]
    return list(dict.fromkeys(gene_symbols(table).iloc[kept]))


def gene_symbols(table: "pd.DataFrame") -> "pd.Series":
    """What gene sets call the genes of a comparison: the model's symbols, else the file's own names."""
    names = table["names"].astype(str)
    if "model_gene" not in table:
        return names
    symbols = table["model_gene"].astype(str)
    return symbols.where(symbols != "", names)


def cut_down(
    sets: Sequence[GeneSet], universe: set[str], smallest: int, largest: int
) -> list[tuple[GeneSet, set[str]]]:
    """Sets with those of their genes that are in the universe, where these are neither too few nor too many.

    Raises
    ------
    OptionError
        None remains.
    """
    cut = [(one, members) for one in sets if smallest <= len(members := universe.intersection(one.genes)) <= largest]
    if not cut:
        raise OptionError(
            f"None of the {len(sets):,} gene sets has {smallest} to {largest} of the {len(universe):,} genes.",
            "At least one set must fit.",
            "Change the limits, or check that the sets are of human genes.",
        )
    return cut


def _look_up(share: float, progress: Progress | None, should_stop: ShouldStop | None) -> None:
    if should_stop is not None and should_stop():
        raise Stopped
    if progress is not None:
        progress(share)


def _sums(places: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The running sum just after and just before each hit; `places` ascend along the last axis, (..., k)."""
    size = places.shape[-1]
    steps = weights[places]
    total = steps.sum(axis=-1, keepdims=True)
    # Genes that all score zero weigh alike.
    steps = np.where(total > 0, steps / np.where(total > 0, total, 1), 1 / size)
    misses = (places - np.arange(size)) / (len(weights) - size)
    after = np.cumsum(steps, axis=-1) - misses
    return after, after - steps


def _running_sum(places: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The enrichment score of one set, and the places of its leading edge."""
    after, before = _sums(places, weights)
    top, bottom = int(after.argmax()), int(before.argmin())
    if after[top] >= -before[bottom]:
        return float(after[top]), places[: top + 1]
    return float(before[bottom]), places[bottom:]


def _shuffle(
    weights: np.ndarray,
    sizes: np.ndarray,
    n_permutations: int,
    seed: int,
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> dict[int, np.ndarray]:
    """Enrichment scores of random sets by size, float64 (n_permutations,) each.

    Each shuffle draws as many genes as the largest set has; the first k of them are its random set of k genes.
    """
    draws = np.random.default_rng(seed)
    largest, n_genes = int(sizes.max()), len(weights)
    drawn = np.stack([draws.choice(n_genes, largest, replace=False) for _ in range(n_permutations)])
    work, done, scores = float(sizes.sum()), 0.0, {}
    for size in map(int, sizes):
        _look_up(done / work, progress, should_stop)
        after, before = _sums(np.sort(drawn[:, :size], axis=1), weights)
        top, bottom = after.max(axis=1), before.min(axis=1)
        scores[size] = np.where(top >= -bottom, top, bottom)
        done += size
    return scores


def _judge(
    es: np.ndarray, n_set: np.ndarray, shuffled: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised scores, p values and false discovery rates, (n_sets,) each, side by side (Subramanian et al.)."""
    nes, pvals, fdr = np.empty(len(es)), np.empty(len(es)), np.empty(len(es))
    null, weight = [], []
    for size, scores in shuffled.items():
        of_size = n_set == size
        for is_up in (True, False):
            side = np.abs(scores[(scores >= 0) == is_up])
            mean = side.mean() if side.size else np.nan
            null.append((side / mean if side.size else side) * (1 if is_up else -1))
            weight.append(np.full(side.size, of_size.sum()))
            cells = np.flatnonzero(of_size & ((es >= 0) == is_up))
            nes[cells] = es[cells] / mean
            higher = side.size - np.searchsorted(np.sort(side), np.abs(es[cells]), side="left")
            pvals[cells] = (higher + 1) / (side.size + 1)
    everything, counted = np.concatenate(null), np.concatenate(weight).astype(np.float64)
    for is_up in (True, False):
        mine, theirs = (es >= 0) == is_up, (everything >= 0) == is_up
        fdr[mine] = _share_above(np.abs(everything[theirs]), counted[theirs], np.abs(nes[mine])) / _share_above(
            np.abs(nes[mine]), np.ones(mine.sum()), np.abs(nes[mine])
        )
    # Without a single shuffle on its side a score has nothing to be compared with.
    return np.where(np.isfinite(nes), nes, 0.0), pvals, np.nan_to_num(np.minimum(fdr, 1.0), nan=1.0)


def _share_above(values: np.ndarray, weights: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Weighted share of values at or above each limit."""
    order = np.argsort(values)
    beyond = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    return beyond[np.searchsorted(values[order], limits, side="left")] / max(beyond[0], 1e-300)
