"""Annotation beside its baselines: within labelled datasets, by donor where there are donors, and from one to another.

    python benchmarks/annotation.py DATA --embeddings DIR [--only NAME ...] [--out FILE]

DATA holds `corpus`, `evaluation` and `panels`. Of each set a fixed sample is embedded (`labelled_cells`) and kept in
DIR. Every arm gets the same cells, splits and settings; nothing is tuned here. Five seeds decide which fifth is tested
(whole donors or batches where `UNITS` names them), which cells are learned from, and which few labels the curve has.
`RULES` are pairs of sets that are no evaluation sets: on these the rules of the task are checked. Results are written
set by set; what the file holds is not computed again. Intervals: mean of the seeds and Student's t, 95 %.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from labelled_cells import MOST_OF_TYPE, Cells

from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.tasks.annotation import conformal, fit
from scfviz.tasks.annotation.features import FeatureSpace
from scfviz.tasks.annotation.methods import VIEWS, Prototype, fit_method
from scfviz.tasks.annotation.scores import auroc, calibration_error, macro_f1

RESULTS = Path(__file__).resolve().parent / "results" / "annotation.json"
SEEDS, COVERAGE, FEWEST, FEWEST_TESTED = 5, 0.9, 15, 10
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
    "kang_ifnb_2800": {
        "B": "B cell", "B Activated": "B cell", "CD14 Mono": "monocyte", "CD16 Mono": "monocyte", "NK": "NK cell",
        "CD8 T": T8, "CD4 Naive T": T4, "CD4 Memory T": T4, "DC": "dendritic cell", "pDC": "dendritic cell",
        "Mk": "platelet", "Eryth": "erythrocyte",
    },
    "onek1k_1000genes": {"cd4nc": T4, "bmem": "B cell", "monoc": "monocyte", "mononc": "monocyte"},
    "geact_blood_sorted": {"B cell": "B cell", "monocyte": "monocyte", "NK cell": "NK cell"},
    "baron_pancreas_cider": {name: name for name in ("alpha", "beta", "delta", "macrophage", "activated_stellate")},
    "pancreas8_hvg2000_500": {name: name for name in ("alpha", "beta", "delta", "acinar", "ductal")},
}  # fmt: skip
UNITS = {"scmix_singlecell": "batch", "baron_pancreas_cider": "donor", "geact_fetal_bronchus_marrow": "batch",
         "darmanis_brain_466": "donor"}  # fmt: skip
WITHIN = ("pbmc3k", "zheng_facs_pbmc", "kang_ifnb_2800", "baron_pancreas_cider", "breast_komen_gtex_260",
          "treg_tconv_1749", "geact_fetal_bronchus_marrow", "scmix_singlecell", "oligodendroglioma_184",
          "darmanis_brain_466")  # fmt: skip
MUDAN, KANG, ISLETS = "corpus/mudan_sorted_reference", "evaluation/kang_ifnb_2800", "panels/pancreas8_hvg2000_500"
# (file, column and value that choose cells) of both sides
ACROSS = (
    ((MUDAN, None), ("evaluation/zheng_facs_pbmc", None)),
    ((MUDAN, None), ("evaluation/pbmc3k", None)),
    (("evaluation/zheng_facs_pbmc", None), ("evaluation/pbmc3k", None)),
    (("evaluation/pbmc3k", None), ("evaluation/zheng_facs_pbmc", None)),
    ((KANG, ("condition", "CTRL")), (KANG, ("condition", "STIM"))),
    ((MUDAN, None), (KANG, ("condition", "CTRL"))),
    (("evaluation/baron_pancreas_cider", None), (ISLETS, ("tech", "smartseq2"))),
)
RULES = (
    ((MUDAN, None), ("panels/onek1k_1000genes", None)),
    (("panels/onek1k_1000genes", None), (MUDAN, None)),
    (("corpus/geact_blood_sorted", None), (MUDAN, None)),
    ((MUDAN, None), ("corpus/geact_blood_sorted", None)),
    ((ISLETS, ("tech", "celseq")), (ISLETS, ("tech", "celseq2"))),
    ((ISLETS, ("tech", "celseq2")), (ISLETS, ("tech", "indrop"))),
    ((ISLETS, ("tech", "indrop")), (ISLETS, ("tech", "smartseq2"))),
    ((ISLETS, ("tech", "smartseq2")), (ISLETS, ("tech", "celseq"))),
)


OF_SETS = ("coverage", "coverage of the worst type", "types per set", "seen called unknown",
           "seen called unknown without the rule of half", "seen called unknown by distance")  # fmt: skip
SETS = "belief may err as often as asked for, distance half as often"


def learn_and_test(train, truth, units, test, wanted, n_classes, by_distance) -> dict[str, float | None]:
    """Scores on test cells, learned from the training cells alone; `wanted` is -1 for types that these lack."""
    folds = fit.make_folds(truth, units)
    held = fit.hold_out(train, truth, n_classes, folds)
    of_fold = np.arange(len(truth)) if units is None else units
    both = {name: fit.learn(train, truth, n_classes, held, of_fold, name) for name in ("combination", fit.BASELINE)}
    used = both["combination" if by_distance else fit.BASELINE]  # what the method "auto" is
    calibration = fit.calibrate(used, held, truth)
    probabilities, seen = used.probabilities(test), wanted >= 0
    strange = Prototype.fit("joint", train, truth, n_classes).strangeness(test)
    doubt = conformal.disbelief(probabilities)
    p_values = [calibration.disbelief.p_values(doubt), calibration.strangeness.p_values(strange)]
    sets = calibration.sets(doubt, strange if by_distance else None, COVERAGE)
    bare_sets, near = (values > 1 - COVERAGE for values in p_values)
    found = {"auto": probabilities.argmax(axis=1)}
    found |= {"combination": both["combination"].probabilities(test).argmax(axis=1)}
    for name in VIEWS:
        found[name] = fit_method(name, train, truth, n_classes).log_probabilities(test).argmax(axis=1)
    found["majority"] = np.full(len(wanted), np.bincount(truth).argmax())
    f1 = {name: macro_f1(wanted[seen], values[seen], n_classes) for name, values in found.items()}
    inside, right = sets[seen][np.arange(seen.sum()), wanted[seen]], found["auto"][seen] == wanted[seen]
    n_cells = np.bincount(wanted[seen], minlength=n_classes)
    by_class = (np.bincount(wanted[seen], inside, n_classes) / np.maximum(n_cells, 1))[n_cells >= FEWEST_TESTED]
    sure = np.argsort(-probabilities[seen].max(axis=1), kind="stable")
    risk = 1 - np.cumsum(right[sure]) / np.arange(1, len(sure) + 1)
    return {f"macro_f1 {name}": value for name, value in f1.items()} | {
        "combination minus logistic": f1["combination"] - f1[fit.BASELINE],
        "weight of the model": sum(w for name, w in both["combination"].weights.items() if name.startswith("model_")),
        "ece": calibration_error(probabilities[seen], wanted[seen]),
        "coverage": float(inside.mean()),
        "coverage of the worst type": float(by_class.min()) if len(by_class) else None,
        "types per set": float(sets[seen].sum(axis=1).mean()),
        "error at 50 % of the cells": float(risk[len(risk) // 2]),
        "error at 90 % of the cells": float(risk[int(0.9 * len(risk)) - 1]),
        "error at all cells": float(risk[-1]),
        "area under risk and coverage": float(risk.mean()),
        "seen called unknown": float((~sets[seen].any(axis=1)).mean()),
        "unseen called unknown": float((~sets[~seen].any(axis=1)).mean()) if (~seen).any() else None,
        "unseen auroc": auroc(-np.minimum.reduce(p_values[: 1 + by_distance]).max(axis=1), ~seen),
        "unseen auroc of confidence": auroc(-probabilities.max(axis=1), ~seen),
        "unseen auroc of distance": auroc(-p_values[1].max(axis=1), ~seen),
        "seen called unknown without the rule of half": float((~bare_sets[seen].any(axis=1)).mean()),
        "seen called unknown by distance": float((~near[seen].any(axis=1)).mean()),
    }


def score_few(few, truth, test, wanted, n_classes, expression) -> dict[str, float]:
    """Macro-F1 from few labels: combination, logistic regression, CellTypist."""
    found = fit.score_few(few, truth, test, wanted, n_classes)
    return found | {"celltypist": macro_f1(wanted, celltypist(*expression, truth), n_classes)}


def celltypist(known, new, truth) -> np.ndarray:
    """Types by CellTypist's recipe: genes standardised, cut at 10, logistic regression of each type against the rest.

    CellTypist 1.7.1 itself cannot train with scikit-learn 1.8 or later, whose logistic regression lost `multi_class`.
    The regression is solved in the cells' own space, where it is the same and fast.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    values, other = known.toarray().astype(np.float64), new.toarray().astype(np.float64)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale == 0] = 1.0
    values, other = (np.minimum((part - mean) / scale, 10) for part in (values, other))
    level, vectors = np.linalg.eigh(values @ values.T)
    there = level > 1e-9 * level[-1]
    turn = vectors[:, there] / np.sqrt(level[there])
    found = OneVsRestClassifier(LogisticRegression(C=1.0, max_iter=1000)).fit(values @ (values.T @ turn), truth)
    return found.predict(other @ (values.T @ turn))


def log_values(counts):
    """ln(1 + counts per 10,000) of the genes that are measured."""
    from scipy import sparse

    from scfviz.data.normalise import log_normalise

    rows = sparse.csr_matrix(counts.rows(0, counts.n_obs)[:, np.flatnonzero(counts.is_measured)])
    return log_normalise(rows, np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel())


def codes(labels, names) -> np.ndarray:
    """int (n,): number of each label among names, -1 for others."""
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(label, -1) for label in labels])


def enough(labels) -> list[str]:
    """Types with enough cells."""
    return [
        str(name) for name, n in zip(*np.unique(labels.astype(str), return_counts=True), strict=True) if n >= FEWEST
    ]


def within(cells: Cells, *, only_sets: bool = False) -> dict:
    """A fifth tested, the others learned from; then few of them; then each type left out."""
    names = enough(cells.labels)
    cells = cells.take(np.isin(cells.labels, names))
    truth, n_classes = codes(cells.labels, names), len(names)
    units = cells.counts.obs[UNITS[cells.name]].astype(str).to_numpy(object) if cells.name in UNITS else None
    space = FeatureSpace.fit(cells.counts, cells.embedding, cells.counts.is_measured)
    features, values = space.transform(cells.counts, cells.embedding), log_values(cells.counts)
    runs, curve, left_out = [], {size: [] for size in fit.CURVE}, {}
    for seed in range(SEEDS):
        folds = fit.make_folds(truth, units, seed=seed)
        tested = folds == seed % (folds.max() + 1)
        train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
        there = (features.take(test), truth[test], n_classes)
        of_train = None if units is None else units[train]
        runs.append(learn_and_test(features.take(train), truth[train], of_train, *there, True))
        runs[-1]["macro_f1 celltypist"] = macro_f1(
            truth[test], celltypist(values[train], values[test], truth[train]), n_classes
        )
        if only_sets:
            print(cells.name, "seed", seed, flush=True)
            continue
        order = np.random.default_rng(seed).permutation(train)
        for size in fit.CURVE:
            few = np.concatenate([order[truth[order] == k][:size] for k in range(n_classes)])
            if len(few) >= n_classes * size / 2:
                expression = (values[few], values[test])
                curve[size].append(score_few(features.take(few), truth[few], *there, expression))
        print(cells.name, "seed", seed, flush=True)
    for k, name in enumerate(names if n_classes > 2 and not only_sets else ()):
        folds = fit.make_folds(truth, units)
        train, test = np.flatnonzero((folds != 0) & (truth != k)), np.flatnonzero((folds == 0) | (truth == k))
        number = np.insert(np.arange(n_classes - 1), k, -1)
        of_train = None if units is None else units[train]
        scores = learn_and_test(
            features.take(train), number[truth[train]], of_train, features.take(test), number[truth[test]],
            n_classes - 1, True,
        )  # fmt: skip
        left_out[name] = {key: rounded(scores[key]) for key in scores if key.startswith(("unseen", "seen"))}
    found = {"cells": len(truth), "cells_in_file": cells.n_in_file, "types": n_classes, "units": UNITS.get(cells.name)}
    found |= {"scores": summary(runs), "curve": {size: summary(rows) for size, rows in curve.items() if rows}}
    aurocs = [{"unseen auroc": scores["unseen auroc"]} for scores in left_out.values()]
    return found | {"left_out": left_out, "left_out_mean": summary(aurocs) if len(aurocs) > 1 else {}}


def across(one: Cells, other: Cells, is_same: bool) -> dict:
    """Learned from one dataset, tested on another; types that the first lacks are unseen."""
    labels = [part.labels if is_same else np.array([WORDS[part.name].get(x) for x in part.labels], object)
              for part in (one, other)]  # fmt: skip
    kept = [np.array([label is not None for label in part]) for part in labels]
    one, other = one.take(kept[0]), other.take(kept[1])
    labels = [part[mask] for part, mask in zip(labels, kept, strict=True)]
    names = enough(labels[0])
    mine = np.isin(labels[0].astype(str), names)
    one, truth = one.take(mine), codes(labels[0][mine], names)
    both = one.counts.is_measured & other.counts.is_measured
    space = FeatureSpace.fit(one.counts, one.embedding, both)
    train, test = space.transform(one.counts, one.embedding), space.transform(other.counts, other.embedding)
    wanted, runs = codes(labels[1], names), []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(truth), int(0.8 * len(truth)), replace=False))
        runs.append(learn_and_test(train.take(rows), truth[rows], None, test, wanted, len(names), False))
    print(one.name, "to", other.name, flush=True)
    unseen = sorted({str(label) for label in labels[1]} - set(names))
    found = {"cells": [len(truth), len(wanted)], "types": names, "genes": int(both.sum()), "unseen": unseen}
    return found | {"scores": summary(runs)}


def rounded(value: float | None) -> float | None:
    """Four digits."""
    return None if value is None else round(float(value), 4)


def summary(runs: list[dict]) -> dict:
    """Mean with a 95 % interval (Student's t) over runs, by score."""
    from scipy.stats import t

    found = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs if run[name] is not None], dtype=np.float64)
        if len(values):
            half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
            found[name] = [rounded(values.mean()), rounded(values.mean() - half), rounded(values.mean() + half)]
    return found


def main() -> int:
    """Run what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="sets or pairs, as the results name them")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sets", action="store_true", help="within datasets: only the scores of sets, anew")
    parser.add_argument("--light", action="store_true", help="within datasets: no learning curve, no type left out")
    args = parser.parse_args()
    model, info = load_checkpoint(), checkpoint_info(default_checkpoint())
    found = {"checkpoint": info.name, "hash": info.hash, "most_cells_of_a_type": MOST_OF_TYPE, "seeds": SEEDS}
    found |= {"nominal_coverage": COVERAGE, "interval": "mean, low, high: 95 % over seeds", "within": {}, "across": {}}
    found |= {"rules": {}} | (json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {})
    opened: dict[str, Cells] = {}

    def cells(name: str, which: tuple[str, str] | None = None) -> Cells:
        if name not in opened:
            opened[name] = Cells(args.data / f"{name}.h5ad", model, args.embeddings)
        part = opened[name]
        return part if which is None else part.take((part.counts.obs[which[0]].astype(str) == which[1]).to_numpy())

    def write() -> None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def title_of(pair: tuple) -> str:
        sides = [name.split("/")[1] if which is None else f"{name.split('/')[1]} {which[1]}" for name, which in pair]
        return " to ".join(sides)

    asked = {
        name: ("within", lambda name=name: within(cells(f"evaluation/{name}"), only_sets=args.light)) for name in WITHIN
    }
    for kind, pairs in (("across", ACROSS), ("rules", RULES)):
        for one, other in pairs:
            run = lambda one=one, other=other: across(cells(*one), cells(*other), one[0] == other[0])  # noqa: E731
            asked[title_of((one, other))] = (kind, run)
    for name in args.only or asked:
        kind, run = asked[name]
        if args.sets and kind == "within":
            scores = within(cells(f"evaluation/{name}"), only_sets=True)["scores"]
            found[kind][name]["scores"] |= {score: scores[score] for score in OF_SETS if score in scores}
            found[kind][name]["sets"] = SETS
            write()
        elif name not in found[kind]:
            found[kind][name] = run()
            write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
