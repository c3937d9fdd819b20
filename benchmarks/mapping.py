"""Mapping across platforms, conditions and laboratories: transfer, mixing, novelty, picture, wrong tissue, per space.

Usage: python benchmarks/mapping.py DATA [--out benchmarks/results/mapping.json] [--seeds 5] [--cells 240] [--only NAME]

DATA is a folder with evaluation/ and panels/. Of each side a sample of at most so many cells is embedded once, on the
genes that both measured; each seed takes four fifths of both. Per space (PCA projection, scFoundation, both side by
side, and the combination that is learned on the reference): macro-F1 of the labels over types that both have, share of
their cells without counterpart at a false rate of 0.05, novelty AUROC (a shared type is left out of the reference, the
spaces are learned again, its cells in the query against the others), iLISI within shared types beside cLISI,
trustworthiness (k = 15) of the places. Wrong tissue: share of the query without counterpart. Intervals are over seeds.
The form of the spaces (length one, 20 components, one shift) was chosen on `pancreas` and `kang`: these two are no
independent evidence. Results are written pair by pair; a pair that is there is not computed again.
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
from scfviz.tasks.mapping.compute import Pair, draw_picture, fit_reference, map_points, pair_cells, search_spaces
from scfviz.tasks.mapping.labels import NO_COUNTERPART, read_labels, sample_labels
from scfviz.tasks.mapping.lisi import score_mixing
from scfviz.tasks.mapping.scores import picture_fidelity, transfer_f1
from scfviz.tasks.mapping.search import combine_scores
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
    "scmix": (("evaluation/scmix_singlecell", "cell_type", ("platform", "CEL-seq2")),
              ("evaluation/scmix_singlecell", "cell_type", ("platform", "Drop-seq")), None),
}  # fmt: skip
ARMS = ("pca", "model", "both", "combination")


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
    rng = np.random.default_rng(seed)
    own, other = (np.sort(rng.choice(len(part), max(int(SHARE * len(part)), 10), replace=False)) for part in embedded)
    part = Pair(
        pair.query.subset(other), pair.reference.subset(own), pair.labels.take(own), other, own, pair.n_genes, ()
    )
    truth, of_reference, of_query = truth[other], embedded[0][own], embedded[1][other]
    names = np.array(pair.labels.names, dtype=object)
    shared = np.isin(truth.astype(str), names[np.unique(part.labels.codes)].astype(str))
    learned = fit_reference(part, of_reference, seed=seed)
    points = learned.spaces.project(part.query, of_query)
    weights = {arm: {arm: 1.0} for arm in ARMS[:-1]} | {ARMS[-1]: learned.used}
    novelty = leave_types_out(part, of_reference, of_query, truth, weights, seed)
    found = {}
    for arm, used in weights.items():
        fitted = replace(learned, used={name: used.get(name, 0.0) for name in SPACES})
        mapped = map_points(fitted, points, picture[own])
        both = np.concatenate([fitted.points[fitted.main], mapped.points[fitted.main]])
        types = np.concatenate([names[part.labels.codes], truth]).astype(str)
        mixed = score_mixing(both, np.repeat([0, 1], [len(own), len(other)]), types)
        found[arm] = {
            "f1": transfer_f1(truth, mapped.nearest, pair.labels.names) if shared.any() else None,
            "false_no_counterpart": float((mapped.label[shared] == NO_COUNTERPART).mean()) if shared.any() else None,
            "no_counterpart": float((mapped.label == NO_COUNTERPART).mean()),
            "novelty_auroc": novelty.get(arm),
            "ilisi": mixed["ilisi"],
            "clisi": mixed["clisi"],
            "trustworthiness": picture_fidelity(mapped, fitted.main),
        }
        if arm == "combination":
            found[arm] |= {f"weight_{name}": weight for name, weight in used.items()}
    return found


def leave_types_out(part: Pair, of_reference, of_query, truth, weights: dict, seed: int) -> dict[str, float]:
    """Mean AUROC over shared types: cells of a type that the reference no longer has, against the query's others."""
    values, aurocs = log_counts(part.reference), {arm: [] for arm in weights}
    codes, names, types = part.labels.codes, part.labels.names, truth.astype(str)
    for code, name in enumerate(names):
        stays, new = np.flatnonzero(codes != code), types == name
        shared = np.isin(types, [names[i] for i in np.unique(codes[stays])])
        if new.sum() < FEWEST or shared.sum() < FEWEST or len(codes) - len(stays) < FEWEST:
            continue
        spaces = JointSpaces(seed=seed).fit(values[stays], of_reference[stays])
        own = spaces.transform(values[stays], of_reference[stays])
        moved, _ = spaces.project(part.query, of_query).moved_to(own)
        searches = search_spaces(own, codes[stays], len(names), 15)
        looks = {space: search.look(moved[space]) for space, search in searches.items()}
        for arm, used in weights.items():
            score = combine_scores(looks, used)
            aurocs[arm].append(roc_auc_score(new[new | shared], score[new | shared]))
    return {arm: float(np.mean(found)) for arm, found in aurocs.items() if found}


def run_pair(data: Path, name: str, model, cells: int, seeds: int) -> dict:
    """One pair: sizes, and mean with standard deviation over seeds of every score of every arm."""
    first, second, called = PAIRS[name]
    reference, labels = open_side(data, first, model, cells)
    query, own = open_side(data, second, model, cells)
    pair, start = pair_cells(query, reference, labels), time.process_time()
    truth = np.array([own.names[code] for code in own.codes], dtype=object)[pair.query_rows]
    if called is not None:
        truth = np.array([called.get(label, f"{label} (query)") for label in truth], dtype=object)
    embedded = embed_pair(pair, model)
    seconds = time.process_time() - start
    picture = draw_picture(reference)[pair.reference_rows]
    by_seed = [score_seed(pair, embedded, truth, picture, seed) for seed in range(seeds)]
    arms = {arm: {key: _summary([seed[arm].get(key) for seed in by_seed]) for key in by_seed[0][arm]} for arm in ARMS}
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
        if name in done["pairs"]:
            continue
        done["pairs"][name] = run_pair(args.data, name, model, args.cells, args.seeds)
        done |= {"date": str(date.today()), "checkpoint": info.name, "hash": info.hash, "machine": platform.machine()}
        args.out.write_text(json.dumps(done, indent=1) + "\n")
        print(name, json.dumps(done["pairs"][name]["arms"]), flush=True)


if __name__ == "__main__":
    main()
