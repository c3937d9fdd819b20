"""Regulators against known networks and knock-downs, beside nulls that know no co-variation; stability; modules.

Usage: python benchmarks/gene_modules.py DATA [--out benchmarks/results/gene_modules.json] [--seeds 5] [--cells 160]

DATA is a folder with evaluation/, corpus/, networks/, knowledge/ and perturbqa/. Each seed takes four fifths of the
cells, and the model reads a sample of `--cells` of them. Arms: the model's context embeddings, co-expression over
metacells, boosted trees, and the combination that the task answers with (weights learned on held-out cells; no known
network is used). Nulls: mean expression of the target (per factor the same ranking as the product of both means), and
literature degree (in how many other factors' lists a target stands). Per factor with at least 5 known targets among the
genes: AUROC and average precision over prevalence; macro means over factors. `matched` compares targets of one tenth of
expression with each other only. Causal: genes that change when the factor is knocked down; all knocked-down factors and
the 1,000 most expressed measured genes take part, on cells that fit the line or do not, as is said. Stability: Jaccard
of the 1,000 strongest edges after 1 % of the cells are removed (everything is chosen again), and between two halves of
the donors. Modules: pairs of genes in one module that share a gene set, beside random modules of like expression.

The model reads every cell once: whatever needs its contexts takes sums over the parts of the cells that it shares with
the others. Results are written one by one; what is there is not computed again.
"""

import argparse
import functools
import json
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from gene_modules_verdict import say
from scipy.stats import rankdata

from scfviz.analysis.gene_sets import load_gene_ontology
from scfviz.data.open import open_dataset
from scfviz.data.vocabulary import load_vocabulary
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.tasks.gene_modules import genes as choosing
from scfviz.tasks.gene_modules.coexpression import pool_cells
from scfviz.tasks.gene_modules.compute import Prepared, prepare
from scfviz.tasks.gene_modules.contexts import Contexts, embed_contexts
from scfviz.tasks.gene_modules.modules import Modules, find_modules
from scfviz.tasks.gene_modules.network import fit_trees
from scfviz.tasks.gene_modules.similarity import Links, link_genes

SHARE, FEWEST, TOP, N_BINS, MOST_MEASURED = 0.8, 5, 1_000, 10, 1_000
# name: file, column of donors, knock-downs, and whether those are of a like line
SETS = {
    "pbmc3k": ("evaluation/pbmc3k", None, "jurkat", "Jurkat is a T cell line; these are blood cells"),
    "hao_pbmc_1k": ("corpus/hao_pbmc_1k", "donor", "jurkat", "Jurkat is a T cell line; these are blood cells"),
    "aml027": ("corpus/aml027_pre_1759", None, "k562", "K562 is a myeloid leukaemia line; these are another's cells"),
    "scmix": ("evaluation/scmix_singlecell", None, "rpe1", "none fits: RPE1 is retinal, these are lung cancer lines"),
}
NETWORKS = {
    "CollecTRI": ("networks/collectri_human_43178.csv.gz", "source", "target", "weight"),
    "DoRothEA": ("knowledge/dorothea_hs_ABC.csv.gz", "tf", "target", "mor"),
    "TRRUST": ("knowledge/trrust_network.csv.gz", "tf", "target", "mor"),
}
ARMS = ("combination", "model", "coexpression", "trees")
NULL = "target expression"
BY_FACTOR = ("combination", "coexpression", NULL)


@functools.cache
def read_network(path: Path, source: str, target: str, sign: str) -> dict[str, dict[str, float]]:
    """Targets with signs by factor, in the model's symbols."""
    lookup, table = load_vocabulary().lookup, pd.read_csv(path)
    known: dict[str, dict[str, float]] = {}
    for one, other, value in table[[source, target, sign]].itertuples(index=False):
        a, b = lookup(str(one)), lookup(str(other))
        if a and b:
            known.setdefault(a, {})[b] = float(np.sign(value))
    return known


@functools.cache
def read_knock_downs(data: Path, line: str) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """By factor: whether each measured gene changes, and for those that do 1 if it goes up."""
    changes, directions = (pd.read_csv(data / f"perturbqa/{line}-{kind}.csv.gz") for kind in ("de", "dir"))
    return tuple(
        {
            name: dict(zip(part["gene"], part["label"].astype(float), strict=True))
            for name, part in table.groupby("pert")
        }
        for table in (changes, directions)
    )


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the curve; ties in the middle."""
    n = truth.sum()
    return float((rankdata(scores)[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def matched_auroc(scores: np.ndarray, truth: np.ndarray, bins: np.ndarray) -> float:
    """The same among genes of one tenth of expression, weighted by pairs."""
    total = weight = 0.0
    for number in range(N_BINS):
        inside = bins == number
        n = truth[inside].sum()
        if 0 < n < inside.sum():
            pairs = n * (inside.sum() - n)
            total += pairs * auroc(scores[inside], truth[inside])
            weight += pairs
    return total / weight if weight else np.nan


def precision_ratio(scores: np.ndarray, truth: np.ndarray) -> float:
    """Average precision over prevalence."""
    order = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(order) / np.arange(1, len(order) + 1)
    return float(precision[order].mean() / truth.mean())


def score(arms: dict[str, np.ndarray], names, factors, mean, known, asked=None) -> dict[str, dict[str, float]]:
    """Macro scores of each arm; `asked` restricts the genes of a factor to those that were measured."""
    place = {name: i for i, name in enumerate(names)}
    bins = np.minimum(rankdata(mean, "ordinal").astype(int) * N_BINS // (len(mean) + 1), N_BINS - 1)
    rows: dict[str, list] = {name: [] for name in arms}
    used: list[str] = []
    for row, factor in enumerate(factors):
        targets = known.get(names[factor], {})
        usable = np.ones(len(names), bool) if asked is None else np.isin(names, list(asked.get(names[factor], ())))
        usable[factor] = False
        truth = np.zeros(len(names), bool)
        truth[[place[name] for name, value in targets.items() if name in place and value != -9]] = True
        truth &= usable
        if truth.sum() < FEWEST or (usable & ~truth).sum() < FEWEST:
            continue
        used.append(str(names[factor]))
        for name, scores in arms.items():
            s = scores[row][usable]
            rows[name].append(
                (
                    auroc(s, truth[usable]),
                    matched_auroc(s, truth[usable], bins[usable]),
                    precision_ratio(s, truth[usable]),
                )
            )
    return {
        name: dict(zip(("auroc", "auroc_matched", "auprc_ratio"), map(float, np.nanmean(found, axis=0)), strict=True))
        | {"n_factors": len(found), "by_factor": _by_factor(used, found) if name in BY_FACTOR else {}}
        for name, found in rows.items()
        if found
    }


def _by_factor(names: list[str], found: list[tuple[float, ...]]) -> dict[str, list[float | None]]:
    """AUROC of each factor, and that among targets of like expression."""
    pairs = zip(names, found, strict=True)
    return {name: [round(one[0], 3), None if np.isnan(one[1]) else round(one[1], 3)] for name, one in pairs}


def pooled(arms: dict[str, np.ndarray], names, factors, known) -> dict[str, float]:
    """Early precision ratio: of the 1,000 strongest edges, the share that is known, over that of all pairs."""
    truth = np.array([[name in known.get(names[factor], {}) for name in names] for factor in factors])
    listed = np.array([names[factor] in known for factor in factors])
    truth = truth[listed]
    base = truth.mean()
    return {
        name: float(truth.ravel()[np.argsort(-scores[listed].ravel(), kind="stable")[:TOP]].mean() / base)
        for name, scores in arms.items()
    }


def sign_accuracy(similarity, names, factors, known) -> dict[str, float]:
    """Share of known signed edges with the right sign of the correlation, and what saying always + gives."""
    place, right, plus = {name: i for i, name in enumerate(names)}, [], []
    for factor in factors:
        for target, value in known.get(names[factor], {}).items():
            if value and target in place and place[target] != factor:
                right.append(np.sign(similarity[factor, place[target]]) == value)
                plus.append(value > 0)
    return {"right": float(np.mean(right)), "always_plus": float(np.mean(plus)), "n": len(right)} if right else {}


def top_edges(scores: np.ndarray, names, factors) -> set:
    """The 1,000 strongest."""
    order = np.argsort(-scores.ravel(), kind="stable")[:TOP]
    rows, columns = np.unravel_index(order, scores.shape)
    return {(names[factors[r]], names[c]) for r, c in zip(rows, columns, strict=True)}


def jaccard(a: set, b: set) -> float:
    return len(a & b) / max(len(a | b), 1)


def measured_genes(aligned, changes: dict[str, dict[str, float]]) -> list[str]:
    """Knocked-down factors, and the measured genes that most cells express; none by whether it changes."""
    counts = choosing.read_counts(aligned, np.arange(aligned.n_obs))
    share = dict(zip(np.asarray(aligned.genes).astype(str), np.asarray((counts > 0).mean(axis=0)).ravel(), strict=True))
    factors = [name for name in changes if name in choosing.transcription_factors()]
    factors = [name for name in factors if share.get(name, 0) >= choosing.LEAST_SHARE]
    genes = {gene for name in factors for gene in changes[name] if share.get(gene, 0) >= choosing.LEAST_SHARE}
    return sorted({*factors, *sorted(genes, key=lambda gene: (-share[gene], gene))[:MOST_MEASURED]})


class Reader:
    """Contexts for several questions that share cells, each cell read once."""

    def __init__(self, aligned, model, asked: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]):
        """`asked`: by name, rows of the dataset, their quarters, and positions of the genes."""
        self.asked = asked
        self.genes = np.unique(np.concatenate([genes for _, _, genes in asked.values()]))
        self.rows = np.unique(np.concatenate([rows for rows, _, _ in asked.values()]))
        belongs = np.full((len(self.rows), len(asked)), -1)
        for column, (rows, quarter, _) in enumerate(asked.values()):
            belongs[np.searchsorted(self.rows, rows), column] = quarter
        self.kinds, part = np.unique(belongs, axis=0, return_inverse=True)
        self.whole = embed_contexts(aligned.subset(self.rows), model, self.genes, part.ravel())

    def take(self, name: str) -> Contexts:
        """As the task reads them."""
        column, wanted = list(self.asked).index(name), np.searchsorted(self.genes, self.asked[name][2])
        products, means, sizes = [], [], []
        for quarter in range(4):
            parts = np.flatnonzero(self.kinds[:, column] == quarter)
            n = self.whole.n_cells[parts]
            share = n / n.sum()
            pairs = sum(w * np.asarray(self.whole.products[p], np.float64) for w, p in zip(share, parts, strict=True))
            mean = sum(w * np.asarray(self.whole.means[p], np.float64) for w, p in zip(share, parts, strict=True))
            products.append(pairs[np.ix_(wanted, wanted)].astype(np.float32))
            means.append(mean[wanted].astype(np.float32))
            sizes.append(n.sum())
        return Contexts(np.stack(products), np.stack(means), np.array(sizes), {})


def sample(prepared: Prepared, rows: np.ndarray, cells: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which cells the task would read, as rows of the dataset, with their quarters, and the genes."""
    own = prepared.cells
    keys = choosing.cell_keys(own.keys.astype(str), seed, "contexts")
    part = choosing.sample_cells(own.groups, keys, cells)
    quarter = own.quarter[part]
    if len(np.unique(quarter)) < 4:
        quarter = np.arange(len(part)) % 4
    order = np.argsort(rows[prepared.rows[part]])
    return rows[prepared.rows[part]][order], quarter[order], prepared.genes.positions


def score_arms(prepared: Prepared, contexts: Contexts | None, seed: int, trees: bool = True):
    """Links, positions of the factors, and the scores of all arms, (n_factors, n_genes)."""
    view = "coexpression" if contexts is None else "combination"
    links = link_genes(prepared.cells, contexts, view=view, seed=seed)
    factors, own = np.flatnonzero(prepared.genes.is_factor), prepared.cells
    views = links.views if contexts is None else {"combination": links.combined} | links.views
    arms = {name: np.abs(found[factors]) for name, found in views.items()}
    if trees and contexts is not None:
        pools = pool_cells(own.counts, own.totals, own.components, own.keys)
        arms["trees"] = fit_trees(pools.values, factors, seed)
    return links, factors, arms


def prepare_all(aligned, donors: str | None, seed: int, changes: dict) -> dict[str, tuple[np.ndarray, Prepared]]:
    """The task itself, the same without 1 % of the cells, the genes of the knock-downs, and halves of the donors."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(aligned.n_obs)[: int(SHARE * aligned.n_obs)])
    part = aligned.subset(chosen)
    lost = np.random.default_rng([seed, 1]).permutation(part.n_obs)
    fewer = chosen[np.sort(lost[: int(round(0.99 * part.n_obs))])]

    def one(rows: np.ndarray, genes: list[str] | None = None) -> tuple[np.ndarray, Prepared]:
        choice = "variable" if genes is None else "own"
        cells = aligned.subset(rows)
        return rows, prepare(cells, groups=None, genes=genes, choice=choice, n_genes=800, seed=seed)

    asked = {"task": one(chosen), "one_percent": one(fewer), "causal": one(chosen, measured_genes(part, changes))}
    if donors is not None:
        labels = aligned.obs[donors].astype(str).to_numpy()
        for number, half in enumerate(np.array_split(rng.permutation(np.unique(labels)), 2)):
            names = asked["task"][1].genes.names.tolist()
            asked[f"donors_{number}"] = one(np.flatnonzero(np.isin(labels, half)), names)
    return asked


def measure(data: Path, name: str, seed: int, cells: int, model) -> dict:
    """Everything about one dataset and one seed."""
    file, donors, line, fits = SETS[name]
    aligned = open_dataset(data / f"{file}.h5ad").align(model.genes)
    changes, directions = read_knock_downs(data, line)
    asked = prepare_all(aligned, donors, seed, changes)
    wanted = {key: sample(one, rows, cells, seed) for key, (rows, one) in asked.items()}
    wanted["causal"] = *wanted["task"][:2], wanted["causal"][2]  # the same cells
    reader = Reader(aligned, model, wanted) if cells else None
    take = reader.take if cells else lambda name: None
    prepared = asked["task"][1]
    links, factors, arms = score_arms(prepared, take("task"), seed)
    names, mean = prepared.genes.names, prepared.genes.mean
    modules = find_modules(links.combined, links.resampled, resolution=None, seed=seed)
    out = {
        "n_cells": len(asked["task"][0]),
        "n_context_cells": cells,
        "n_genes": len(names),
        "n_factors": len(factors),
        "reliability": links.reliability,
        "weights": {} if links.weights is None else links.weights.weights,
        "model_gain": None if links.gain is None else links.gain.share,
        "n_modules": modules.n_modules,
        "module_stability": float(modules.curve.set_index("is_chosen")["stability"].loc[True]),
        "modules": score_modules(prepared, links, modules, seed),
        "networks": {},
        "early_precision_ratio": {},
        "sign": {},
    }
    for network, about in NETWORKS.items():
        known = read_network(data / about[0], *about[1:])
        degree = pd.Series([target for targets in known.values() for target in targets]).value_counts()
        of_target = pd.Series(names).map(degree).fillna(0).to_numpy()
        listed = np.array([[name in known.get(names[factor], {}) for name in names] for factor in factors])
        nulls = {NULL: np.tile(mean, (len(factors), 1)), "literature degree": of_target - listed}
        out["networks"][network] = score(arms | nulls, names, factors, mean, known)
        out["early_precision_ratio"][network] = pooled(arms | nulls, names, factors, known)
        out["sign"][network] = sign_accuracy(links.combined, names, factors, known)
    out["causal"] = score_causal(asked["causal"][1], take("causal"), changes, directions, seed)
    out["causal"] |= {"line": line, "fits": fits}
    edges = {key: top_edges(found, names, factors) for key, found in arms.items()}
    out["stability"] = {}
    for other in (key for key in asked if key in ("one_percent", "donors_0", "donors_1")):
        _, theirs, again = score_arms(asked[other][1], take(other), seed, trees=other == "one_percent")
        found = {key: top_edges(scores, asked[other][1].genes.names, theirs) for key, scores in again.items()}
        if other == "one_percent":
            out["stability"] |= {f"one_percent_{key}": jaccard(edges[key], found[key]) for key in edges}
        elif other == "donors_0":
            half = found
        else:
            out["stability"] |= {f"donor_halves_{key}": jaccard(half[key], found[key]) for key in half}
    return out


def score_causal(prepared: Prepared, contexts: Contexts | None, changes: dict, directions: dict, seed: int) -> dict:
    """Genes that change when a factor is knocked down, against its links."""
    links, factors, arms = score_arms(prepared, contexts, seed)
    names, mean = prepared.genes.names, prepared.genes.mean
    causal = {name: {gene: 1.0 for gene, label in genes.items() if label} for name, genes in changes.items()}
    how_often = pd.Series([gene for genes in causal.values() for gene in genes]).value_counts()
    of_gene = pd.Series(names).map(how_often).fillna(0).to_numpy()
    own = np.array([[name in causal.get(names[factor], {}) for name in names] for factor in factors])
    nulls = {NULL: np.tile(mean, (len(factors), 1)), "changes in other knock-downs": of_gene - own}
    wrong_way = {name: {g: -1.0 if up else 1.0 for g, up in genes.items()} for name, genes in directions.items()}
    return {
        "n_genes": len(names),
        "scores": score(arms | nulls, names, factors, mean, causal, changes),
        "sign": sign_accuracy(links.combined, names, factors, wrong_way),
    }


def score_modules(prepared: Prepared, links: Links, modules: Modules, seed: int) -> dict[str, float]:
    """Pairs of genes that share a set of the Gene Ontology (5 to 300 genes, at least 3 of them here).

    `auroc_*`: of links for such pairs; `random`: with genes exchanged within tenths of expression. `together`: share of
    such pairs in one module, over that of all pairs; the same of exchanged genes.
    """
    names = prepared.genes.names
    place = {name: i for i, name in enumerate(names)}
    share = np.zeros((len(names), len(names)), bool)
    for one in load_gene_ontology():
        members = [place[gene] for gene in one.genes if gene in place]
        if 5 <= len(one.genes) <= 300 and len(members) >= 3:
            share[np.ix_(members, members)] = True
    upper = np.triu_indices(len(names), 1)
    bins = np.minimum(rankdata(prepared.genes.mean, "ordinal").astype(int) * N_BINS // (len(names) + 1), N_BINS - 1)
    rng, order = np.random.default_rng(seed), np.arange(len(names))
    for number in range(N_BINS):
        order[bins == number] = rng.permutation(np.flatnonzero(bins == number))
    truth, exchanged = share[upper], share[np.ix_(order, order)][upper]
    together = ((modules.module[:, None] == modules.module[None]) & (modules.module[:, None] > 0))[upper]
    views = {"combination": links.combined} | links.views
    out = {f"auroc_{name}": auroc(found[upper], truth) for name, found in views.items()}
    return out | {
        "auroc_random": auroc(links.combined[upper], exchanged),
        "together": float(together[truth].mean() / together.mean()),
        "together_random": float(together[exchanged].mean() / together.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gene_modules.json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=160, help="0: no runs with the model and trees")
    args = parser.parse_args()
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {"sets": {}}
    model = load_checkpoint(default_checkpoint())
    results |= {"date": str(date.today()), "python": platform.python_version()}
    results["checkpoint"] = checkpoint_info(default_checkpoint()).hash
    for kind, cells in (("coexpression", 0), ("sets", args.cells)):
        if cells or kind == "coexpression":
            measure_all(args, results, kind, cells, model)


def measure_all(args: argparse.Namespace, results: dict, kind: str, cells: int, model) -> None:
    """All seeds and datasets with or without the model that are not there yet, each written when it is done."""
    for seed in range(args.seeds):
        for name in SETS:
            runs = results.setdefault(kind, {}).setdefault(name, {})
            if str(seed) in runs:
                continue
            start = time.monotonic()
            runs[str(seed)] = measure(args.data, name, seed, cells, model)
            runs[str(seed)]["seconds"] = round(time.monotonic() - start, 1)
            results["verdict"] = say(results)
            args.out.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")
            print(kind, name, seed, flush=True)


if __name__ == "__main__":
    main()
