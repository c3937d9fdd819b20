"""Annotation beside its baselines: within labelled datasets and from one to another; results in `results/annotation.*`.

    python benchmarks/annotation.py DATA [--cells 800] [--embeddings DIR]

DATA holds `corpus` and `evaluation`. At most `--cells` cells of a dataset are embedded (a fixed random sample), because
the model's pass is the time; `--embeddings` keeps them. Every arm gets the same cells, folds and settings. Five seeds
decide which cells are learned from. Results are written after each dataset, so that a run can be cut short.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from scfviz.data.open import open_dataset
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.model.infer import embed_cells
from scfviz.tasks.annotation import fit
from scfviz.tasks.annotation.conformal import disbelief, sets_of
from scfviz.tasks.annotation.features import FeatureSpace
from scfviz.tasks.annotation.methods import VIEWS, Prototype, fit_method
from scfviz.tasks.annotation.scores import auroc, calibration_error, compare_macro_f1, macro_f1

RESULTS = Path(__file__).resolve().parent / "results"
SEEDS, COVERAGE, FEWEST = 5, 0.9, 20
T4, T8 = "CD4 T cell", "CD8 T cell"
WORDS = {
    "mudan_sorted_reference": {
        "bcells": "B cell", "monocytes": "monocyte", "nk": "NK cell", "cytotoxict": T8, "naivecytotoxic": T8,
        "memoryt": T4, "regulatoryt": T4, "thelper": T4, "naivet": T4,
    },
    "zheng_facs_pbmc": {
        "CD19+ B": "B cell", "CD14+ Monocyte": "monocyte", "CD56+ NK": "NK cell", "CD8+ Cytotoxic T": T8,
        "CD8+/CD45RA+ Naive Cytotoxic": T8, "CD4+ T Helper2": T4, "CD4+/CD45RO+ Memory": T4, "CD4+/CD25 T Reg": T4,
        "CD4+/CD45RA+/CD25- Naive T": T4, "CD34+": "progenitor",
    },
    "pbmc3k": {
        "B": "B cell", "CD14+ Mono": "monocyte", "NK": "NK cell", "CD8 T": T8, "Naive CD4 T": T4, "Memory CD4 T": T4,
        "FCGR3A+ Mono": "monocyte", "DC": "dendritic cell", "Platelet": "platelet",
    },
}  # fmt: skip
WITHIN = ("evaluation/pbmc3k", "evaluation/zheng_facs_pbmc", "evaluation/kang_ifnb_2800")
ACROSS = (
    ("corpus/mudan_sorted_reference", "evaluation/zheng_facs_pbmc"),
    ("corpus/mudan_sorted_reference", "evaluation/pbmc3k"),
    ("evaluation/zheng_facs_pbmc", "evaluation/pbmc3k"),
)


class Cells:
    """Labelled cells of a file with their embedding."""

    def __init__(self, path: Path, most: int, model: object, kept: Path | None):
        counts = open_dataset(path).align(model.genes)
        obs = counts.obs
        known = obs["cell_type"].notna().to_numpy() & (obs["cell_type"].astype(str) != "unlabelled").to_numpy()
        for name in ("also_in_kang_ifnb_2k", "also_in_kang_ifnb_labelled_1975"):
            if name in obs:
                known &= ~obs[name].astype(bool).to_numpy()
        rows = np.flatnonzero(known)
        file = None if kept is None else kept / f"{path.stem}.npz"
        if file is not None and file.exists():
            with np.load(file) as stored:
                place = {row: i for i, row in enumerate(stored["rows"])}
                rows = np.array([row for row in rows if row in place])
                self.embedding = stored["values"][[place[row] for row in rows]]
        if len(rows) > most:
            chosen = np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))
            if file is not None and file.exists():
                self.embedding = self.embedding[chosen]
            rows = rows[chosen]
        self.name, self.counts = path.stem, counts.subset(rows)
        self.labels = self.counts.obs["cell_type"].astype(str).to_numpy(object)
        self.n_in_file = len(obs)
        if file is None or not file.exists():
            self.embedding = embed_cells(self.counts, model).values
            if file is not None:
                np.savez(file, rows=rows, values=self.embedding)

    def take(self, mask: np.ndarray) -> "Cells":
        """Only some of the cells."""
        part = object.__new__(Cells)
        part.name, part.n_in_file = self.name, self.n_in_file
        part.counts, part.labels, part.embedding = self.counts.subset(mask), self.labels[mask], self.embedding[mask]
        return part


def learn_and_test(train, truth, test, wanted, n_classes, by_distance):
    """Scores on test cells of all arms, learned from the training cells alone; `wanted` is -1 for other types."""
    held = fit.hold_out(train, truth, n_classes, fit.make_folds(truth, None))
    learned = fit.learn(train, truth, n_classes, held, np.arange(len(truth)))
    calibration = fit.calibrate(learned, held, truth)
    probabilities = learned.probabilities(test)
    strange = Prototype.fit("joint", train, truth, n_classes).strangeness(test)
    p_values = [one.p_values(part) for one, part in zip(calibration, (disbelief(probabilities), strange), strict=True)]
    p_values = p_values[: 1 + by_distance]  # as the task does: distance within a batch, confidence alone across
    sets, seen = sets_of(p_values, COVERAGE), wanted >= 0
    found = {"combination": probabilities.argmax(axis=1)}
    for name in VIEWS:
        found[name] = fit_method(name, train, truth, n_classes).log_probabilities(test).argmax(axis=1)
    found["majority"] = np.full(len(wanted), np.bincount(truth).argmax())
    inside = sets[seen][np.arange(seen.sum()), wanted[seen]]
    n_cells = np.bincount(wanted[seen], minlength=n_classes)
    by_class = (np.bincount(wanted[seen], inside, n_classes) / np.maximum(n_cells, 1))[n_cells >= FEWEST]
    against = compare_macro_f1(
        wanted[seen], found["combination"][seen], found["genes_logistic"][seen], np.arange(seen.sum()), n_classes
    )
    return {
        "macro_f1": {name: macro_f1(wanted[seen], values[seen], n_classes) for name, values in found.items()},
        "against_logistic": against,
        "ece": calibration_error(probabilities[seen], wanted[seen]),
        "coverage": float(inside.mean()),
        "coverage_worst_class": float(by_class.min()) if len(by_class) else None,
        "unknown_of_seen": float((~sets[seen].any(axis=1)).mean()),
        "unknown_of_unseen": float((~sets[~seen].any(axis=1)).mean()) if (~seen).any() else None,
        "unseen_auroc": auroc(-np.minimum.reduce(p_values).max(axis=1), ~seen),
        "unseen_auroc_of_confidence": auroc(-probabilities.max(axis=1), ~seen),
    }


def codes(labels, names):
    """int (n,): number of each label among names, -1 for others."""
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(label, -1) for label in labels])


def within(cells: Cells) -> dict:
    """Four fifths of the cells learned from, the last fifth tested; then the curve, then each type left out in turn."""
    names = [name for name, n in zip(*np.unique(cells.labels, return_counts=True), strict=True) if n >= FEWEST]
    cells = cells.take(np.isin(cells.labels, names))
    truth, n_classes = codes(cells.labels, names), len(names)
    space = FeatureSpace.fit(cells.counts, cells.embedding, cells.counts.is_measured)
    features = space.transform(cells.counts, cells.embedding)
    runs, curve = [], []
    for seed in range(SEEDS):
        folds = fit.make_folds(truth, None, seed=seed)
        train, test = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
        runs.append(
            learn_and_test(features.take(train), truth[train], features.take(test), truth[test], n_classes, True)
        )
        order = np.random.default_rng(seed).permutation(train)
        for size in fit.CURVE:
            few = np.concatenate([order[truth[order] == k][:size] for k in range(n_classes)])
            scores = fit.score_few(features.take(few), truth[few], features.take(test), truth[test], n_classes)
            curve.append({"seed": seed, "labels_per_type": size} | scores)
        print(cells.name, "seed", seed, flush=True)
    left_out = {}
    folds = fit.make_folds(truth, None)
    for k, name in enumerate(names):
        train, test = np.flatnonzero((folds != 0) & (truth != k)), np.flatnonzero((folds == 0) | (truth == k))
        known = np.delete(np.arange(n_classes), k)
        number = np.full(n_classes, -1)
        number[known] = np.arange(n_classes - 1)
        scores = learn_and_test(
            features.take(train), number[truth[train]], features.take(test), number[truth[test]], n_classes - 1, True
        )
        left_out[name] = {key: scores[key] for key in scores if key.startswith("un")}
        print(cells.name, "without", name, flush=True)
    about = {"cells": len(truth), "cells_in_file": cells.n_in_file, "types": n_classes}
    return about | {"runs": runs, "curve": curve, "left_out": left_out}


def across(one: Cells, other: Cells, words: bool = True) -> dict:
    """Learned from one dataset, tested on another; types that the first lacks are unseen."""
    labels = [np.array([WORDS[c.name].get(label) for label in c.labels], object) if words else c.labels
              for c in (one, other)]  # fmt: skip
    kept = [np.array([label is not None for label in part]) for part in labels]
    one, other = one.take(kept[0]), other.take(kept[1])
    labels = [part[mask] for part, mask in zip(labels, kept, strict=True)]
    names = [name for name, n in zip(*np.unique(labels[0].astype(str), return_counts=True), strict=True) if n >= FEWEST]
    mine = np.isin(labels[0], names)
    one, truth = one.take(mine), codes(labels[0][mine], names)
    both = one.counts.is_measured & other.counts.is_measured
    space = FeatureSpace.fit(one.counts, one.embedding, both)
    train, test = space.transform(one.counts, one.embedding), space.transform(other.counts, other.embedding)
    wanted, runs = codes(labels[1], names), []
    for seed in range(SEEDS):
        rows = np.sort(np.random.default_rng(seed).choice(len(truth), int(0.8 * len(truth)), replace=False))
        runs.append(learn_and_test(train.take(rows), truth[rows], test, wanted, len(names), False))
        print(one.name, "to", other.name, "seed", seed, flush=True)
    unseen = sorted({str(label) for label in labels[1]} - set(names))
    return {
        "cells": [len(truth), len(wanted)],
        "types": len(names),
        "genes": int(both.sum()),
        "unseen": unseen,
        "runs": runs,
    }


def main() -> int:
    """Run, and write after each dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, default=800)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "annotation.json")
    args = parser.parse_args()
    model, info = load_checkpoint(), checkpoint_info(default_checkpoint())
    found = {"checkpoint": info.name, "hash": info.hash, "most_cells": args.cells, "nominal_coverage": COVERAGE}
    found |= {"seeds": SEEDS, "within": {}, "across": {}}
    opened: dict[str, Cells] = {}

    def cells(name: str) -> Cells:
        if name not in opened:
            opened[name] = Cells(args.data / f"{name}.h5ad", args.cells, model, args.embeddings)
        return opened[name]

    def write() -> None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for one, other in ACROSS:
        found["across"][f"{cells(one).name} to {cells(other).name}"] = across(cells(one), cells(other))
        write()
    kang = cells(WITHIN[-1])
    is_control = (kang.counts.obs["condition"].astype(str) == "CTRL").to_numpy()
    found["across"]["kang control to stimulated"] = across(kang.take(is_control), kang.take(~is_control), words=False)
    write()
    for name in WITHIN:
        found["within"][cells(name).name] = within(cells(name))
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
