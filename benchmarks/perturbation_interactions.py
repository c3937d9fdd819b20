"""Genetic interactions against Norman's own fits: can the size be foretold from the single effects, do ours agree?

    python benchmarks/perturbation_interactions.py DATA [--out FILE]

fits    125 pairs of Norman et al. 2019: size of the interaction from their coefficients (mean less one) foretold from
        the correlation of both single effects, pairs that share a gene left out together
mini    pairs of `perturb_norman19_mini` (500 genes) with both genes measured alone: sizes measured by us against theirs

The sum of both knows nothing of interactions: its sizes are all zero. Results: results/perturbation_interactions.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from scfviz.data.open import open_dataset
from scfviz.data.perturbations import read_design
from scfviz.tasks.perturbation.effects import library_sizes, measure_effects
from scfviz.tasks.perturbation.interactions import learn_law, measure_interactions

RESULTS = Path(__file__).parent / "results" / "perturbation_interactions.json"
COEFFICIENTS = {"least_squares": ("coef_first", "coef_second"), "theil_sen": ("ts_coef_first", "ts_coef_second")}
N_RESAMPLES = 1_000


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    fits = pd.read_csv(args.data / "perturbation" / "norman_gi_regression_fits_doubles.csv.gz")
    found = {"fits": {name: measure_law(fits, *columns) for name, columns in COEFFICIENTS.items()}}
    found["mini"] = measure_mini(args.data / "panels" / "perturb_norman19_mini.h5ad", fits)
    print(json.dumps(found, indent=1))
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def measure_law(fits: pd.DataFrame, first: str, second: str) -> dict[str, Any]:
    """Sizes foretold by the law of `interactions`, learned on pairs without either gene."""
    size = (fits[first] + fits[second]).to_numpy() / 2 - 1
    likeness = fits["corr_first_second"].to_numpy()
    genes = [set(name.split("_")) for name in fits["name"]]
    said = np.zeros(len(size))
    for i, pair in enumerate(genes):
        rest = np.array([k for k, other in enumerate(genes) if not pair & other])
        law = learn_law(pd.DataFrame({"likeness": likeness[rest], "size": size[rest]}))
        said[i] = law.predict(likeness[i])
    rng, drawn = np.random.default_rng(0), []
    for _ in range(N_RESAMPLES):
        rows = rng.integers(0, len(size), len(size))
        drawn.append(spearmanr(said[rows], size[rows]).statistic)
    mean_error = float(((size - size.mean()) ** 2).mean())
    return {
        "n": len(size),
        "mean_size": round(float(size.mean()), 3),
        "spearman": round(float(spearmanr(said, size).statistic), 3),
        "spearman_interval": [round(float(v), 3) for v in np.quantile(drawn, [0.025, 0.975])],
        "pearson": round(float(pearsonr(said, size).statistic), 3),
        "error_of_law": round(float(((said - size) ** 2).mean()), 4),
        "error_of_sum": round(float((size**2).mean()), 4),
        "error_of_mean": round(mean_error, 4),
    }


def measure_mini(path: Path, fits: pd.DataFrame) -> dict[str, Any]:
    """Ours beside theirs, pair by pair."""
    opened = open_dataset(path)
    counts = opened.counts
    design = read_design(counts.obs, uns=opened.adata.uns)
    measured = measure_interactions(measure_effects(counts, design, sizes=library_sizes(counts, "ncounts")))
    theirs = {frozenset(row.name_.split("_")): row for row in fits.rename(columns={"name": "name_"}).itertuples()}
    rows = []
    for one in measured.itertuples():
        row = theirs.get(frozenset((one.first, one.second)))
        size = None if row is None else round(float((row.coef_first + row.coef_second) / 2 - 1), 3)
        ends = [round(float(v), 3) for v in (one.size, one.low, one.high)]
        rows.append({"pair": f"{one.first}+{one.second}", "ours": ends, "type": one.type, "theirs": size})
    return {"pairs": rows}


if __name__ == "__main__":
    sys.exit(main())
