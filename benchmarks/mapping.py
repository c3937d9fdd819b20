"""Mapping across platforms, conditions and laboratories: transfer, mixing, novelty, picture, wrong tissue, per space.

Usage: python benchmarks/mapping.py DATA [--out benchmarks/results/mapping.json] [--seeds 5] [--cells 240] [--only NAME]

DATA is a folder with evaluation/ and panels/. Of each side a sample of at most so many cells is embedded once, on the
genes that both measured; each seed takes four fifths of both. Per space (PCA projection, scFoundation, both side by
side, and the combination that is learned on the reference): macro-F1 of the labels over types that both have, share of
their cells without counterpart at a false rate of 0.05 (by both tests, and by distance alone), novelty AUROC (a shared
type is left out of the reference, the spaces are learned again, its cells in the query against the others; the same two
ways), iLISI within shared types beside cLISI, trustworthiness (k = 15) of the places. Beside them, in the principal
components: one shift per soft cluster (after Symphony), and Harmony where it is installed, judged by distance alone;
and, not corrected, neighbours balanced over reference and query (after BBKNN): labels and purity, for it mixes by
construction.
Wrong tissue: share of the query without counterpart. Intervals are over seeds. The form of the spaces (length one, 20
components, one shift) was chosen on `pancreas` and `kang`, the limits of likeness on datasets of the corpus and the
panels, those of pancreas and a part of `kang` among them: these pairs are no independent evidence. `organoid` stands
for the paper's case (retinal organoid to adult retina, which is not at hand): cultures of retinal ganglion cells from
stem cells onto fetal brain. Results are written pair by pair; a pair that is there is not computed again.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from scfviz.data.open import open_dataset
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.model.infer import embed_cells
from scfviz.tasks.mapping.balanced import balanced_neighbors, balanced_purity
from scfviz.tasks.mapping.compute import (
    FittedReference,
    Pair,
    draw_picture,
    fit_reference,
    map_points,
    pair_cells,
    search_spaces,
)
from scfviz.tasks.mapping.harmony import harmonise, is_installed, shift_by_clusters
from scfviz.tasks.mapping.labels import NO_COUNTERPART, read_labels, sample_labels
from scfviz.tasks.mapping.lisi import score_mixing
from scfviz.tasks.mapping.novelty import find_novel
from scfviz.tasks.mapping.scores import cluster_query, picture_fidelity, transfer_f1
from scfviz.tasks.mapping.search import ReferenceSearch
from scfviz.tasks.mapping.spaces import SPACES, JointSpaces, log_counts

SHARE, FEWEST = 0.8, 5
BLOOD = {"Naive CD4 T": "T cell", "Memory CD4 T": "T cell", "CD8 T": "T cell", "B": "B cell", "NK": "NK cell",
         "CD14+ Mono": "CD14+"}  # fmt: skip
# name: reference (file, column of labels, which cells), query (the same), how the query's labels are called there
PAIRS = {
    "pancreas": (("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "!indrop")),
                 ("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "indrop")), None),
    "pancreas_reads": (("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "!smartseq2")),
                       ("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "smartseq2")), None),
    "kang": (("evaluation/kang_ifnb_2800", "cell_type", ("condition", "CTRL")),
             ("evaluation/kang_ifnb_2800", "cell_type", ("condition", "STIM")), None),
    "blood": (("evaluation/zheng_facs_pbmc", "subpop", None), ("evaluation/pbmc3k", "cell_type", None), BLOOD),
    "wrong_tissue_pancreas_to_blood": (("evaluation/zheng_facs_pbmc", "subpop", None),
                                       ("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "indrop")), {}),
    "wrong_tissue_blood_to_pancreas": (("panels/pancreas8_hvg2000_500", "cell_type", ("tech", "!indrop")),
                                       ("evaluation/pbmc3k", "cell_type", None), {}),
    "wrong_tissue_brain_to_blood": (("evaluation/zheng_facs_pbmc", "subpop", None),
                                    ("evaluation/darmanis_brain_466", "cell_type", None), {}),
    "wrong_tissue_blood_to_lung_lines": (("evaluation/scmix_singlecell", "cell_type", ("platform", "CEL-seq2")),
                                         ("evaluation/pbmc3k", "cell_type", None), {}),
    "organoid": (("panels/fetal_brain_hvg2000", "cell_type", None), ("corpus/ascend_rgc_452", "batch", None), {}),
    "scmix": (("evaluation/scmix_singlecell", "cell_type", ("platform", "CEL-seq2")),
              ("evaluation/scmix_singlecell", "cell_type", ("platform", "Drop-seq")), None),
}  # fmt: skip
ARMS = ("pca", "model", "both", "combination")
BESIDE = ("clusters", "harmony")  # corrections of the PCA projection


def open_side(data: Path, side: tuple, model, cells: int):
    """At most so many cells of one side in the model's gene order, and their labels."""
    name, column, which = side
    aligned = open_dataset(data / f"{name}.h5ad").align(model.genes)
    if which is not None:
        values, wanted = aligned.obs[which[0]].astype(str).to_numpy(), which[1].removeprefix("!")
        aligned = aligned.subset((values != wanted) if which[1].startswith("!") else (values == wanted))
    labels = read_labels(aligned.obs, column)
    chosen = sample_labels(labels.codes, cells, 0, at_least=10)
    return aligned.subset(chosen), labels.take(chosen)


def embed_pair(pair: Pair, model) -> tuple[np.ndarray, np.ndarray]:
    """The model's embedding of reference and query on the common genes."""
    return tuple(np.asarray(embed_cells(part, model).values) for part in (pair.reference, pair.query))


def score_seed(pair: Pair, embedded: tuple, truth: np.ndarray, picture: np.ndarray, seed: int) -> dict[str, dict]:
    """All scores of one seed, by arm."""
    own, other = draw((len(embedded[0]), len(embedded[1])), seed)
    part = Pair(
        pair.query.subset(other), pair.reference.subset(own), pair.labels.take(own), other, own, pair.n_genes, ()
    )
    truth, of_reference, of_query = truth[other], embedded[0][own], embedded[1][other]
    names = np.array(pair.labels.names, dtype=object)
    shared = np.isin(truth.astype(str), names[np.unique(part.labels.codes)].astype(str))
    learned = fit_reference(part, of_reference, seed=seed)
    points = learned.spaces.project(part.query, of_query)
    clusters = cluster_query(points.moved_to(learned.points)[0][learned.main], seed=seed)
    weights = {arm: {arm: 1.0} for arm in ARMS[:-1]} | {ARMS[-1]: learned.used}
    novelty = leave_types_out(part, learned, of_reference, of_query, truth, weights, clusters, seed)
    types = np.concatenate([names[part.labels.codes], truth]).astype(str)
    batches = np.repeat([0, 1], [len(own), len(other)])
    found = {}
    for arm, used in weights.items():
        fitted = replace(learned, used={name: used.get(name, 0.0) for name in SPACES})
        by_distance = map_points(fitted, points, picture[own])
        mapped = find_novel(part, fitted, by_distance, clusters)
        mixed = score_mixing(np.concatenate([fitted.points[fitted.main], mapped.points[fitted.main]]), batches, types)
        found[arm] = {
            "f1": transfer_f1(truth, mapped.nearest, pair.labels.names) if shared.any() else None,
            "ilisi": mixed["ilisi"],
            "clisi": mixed["clisi"],
            "trustworthiness": picture_fidelity(mapped, fitted.main),
        } | novelty.get(arm, {})
        for way, one in (("", mapped), ("_by_distance", by_distance)):
            is_new = one.label == NO_COUNTERPART
            found[arm][f"false_no_counterpart{way}"] = float(is_new[shared].mean()) if shared.any() else None
            found[arm][f"no_counterpart{way}"] = float(is_new.mean())
        if arm == "combination":
            found[arm] |= {f"weight_{name}": weight for name, weight in used.items()}
    for arm in beside():
        placed = correct(arm, learned.points.pca, points.pca, seed)
        look = ReferenceSearch(placed[0], part.labels.codes, len(names), 15).look(placed[1])
        mixed = score_mixing(np.concatenate(placed), batches, types)
        nearest = names[look.probabilities.argmax(axis=1)]
        found[arm] = {
            "f1": transfer_f1(truth, nearest, pair.labels.names) if shared.any() else None,
            "ilisi": mixed["ilisi"],
            "clisi": mixed["clisi"],
        } | novelty.get(arm, {})
    found["bbknn"] = score_balanced(learned.points.pca, points.pca, part.labels, truth)
    return found


def score_balanced(own: np.ndarray, other: np.ndarray, labels, truth: np.ndarray) -> dict:
    """Neighbours balanced over reference and query in the principal components, after BBKNN; mixed by construction."""
    both, names = np.concatenate([own, other]), np.array(labels.names, dtype=object)
    batches = np.repeat([0, 1], [len(own), len(other)])
    near = balanced_neighbors(both, batches)[0][len(own) :]
    of_near = np.where(near < len(own), labels.codes[near % len(own)], -1)
    votes = np.stack([(of_near == code).sum(axis=1) for code in range(len(names))])
    types = np.concatenate([names[labels.codes], truth]).astype(str)
    is_shared = np.isin(truth.astype(str), names[np.unique(labels.codes)].astype(str)).any()
    f1 = transfer_f1(truth, names[votes.argmax(axis=0)], labels.names) if is_shared else None
    return {"f1": f1, "clisi": balanced_purity(both, batches, types)}


def add_balanced(data: Path, name: str, model, cells: int, seeds: int) -> dict:
    """Only this arm, which needs no embedding; components are those of `score_seed`."""
    pair, truth, _ = open_pair(data, name, model, cells)
    values, by_seed = log_counts(pair.reference), []
    sizes = pair.reference.n_obs, pair.query.n_obs
    for seed in range(seeds):
        own, other = draw(sizes, seed)
        nothing = [np.random.default_rng(seed).normal(size=(len(part), 4)).astype(np.float32) for part in (own, other)]
        spaces = JointSpaces(seed=seed).fit(values[own], nothing[0])
        placed = spaces.transform(values[own], nothing[0]).pca, spaces.project(pair.query.subset(other), nothing[1]).pca
        by_seed.append(score_balanced(*placed, pair.labels.take(own), truth[other]))
    return {key: _summary([one[key] for one in by_seed]) for key in by_seed[0]}


def draw(sizes: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths of reference and query."""
    rng = np.random.default_rng(seed)
    return tuple(np.sort(rng.choice(size, max(int(SHARE * size), 10), replace=False)) for size in sizes)


def beside() -> tuple[str, ...]:
    """Corrections that are at hand."""
    return tuple(arm for arm in BESIDE if arm != "harmony" or is_installed())


def correct(arm: str, own: np.ndarray, other: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference and query in the principal components, corrected."""
    if arm == "clusters":
        return own, shift_by_clusters(own, other, seed=seed)
    both = harmonise(np.concatenate([own, other]), np.repeat(["reference", "query"], [len(own), len(other)]), seed=seed)
    return both[: len(own)], both[len(own) :]


def leave_types_out(
    part: Pair, learned: FittedReference, of_reference, of_query, truth, weights: dict, clusters, seed: int
) -> dict[str, dict]:
    """Mean AUROC over shared types: cells of a type that the reference no longer has, against the query's others."""
    values, aurocs = log_counts(part.reference), {}
    codes, names, types = part.labels.codes, part.labels.names, truth.astype(str)
    for code, name in enumerate(names):
        stays, new = np.flatnonzero(codes != code), types == name
        shared = np.isin(types, [names[i] for i in np.unique(codes[stays])])
        if new.sum() < FEWEST or shared.sum() < FEWEST or len(codes) - len(stays) < FEWEST:
            continue
        spaces = JointSpaces(seed=seed).fit(values[stays], of_reference[stays])
        own = spaces.transform(values[stays], of_reference[stays])
        projected, labels = spaces.project(part.query, of_query), part.labels.take(stays)
        searches = search_spaces(own, codes[stays], len(names), 15)
        less = replace(learned, spaces=spaces, points=own, searches=searches, labels=labels)
        left = replace(part, reference=part.reference.subset(stays), labels=labels)
        scores = {}
        for arm, used in weights.items():
            fitted = replace(less, used={space: used.get(space, 0.0) for space in SPACES})
            mapped = map_points(fitted, projected, np.zeros((len(stays), 2)))
            scores[arm, "novelty_auroc_by_distance"] = mapped.farness
            both = find_novel(left, fitted, mapped, clusters)
            scores[arm, "novelty_auroc"] = both.farness + both.is_unlike
        for arm in beside():
            placed = correct(arm, own.pca, projected.pca, seed)
            scores[arm, "novelty_auroc_by_distance"] = (
                ReferenceSearch(placed[0], codes[stays], len(names), 15).look(placed[1]).score
            )
        for key, score in scores.items():
            aurocs.setdefault(key, []).append(roc_auc_score(new[new | shared], score[new | shared]))
    found: dict[str, dict] = {}
    for (arm, what), each in aurocs.items():
        found.setdefault(arm, {})[what] = float(np.mean(each))
    return found


def open_pair(data: Path, name: str, model, cells: int):
    """Query and reference, the query's types in the reference's words, and the reference before genes were chosen."""
    first, second, called = PAIRS[name]
    reference, labels = open_side(data, first, model, cells)
    query, own = open_side(data, second, model, cells)
    pair = pair_cells(query, reference, labels)
    truth = np.array([own.names[code] for code in own.codes], dtype=object)[pair.query_rows]
    if called is not None:
        truth = np.array([called.get(label, f"{label} (query)") for label in truth], dtype=object)
    return pair, truth, reference


def run_pair(data: Path, name: str, model, cells: int, seeds: int) -> dict:
    """One pair: sizes, and mean with standard deviation over seeds of every score of every arm."""
    pair, truth, reference = open_pair(data, name, model, cells)
    start = time.process_time()
    embedded = embed_pair(pair, model)
    seconds = time.process_time() - start
    picture = draw_picture(reference)[pair.reference_rows]
    by_seed = [score_seed(pair, embedded, truth, picture, seed) for seed in range(seeds)]
    arms = {
        arm: {key: _summary([seed[arm].get(key) for seed in by_seed]) for key in by_seed[0][arm]} for arm in by_seed[0]
    }
    return {
        "reference_cells": pair.reference.n_obs, "query_cells": pair.query.n_obs, "common_genes": pair.n_genes,
        "seeds": seeds, "embedding_cpu_s": round(seconds, 1), "arms": arms,
    }  # fmt: skip


def _summary(values: list) -> dict | None:
    known = [value for value in values if value is not None]
    return {"mean": round(float(np.mean(known)), 4), "sd": round(float(np.std(known)), 4)} if known else None


def main() -> None:
    """Run the pairs that the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mapping.json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=240)
    parser.add_argument("--only", choices=PAIRS)
    args = parser.parse_args()
    folder = default_checkpoint()
    model, info = load_checkpoint(folder), checkpoint_info(folder)
    done = json.loads(args.out.read_text()) if args.out.exists() else {"pairs": {}}
    for name in [args.only] if args.only else PAIRS:
        if (known := done["pairs"].get(name)) is not None:
            if "bbknn" not in known["arms"]:
                known["arms"]["bbknn"] = add_balanced(args.data, name, model, args.cells, known["seeds"])
                args.out.write_text(json.dumps(done, indent=1) + "\n")
            continue
        done["pairs"][name] = run_pair(args.data, name, model, args.cells, args.seeds)
        done |= {"date": str(date.today()), "checkpoint": info.name, "hash": info.hash, "machine": platform.machine()}
        args.out.write_text(json.dumps(done, indent=1) + "\n")
        print(name, json.dumps(done["pairs"][name]["arms"]), flush=True)


if __name__ == "__main__":
    main()
