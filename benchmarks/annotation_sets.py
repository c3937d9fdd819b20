"""How often sets of types hold the right one, by genes alone: the rule of the task beside half the error for each test.

    python benchmarks/annotation_sets.py DATA [--only NAME ...] [--out FILE]

DATA holds `corpus`, `evaluation` and `panels`. Logistic regression on variable genes and the distance in their
components, no embedding, so that it takes seconds a dataset; splits, samples of cells and seeds as in `annotation.py`,
whole donors or batches held out where `UNITS` names them. The rule was chosen on `DEVELOPMENT`. Written to `sets` in
the results of `annotation.py`: means over seeds of coverage (90 % asked for), that of the worst type of ten cells or
more, types per set, and share of cells of known types that are called unknown.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from annotation import COVERAGE, FEWEST_TESTED, RESULTS, SEEDS, UNITS, WITHIN, codes, enough, rounded, summary
from labelled_cells import choose_rows

from scfviz.data.open import open_dataset
from scfviz.model.checkpoint import load_checkpoint
from scfviz.tasks.annotation import conformal, fit
from scfviz.tasks.annotation.features import CellFeatures, FeatureSpace
from scfviz.tasks.annotation.methods import Prototype

DEVELOPMENT = {
    "panels/onek1k_1000genes": "donor",
    "panels/pancreas8_hvg2000_500": "tech",
    "corpus/geact_fetal_organs": "batch",
    "panels/kang_ifnb_labelled_1975": None,
    "panels/pdac_pancreas_1926": None,
    "corpus/mudan_sorted_reference": None,
}
RULES = {"half the error each": (0.5, 0.5), "belief all of it, distance half": (1.0, 0.5)}


def test(train: CellFeatures, truth, units, other: CellFeatures, wanted, n_classes: int) -> dict[str, dict[str, float]]:
    """Scores of the sets of other cells, by rule."""
    held = fit.hold_out(train, truth, n_classes, fit.make_folds(truth, units), (fit.BASELINE,))
    of_fold = np.arange(len(truth)) if units is None else units
    learned = fit.learn(train, truth, n_classes, held, of_fold, fit.BASELINE)
    known = fit.calibrate(learned, held, truth)
    doubt = conformal.disbelief(learned.probabilities(other))
    believed = conformal.forgiven(known.disbelief.p_values(doubt), doubt)
    near = known.strangeness.p_values(Prototype.fit("joint", train, truth, n_classes).strangeness(other))
    n_cells, found = np.bincount(wanted, minlength=n_classes), {}
    for rule, (of_belief, of_distance) in RULES.items():
        error = 1 - COVERAGE
        sets = (believed > of_belief * error) & (near > of_distance * error)
        inside = sets[np.arange(len(wanted)), wanted]
        by_type = (np.bincount(wanted, inside, n_classes) / np.maximum(n_cells, 1))[n_cells >= FEWEST_TESTED]
        found[rule] = {
            "coverage": float(inside.mean()),
            "coverage of the worst type": float(by_type.min()) if len(by_type) else None,
            "types per set": float(sets.sum(axis=1).mean()),
            "seen called unknown": float((~sets.any(axis=1)).mean()),
        }
    return found


def measure(path: Path, unit: str | None, genes: np.ndarray) -> dict:
    """All seeds of one dataset."""
    counts = open_dataset(path).align(genes)
    counts = counts.subset(choose_rows(path.stem, counts.obs))
    labels = counts.obs["cell_type"].astype(str).to_numpy(object)
    names = enough(labels)
    counts = counts.subset(np.isin(labels, names))
    truth = codes(counts.obs["cell_type"].astype(str).to_numpy(object), names)
    units = None if unit is None else counts.obs[unit].astype(str).to_numpy(object)
    features = FeatureSpace.fit(counts, None, counts.is_measured).transform(counts, None)
    runs: dict[str, list] = {rule: [] for rule in RULES}
    for seed in range(SEEDS):
        folds = fit.make_folds(truth, units, seed=seed)
        tested = folds == seed % (folds.max() + 1)
        train, other = np.flatnonzero(~tested), np.flatnonzero(tested)
        of_train = None if units is None else units[train]
        scores = test(features.take(train), truth[train], of_train, features.take(other), truth[other], len(names))
        for rule, one in scores.items():
            runs[rule].append(one)
    found = {"cells": len(truth), "types": len(names), "units": unit}
    return found | {rule: {key: [rounded(x) for x in value] for key, value in summary(of).items()}
                    for rule, of in runs.items()}  # fmt: skip


def main() -> int:
    """Run what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    genes = load_checkpoint().genes
    asked = DEVELOPMENT | {f"evaluation/{name}": UNITS.get(name) for name in WITHIN}
    for name in args.only or asked:
        found = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
        sets = found.setdefault("sets", {})
        if name not in sets:
            sets[name] = measure(args.data / f"{name}.h5ad", asked[name], genes)
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(name, {rule: sets[name][rule] for rule in RULES}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
