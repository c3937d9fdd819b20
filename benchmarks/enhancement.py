"""How well each method of the task `enhancement` predicts counts that were held back, on real datasets.

Usage: python benchmarks/enhancement.py [--cells 300] [--compared 150] [--seeds 5] [--only dataset,mcv,mixtures]
[--datasets A,B] [--out benchmarks/results]

`mcv`: molecular cross-validation, a tenth of the counts held back; `dataset`: the same without the model, which takes
most of the time. `thinning`: 1, 5, 10, 20 and 50 % of the counts are left, and the rest is what the predictions are
compared with; without the model. `mixtures`: wells with 3.75 and 7.5 pg of an RNA mixture (scmix_rnamix), compared
with the mean of the wells with 30 pg of the same mixture; with the model for the first seed. `clusters`: a tenth of
the counts, as many Leiden clusters as types and compared with them, and the embedding at several depths beside; for
datasets with `cell_type`. No cell was in pretraining of the checkpoint that ships: the datasets are those of the
evaluation, and cells that a training set holds too are left out. Every method sees the same cells; numbers of
neighbours, ranks and what each method is worth in the combination are learned on a tenth of what is seen. What is
done is kept after each dataset and seed, so that a run that is cut short loses nothing and goes on.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import choose_variable_genes, find_neighbors
from scfviz.benchmark.data import is_elsewhere
from scfviz.data.normalise import log_normalise
from scfviz.data.open import open_dataset
from scfviz.model.checkpoint import default_checkpoint, load_checkpoint
from scfviz.model.infer import embed_cells
from scfviz.tasks.embedding.compute import cluster_cells
from scfviz.tasks.enhancement.compute import Enhancer, expect_expression, read_counts
from scfviz.tasks.enhancement.methods import (
    Neighbourhood,
    combined,
    shares_at_depth,
    split_counts,
    values_at_depth,
)
from scfviz.tasks.enhancement.mixture import GENE_MEANS, learn_mixture
from scfviz.tasks.enhancement.options import COMBINATION, DATASET_ALONE, INPUT, POSTERIOR
from scfviz.tasks.enhancement.scores import FEWEST_CELLS, FEWEST_GENES, Split, judge, judge_split

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "evaluation"
DATASETS = (
    "pbmc3k zheng_facs_pbmc scmix_singlecell geact_celllines oligodendroglioma_184 hao_tcells_600 treg_tconv_1749 "
    "pc9_erlotinib_day11 baron_pancreas_cider geact_fetal_bronchus_marrow kang_ifnb_2800 darmanis_brain_466 "
    "breast_komen_gtex_260"
).split()
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
FOLD = 5.0


def read(name: str, n_cells: int, seed: int, genes: np.ndarray):
    """Counts of a random sample of the cells, and which genes are measured."""
    aligned = open_dataset(str(SHARED / f"{name}.h5ad")).align(genes)
    free = np.flatnonzero(~is_elsewhere(aligned.obs) & (np.asarray(aligned.total_counts) > 0))
    chosen = np.sort(np.random.default_rng((seed, 9)).permutation(free)[:n_cells])
    part = aligned.subset(chosen)
    return read_counts(part), np.asarray(part.is_measured), part.obs


def table_of(verdict) -> dict:
    """Scores and methods as plain values."""
    rows = verdict.methods.replace({np.nan: None}).to_dict("records")
    return {"scores": verdict.scores, "methods": rows, "mixture": asdict(verdict.mixture)}


def run_mcv(name: str, seed: int, args: argparse.Namespace, model, *, with_model: bool = True) -> dict:
    """Molecular cross-validation of one sample of a dataset."""
    counts, is_measured, _ = read(name, args.cells, seed, model.genes)
    expect = expect_expression(model) if with_model else None
    fold = np.full(counts.shape[0], FOLD)
    names = np.asarray(model.genes)
    n_scored = args.compared if with_model else args.cells
    method = COMBINATION if with_model else DATASET_ALONE
    return table_of(judge(counts, is_measured, fold, expect, names, method=method, seed=seed, n_scored=n_scored))


def run_thinning(name: str, seed: int, args: argparse.Namespace, model, fraction: float) -> dict:
    """A fraction of the counts is seen, the rest is the truth; the depth asked for is that of all."""
    counts, is_measured, _ = read(name, args.cells, seed, model.genes)
    rest, seen = split_counts(counts, fraction, np.random.default_rng((seed, round(1e4 * fraction))))
    kept = np.flatnonzero((np.diff(seen.indptr) > 0) & (np.diff(rest.indptr) > 0))
    seen, rest = seen[kept], rest[kept]
    n_cells = np.bincount(seen.indices, minlength=len(is_measured)) * is_measured
    genes = np.flatnonzero((n_cells >= FEWEST_CELLS[-1]) & (np.bincount(rest.indices, minlength=len(n_cells)) > 0))
    fewest = next((n for n in FEWEST_CELLS if (n_cells[genes] >= n).sum() >= FEWEST_GENES), FEWEST_CELLS[-1])
    if len(genes) < FEWEST_CELLS[-1]:
        return {"skipped": f"{len(genes)} genes are left"}
    target = np.asarray((seen + rest).sum(axis=1, dtype=np.float64)).ravel()
    rows = np.arange(len(kept))[: args.compared]
    split = Split(seen, rest, target, rows, genes, n_cells[genes] >= fewest, fewest, is_measured, seed)
    return table_of(judge_split(split, None, np.asarray(model.genes), method=DATASET_ALONE))


def run_mixtures(seed: int, model) -> dict:
    """Correlation per gene of wells with little RNA with the mean of deep wells of the same mixture, by method."""
    counts, is_measured, obs = read("scmix_rnamix", 10_000, seed, model.genes)
    amount = obs["mRNA_amount"].to_numpy(float)
    mixture = obs[["batch", "H1975_prop", "H2228_prop", "HCC827_prop"]].astype(str).agg(" ".join, axis=1).to_numpy()
    little, deep = np.flatnonzero(amount < 10), amount == 30
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    means = {
        name: np.asarray(counts[deep & (mixture == name)].sum(axis=0, dtype=np.float64)).ravel()
        / totals[deep & (mixture == name)].sum()
        for name in np.unique(mixture[deep])
    }
    known = np.array([name in means for name in mixture])
    known_little = little[known[little]]
    seen = counts[little]  # the deep wells are the truth: no method sees them
    place = np.flatnonzero(known[little])
    truth = np.stack([means[mixture[row]] for row in known_little])
    n_cells = np.bincount(seen.indices, minlength=len(is_measured)) * is_measured
    genes = np.flatnonzero((n_cells >= FEWEST_CELLS[0]) & (truth.std(axis=0) > 0))
    enhancer = Enhancer(seen, is_measured, seed=seed)
    target = enhancer.totals * FOLD
    worth = learn_mixture(seen, is_measured, genes, np.full(len(little), FOLD), seed=seed)
    space = Neighbourhood(seen, seed=seed)
    shares = {name: worth.simple(name, space) for name in worth.simple_methods}
    kinds = {DATASET_ALONE: None} | ({COMBINATION: expect_expression(model)} if seed == 0 else {})
    for name, expect in kinds.items():
        shares[name] = worth.mix(space, combined(enhancer, target, enhancer.learn(target, expect), expect))
    own = seen[place][:, genes].toarray().astype(np.float64)
    found = {"wells": len(place), "genes": len(genes), "mixtures": len(np.unique(mixture[known_little]))}
    by_method = {}
    for name, method in shares.items():
        guess = shares_at_depth(own, method(place, genes), enhancer.totals[place], target[place])
        one, other = guess - guess.mean(axis=0), truth[:, genes] - truth[:, genes].mean(axis=0)
        spread = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
        values = np.divide((one * other).sum(axis=0), spread, out=np.zeros(len(genes)), where=spread > 0)
        by_method[name] = {"median_correlation": float(np.median(values)), "mean_correlation": float(values.mean())}
    return found | {"methods": by_method}


def run_clusters(name: str, seed: int, args: argparse.Namespace, model) -> dict:
    """The paper's protocol: a tenth of the counts, as many Leiden clusters as there are types, compared with these."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

    counts, is_measured, obs = read(name, args.cells, seed, model.genes)
    _, seen = split_counts(counts, 0.1, np.random.default_rng((seed, 5)))
    kept = np.flatnonzero(np.diff(seen.indptr) > 0)
    seen, types = seen[kept], obs["cell_type"].astype(str).to_numpy()[kept]
    enhancer, space, rows = Enhancer(seen, is_measured, seed=seed), Neighbourhood(seen, seed=seed), np.arange(len(kept))
    varying = choose_variable_genes(log_normalise(seen, space.totals), 2_000)
    target = enhancer.totals * FOLD
    mixture = learn_mixture(seen, is_measured, varying, np.full(len(kept), FOLD), seed=seed)
    posterior = combined(enhancer, target, enhancer.learn(target))
    shares = {name: mixture.simple(name, space) for name in mixture.simple_methods if name != GENE_MEANS}
    shares |= {POSTERIOR: posterior, DATASET_ALONE: mixture.mix(space, posterior)}
    own = seen[:, varying].toarray().astype(np.float64)
    spaces = {
        name: PCA(20, random_state=seed).fit_transform(
            values_at_depth(own, method(rows, varying), space.totals, target if name != INPUT else space.totals)
        )
        for name, method in shares.items()
    }
    for fold in (1.0, FOLD, 10.0):
        spaces[f"embedding at {fold:g} times the depth"] = np.asarray(embed_cells(seen, model, depth_fold=fold).values)
    found = {}
    for name, points in spaces.items():
        clusters = cut_into(points, len(np.unique(types)), seed)
        found[name] = {
            "nmi": float(normalized_mutual_info_score(types, clusters)),
            "ari": float(adjusted_rand_score(types, clusters)),
            "silhouette": float(silhouette_score(points, types)),
        }
    return {"cells": len(kept), "types": len(np.unique(types)), "methods": found}


def cut_into(points: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Leiden clusters, their resolution bisected until there are so many, or as near as twenty steps come."""
    near = find_neighbors(points.astype(np.float64), min(15, len(points) - 1))[0]
    places = (np.repeat(np.arange(len(near)), near.shape[1]), near.ravel())
    graph = sparse.csr_matrix((np.ones(near.size), places), shape=(len(near), len(near)))
    graph, low, high, best = graph.maximum(graph.T), 0.01, 4.0, None
    for _ in range(20):
        middle = (low * high) ** 0.5
        clusters = cluster_cells(graph, resolution=middle, seed=seed)
        found = len(np.unique(clusters))
        if best is None or abs(found - n_clusters) < abs(len(np.unique(best)) - n_clusters):
            best = clusters
        if found == n_clusters:
            break
        low, high = (middle, high) if found < n_clusters else (low, middle)
    return best


def main() -> None:
    """Run what is not done yet; results are written after each piece."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--compared", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="dataset,mcv,mixtures,thinning")
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    path = args.out / "enhancement.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": {}}
    result["cells"], result["compared"], result["fold_asked_for"] = args.cells, args.compared, FOLD
    model = load_checkpoint(default_checkpoint())
    for kind in args.only.split(","):
        for seed in range(args.seeds):
            jobs = {}
            if kind == "clusters":
                for name in args.datasets.split(","):
                    jobs[f"clusters/{name}/{seed}"] = lambda name=name, seed=seed: run_clusters(name, seed, args, model)
            elif kind == "mixtures":
                jobs = {f"mixtures/scmix_rnamix/{seed}": lambda seed=seed: run_mixtures(seed, model)}
            for name in args.datasets.split(",") if kind not in ("mixtures", "clusters") else ():
                if kind in ("mcv", "dataset"):
                    jobs[f"{kind}/{name}/{seed}"] = lambda name=name, seed=seed, kind=kind: run_mcv(
                        name, seed, args, model, with_model=kind == "mcv"
                    )
                for fraction in FRACTIONS if kind == "thinning" else ():
                    jobs[f"thinning {100 * fraction:g} %/{name}/{seed}"] = (
                        lambda name=name, seed=seed, fraction=fraction: run_thinning(name, seed, args, model, fraction)
                    )
            for key, job in jobs.items():
                if key in result["runs"]:
                    continue
                start = time.process_time()
                result["runs"][key] = job() | {"cpu_s": 0.0}
                result["runs"][key]["cpu_s"] = round(time.process_time() - start, 1)
                path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                print(key, result["runs"][key].get("scores", {}).get("effective_fold"), flush=True)


if __name__ == "__main__":
    main()
