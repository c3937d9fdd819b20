"""What a predicted response of a cell type is worth: one type left out, every view, the combination, the replicate.

    python benchmarks/response.py DATA [--out FILE]

Interferon-beta in blood (Kang et al.), two excerpts of it; cells that are also in the pretraining corpus are left out.
Each type's treated cells are unseen by everything, weights included; seeds change the halves of the replicate and the
cells that are embedded (five of the larger set, one of the other). Results go to benchmarks/results/response.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.data.open import OpenDataset, open_dataset
from scfviz.data.perturbations import read_design
from scfviz.model.checkpoint import SHIPPED, checkpoint_info, load_checkpoint
from scfviz.model.infer import embed_cells
from scfviz.tasks.perturbation import scores
from scfviz.tasks.response.learn import leave_types_out, score_types, stratum, summarise
from scfviz.tasks.response.measure import Responses, measure_responses
from scfviz.tasks.response.methods import ResponseViews
from scfviz.tasks.views import combine, weigh

RESULTS = Path(__file__).parent / "results" / "response.json"
SETS = {"kang_ifnb_2800": ("evaluation", 5), "kang_ifnb_labelled_1975": ("panels", 1)}
MOST_GENES, MOST_EMBEDDED, DRAWN, N_RESAMPLES = 40_000, 60, 40, 1_000
ROOM = 0.05  # by which a repeat is ahead of the mean shift in r


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    info = checkpoint_info(SHIPPED)
    found: dict[str, Any] = {"checkpoint": {"name": info.name, "hash": info.hash}}
    for name, (folder, n_seeds) in SETS.items():
        found[name] = measure_set(args.data / folder / f"{name}.h5ad", n_seeds)
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps({view: row["error_ratio"] for view, row in found[name]["views"].items()}), flush=True)
    return 0


def measure_set(path: Path, n_seeds: int) -> dict[str, Any]:
    """All seeds of one set."""
    opened = open_dataset(path)
    keep = np.flatnonzero(~opened.counts.obs["also_in_kang_ifnb_2k"].to_numpy(dtype=bool))
    embedded = embed_some(opened, keep)
    print("embedded", flush=True)
    runs = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        counts = opened.counts.subset(keep[rng.permutation(len(keep))] if seed else keep)
        design = read_design(counts.obs, column="condition", is_genetic=False)
        responses = measure_responses(counts, design, "cell_type", most_genes=MOST_GENES)
        places = np.array([rng.permutation(embedded[one])[:DRAWN].mean(axis=0) for one in responses.types])
        runs.append(measure_seed(responses, places, seed))
        print(seed, runs[-1]["ahead_of_best"], flush=True)
    r = {row["type"]: row for row in runs[0]["types"]}
    return runs[0] | {
        "types_with_room": [name for name, row in r.items() if row["replicate"] - row["r"]["mean"] >= ROOM],
        "by_seed": [{view: round(row["error_ratio"], 4) for view, row in run["views"].items()} for run in runs],
    }


def embed_some(opened: OpenDataset, keep: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings of some control cells of each type."""
    model = load_checkpoint(SHIPPED)
    obs = opened.counts.obs.iloc[keep]
    is_control = read_design(obs, column="condition", is_genetic=False).codes == 0
    aligned, found = opened.align(model.genes), {}
    for name in sorted(set(obs["cell_type"].astype(str))):
        rows = np.flatnonzero(is_control & (obs["cell_type"].astype(str) == name).to_numpy())
        rows = np.sort(keep[np.random.default_rng(0).permutation(rows)[:MOST_EMBEDDED]])
        if len(rows):
            found[name] = embed_cells(aligned.subset(rows).rows(0, len(rows)), model).values
    return found


def measure_seed(responses: Responses, places: np.ndarray, seed: int) -> dict[str, Any]:
    """Each measured type left out of views and weights alike."""
    rows = np.flatnonzero(responses.is_measured)
    known, places = responses.take(rows), places[rows]
    said: dict[str, list[np.ndarray]] = {}
    weights = []
    for i in range(len(rows)):
        rest = np.delete(np.arange(len(rows)), i)
        others = known.take(rest)
        weights.append(weights_of(others, places[rest], seed))
        views = ResponseViews(others.basal, others.change, others.trust, places[rest])
        found = views.predict(known.basal[[i]], places[[i]])
        found["combination"] = combine(found, weights[-1])
        if seed == 0:
            found["without_model"] = combine(found, weights_of(others, None, seed))
        for view, values in found.items():
            said.setdefault(view, []).append(values[0])
    stacked = {view: np.array(values) for view, values in said.items()}
    table = score_types(known, stacked)
    views = summarise(known, stacked, table)
    errors = {view: ((values - known.change) ** 2).sum(axis=1) * known.trust for view, values in stacked.items()}
    best = min((view for view in views if view not in ("combination", "without_model")), key=lambda v: errors[v].sum())
    return {
        "n_types": len(rows),
        "n_genes": len(known.genes),
        "views": {view: {k: None if v is None else round(v, 4) for k, v in row.items()} for view, row in views.items()},
        "best": best,
        "ahead_of_best": less(errors[best], errors["combination"]),
        "ahead_of_mean": less(errors["mean"], errors["combination"]),
        "ahead_of_without_model": less(errors["without_model"], errors["combination"]) if seed == 0 else None,
        "weights": {view: round(float(np.mean([one.get(view, 0.0) for one in weights])), 3) for view in weights[0]},
        "types": by_type(known, stacked, table),
    }


def weights_of(known: Responses, places: np.ndarray | None, seed: int) -> dict[str, float]:
    """Weights of the views, learned on these types alone."""
    _, scaled, truth = leave_types_out(known, places)
    return weigh(scaled, truth, np.arange(len(truth)), loss="squared", seed=seed).weights


def less(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Share of the squared error that is taken away, with its 95 % interval by resampling types."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(N_RESAMPLES):
        rows = rng.integers(0, len(before), len(before))
        drawn.append(1 - after[rows].sum() / before[rows].sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "share": round(1 - after.sum() / before.sum(), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def by_type(known: Responses, said: dict[str, np.ndarray], table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a type: the replicate, its stratum, r of each view."""
    replicate = scores.pearson(*known.halves)
    rows = []
    for i, one in enumerate(known.types):
        r = {row["view"]: round(row["pearson_control"], 3) for row in table if row["type"] == one}
        rows.append(
            {
                "type": one,
                "n_controls": int(known.n_controls[i]),
                "n_treated": int(known.n_treated[i]),
                "replicate": round(float(replicate[i]), 3),
                "stratum": stratum(float(replicate[i])),
                "r": {view: None if value != value else value for view, value in r.items()},
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
