"""Whether the order of "what should I perturb next" is worth following, in a screen whose answers are known.

    python benchmarks/perturbation_next.py DATA [--out FILE]

K562 of PerturbQA: some knock-downs count as measured, more are added by the order or at random, and the official test
knock-downs are answered from them by their nearest in the Gene Ontology. Results:
benchmarks/results/perturbation_next.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from perturbation import macro

from scfviz.tasks.perturbation.answers import Answerer
from scfviz.tasks.perturbation.labels import LabelTable
from scfviz.tasks.perturbation.next_steps import choose_next
from scfviz.tasks.perturbation.spaces import spaces_of

RESULTS = Path(__file__).parent / "results" / "perturbation_next.json"
N_START, N_MORE, N_SEEDS, RHO, NOISE = 100, 200, 18, 0.3, 1.0  # set once, not tuned


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    table = pd.read_csv(args.data / "perturbqa" / "k562-de.csv.gz")
    train, test = (table[table["split"] == part] for part in ("train", "test"))
    labels = LabelTable.of_pairs(train["pert"], train["gene"], train["label"])
    test = test[test["gene"].isin(labels.genes)]
    go = {"go": spaces_of()["go"]}
    names = list(labels.perturbations)
    rows = go["go"].rows(names)
    near = np.asarray((rows @ rows.T).todense(), dtype=np.float64)
    np.fill_diagonal(near, 1.0)
    found = {"ranked": [], "random": [], "start": []}
    for seed in range(N_SEEDS):
        order = np.random.default_rng(seed).permutation(len(names))
        known, rest = order[:N_START], order[N_START:]
        chosen = rest[choose_next(near, rest, known, rho=RHO, noise=NOISE, n=N_MORE)[0]]
        sets = {"start": known, "ranked": np.r_[known, chosen], "random": order[: N_START + N_MORE]}
        for name, taken in sets.items():
            found[name].append(score(labels.take(np.sort(taken)), test, go))
        print(seed, {name: round(values[-1], 4) for name, values in found.items()}, flush=True)
    gain = np.array(found["ranked"]) - np.array(found["random"])
    low, high = np.quantile(
        [gain[np.random.default_rng(i).integers(0, N_SEEDS, N_SEEDS)].mean() for i in range(1000)], [0.025, 0.975]
    )
    result = {
        "line": "K562",
        "n_start": N_START,
        "n_more": N_MORE,
        "n_seeds": N_SEEDS,
        "auroc": {name: round(float(np.mean(values)), 4) for name, values in found.items()},
        "ahead_of_random": {"mean": round(float(gain.mean()), 4), "low": round(low, 4), "high": round(high, 4)},
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def score(labels: LabelTable, test: pd.DataFrame, spaces: dict) -> float:
    """AUROC over test knock-downs, mean over genes, by the nearest in the Gene Ontology."""
    known = Answerer(labels, spaces, readout={})
    names = sorted(test["pert"].unique())
    total, weight = known.evidence("go", names)
    shrink = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
    said = known.frequency + total / (weight + shrink)
    rows, columns = np.searchsorted(names, test["pert"]), np.searchsorted(np.array(labels.genes), test["gene"])
    return macro(test["label"].to_numpy(), said[rows, columns], columns)


if __name__ == "__main__":
    sys.exit(main())
