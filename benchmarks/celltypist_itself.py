"""CellTypist as it is published, on the splits of `annotation.py`, beside the recipe that stands for it there.

    python benchmarks/celltypist_itself.py DATA [--only NAME ...] [--seeds 1] [--out FILE]

CellTypist 1.7.1 asks scikit-learn for `multi_class`, which is gone since 1.8; the one class that it takes from there is
replaced by one that fits each type against the rest, as the argument did. All else is CellTypist's own: scaling,
clipping, training and prediction. No embedding is needed. Written to `celltypist` in the results of `annotation.py`:
macro-F1 of both and the share of test cells with equal labels, first seeds.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("CELLTYPIST_FOLDER", tempfile.mkdtemp())

from annotation import RESULTS, UNITS, WITHIN, celltypist, codes, enough, log_values  # noqa: E402
from labelled_cells import choose_rows  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

from scfviz.data.open import open_dataset  # noqa: E402
from scfviz.model.checkpoint import load_checkpoint  # noqa: E402
from scfviz.tasks.annotation import fit  # noqa: E402
from scfviz.tasks.annotation.scores import macro_f1  # noqa: E402


class OneAgainstRest(LogisticRegression):
    """Logistic regression of each type against the rest, as `multi_class="ovr"` was."""

    def __init__(self, C=1.0, solver="lbfgs", max_iter=1000, multi_class="ovr", n_jobs=None):  # noqa: N803
        super().__init__(C=C, solver=solver, max_iter=max_iter)
        self.multi_class = multi_class

    def fit(self, values, labels):
        """One binary regression a type; of two types one is enough."""
        names = np.unique(labels)
        fitted = [
            LogisticRegression(C=self.C, solver=self.solver, max_iter=self.max_iter).fit(values, labels == name)
            for name in (names[1:] if len(names) == 2 else names)
        ]
        self.classes_, self.n_features_in_ = names, values.shape[1]
        self.coef_ = np.concatenate([one.coef_ for one in fitted])
        self.intercept_ = np.concatenate([one.intercept_ for one in fitted])
        return self


def label(known, new, labels: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Types that CellTypist gives new cells."""
    import anndata
    import celltypist as package
    import pandas as pd

    sys.modules["celltypist.train"].LogisticRegression = OneAgainstRest  # a function hides the module
    package.logger.set_level(40)
    cells = [anndata.AnnData(part.astype(np.float32), var=pd.DataFrame(index=genes)) for part in (known, new)]
    model = package.train(cells[0], labels=labels.astype(str))
    found = package.annotate(cells[1], model=model)
    return found.predicted_labels["predicted_labels"].to_numpy().astype(int)


def compare(path: Path, model, seed: int) -> dict[str, float]:
    """Both on the fifth that `annotation.py` tests with this seed."""
    counts = open_dataset(path).align(model.genes)
    counts = counts.subset(choose_rows(path.stem, counts.obs))
    labels = counts.obs["cell_type"].astype(str).to_numpy(object)
    names = enough(labels)
    counts = counts.subset(np.isin(labels, names))
    truth = codes(counts.obs["cell_type"].astype(str).to_numpy(object), names)
    units = counts.obs[UNITS[path.stem]].astype(str).to_numpy(object) if path.stem in UNITS else None
    values, genes = log_values(counts), np.asarray(model.genes)[counts.is_measured]
    folds = fit.make_folds(truth, units, seed=seed)
    tested = folds == seed % (folds.max() + 1)
    train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    recipe = celltypist(values[train], values[test], truth[train])
    itself = label(values[train], values[test], truth[train], genes)
    return {
        "macro_f1": macro_f1(truth[test], itself, len(names)),
        "macro_f1 of the recipe": macro_f1(truth[test], recipe, len(names)),
        "equal labels": float((itself == recipe).mean()),
        "cells": len(test),
    }


def main() -> int:
    """Run what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=WITHIN)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    model = load_checkpoint()
    for name in args.only:
        for seed in range(args.seeds):
            found = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
            kept = found.setdefault("celltypist", {}).setdefault(name, {})
            if str(seed) in kept:
                continue
            kept[str(seed)] = compare(args.data / "evaluation" / f"{name}.h5ad", model, seed)
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(name, seed, kept[str(seed)], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
