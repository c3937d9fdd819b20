"""What modules mean: gene sets they are rich in, beside random sets of genes of the same size and expression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.differential_expression import adjust
from scfviz.analysis.enrichment import cut_down
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.analysis.gene_sets import GeneSet

N_RANDOM, N_BINS = 40, 10
_SMALLEST, _LARGEST, _MOST_ROWS = 5, 300, 25


@dataclass(frozen=True)
class Meaning:
    """Gene sets of modules.

    Attributes
    ----------
    table
        The best sets of each module: `module`, `name`, `description`, `n_overlap`, `n_set`, `fold`, `pvals`,
        `pvals_adj`, `random` (share of random sets of genes whose best set is as improbable), `genes`.
    names
        By module: the best set that beats 95 % of the random ones; empty where none does.
    """

    table: "pd.DataFrame"
    names: dict[int, str]


def enrich_modules(
    module: np.ndarray,
    names: np.ndarray,
    pool: np.ndarray,
    pool_mean: np.ndarray,
    sets: "Sequence[GeneSet]",
    *,
    seed: int = 0,
) -> Meaning:
    """Over-representation of each module's genes (hypergeometric test), and of random genes like them.

    Parameters
    ----------
    module, names
        (n_genes,) of the genes that take part.
    pool, pool_mean
        Names and mean expression of all genes that are expressed: the background, and what random genes are drawn from.

    Raises
    ------
    OptionError
        No set fits the genes.
    """
    import pandas as pd

    place = {name: i for i, name in enumerate(pool)}
    cut = cut_down(sets, set(place), _SMALLEST, _LARGEST)
    rows = np.concatenate([[place[gene] for gene in members] for _, members in cut])
    ends = np.cumsum([len(members) for _, members in cut])
    which = np.repeat(np.arange(len(cut)), np.diff(ends, prepend=0))
    member = sparse.csr_matrix((np.ones(len(rows), np.int32), (which, rows)), shape=(len(cut), len(pool)))
    n_set = np.asarray(member.sum(axis=1)).ravel()
    bins = np.minimum((np.argsort(np.argsort(pool_mean, kind="stable")) * N_BINS) // len(pool), N_BINS - 1)
    rng, tables, labels = np.random.default_rng(seed), [], {}
    for number in range(1, int(module.max(initial=0)) + 1):
        genes = np.array([place[name] for name in names[module == number] if name in place], dtype=np.int64)
        if not len(genes):
            continue
        overlap, p = _test(member, n_set, genes, len(pool))
        order = np.lexsort((n_set, p))[:_MOST_ROWS]
        random = [_test(member, n_set, _like(genes, bins, rng), len(pool), only_best=True)[1] for _ in range(N_RANDOM)]
        best = np.array([one.min() for one in random])
        table = pd.DataFrame(
            {
                "module": number,
                "name": [cut[i][0].name for i in order],
                "description": [cut[i][0].description for i in order],
                "n_overlap": overlap[order],
                "n_set": n_set[order],
                "fold": overlap[order] / (n_set[order] * len(genes) / len(pool)),
                "pvals": p[order],
                "pvals_adj": adjust(p)[order],
                "random": [float((best <= p[i]).mean()) for i in order],
                "genes": [", ".join(sorted(pool[genes[member[i].toarray().ravel()[genes] > 0]])) for i in order],
            }
        )
        tables.append(table[table["n_overlap"] > 0])
        first = table.iloc[0]
        labels[number] = str(first["name"]) if first["random"] <= 0.05 and first["pvals_adj"] < 0.05 else ""
    if not tables:
        raise OptionError("None of the modules has a gene that is expressed.", "", "")
    return Meaning(pd.concat(tables, ignore_index=True), labels)


def _test(
    member: sparse.csr_matrix, n_set: np.ndarray, genes: np.ndarray, n_all: int, *, only_best: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap with each set and its probability by chance, (n_sets,) each; of the most overlapping, or of all."""
    from scipy.stats import hypergeom

    chosen = np.zeros(n_all, dtype=np.int32)
    chosen[genes] = 1
    overlap = member @ chosen
    p, some = np.ones(len(n_set)), np.flatnonzero(overlap >= 2)
    if only_best and len(some) > _MOST_ROWS:
        chance = n_set[some] * len(genes) / n_all
        some = some[np.argsort(-(overlap[some] - chance) / np.sqrt(chance))[:_MOST_ROWS]]
    p[some] = hypergeom.sf(overlap[some] - 1, n_all, n_set[some], len(genes))
    return overlap, p


def _like(genes: np.ndarray, bins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other genes, as many from each tenth of expression."""
    found = []
    for number, n in zip(*np.unique(bins[genes], return_counts=True), strict=True):
        found.append(rng.choice(np.flatnonzero(bins == number), n, replace=False))
    return np.concatenate(found)
