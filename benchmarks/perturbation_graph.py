"""What the network over the graph of genes is worth on PerturbQA, beside regression and neighbours on the same labels.

    python benchmarks/perturbation_graph.py DATA [--lines k562 rpe1 jurkat] [--questions changed direction]
        [--out FILE]

Official split, test knock-downs unseen. A knock-down's effect is what its labels are above each gene's frequency, zero
where there is no label, which draws every view towards zero: each is multiplied by one number. That and the weights are
learned over five folds of the training knock-downs. Read out are the genes that the test scores. AUROC of each gene
over knock-downs, mean over genes; five seeds of the networks; a negative control with the graph's genes shuffled.

Results go to benchmarks/results/perturbation_graph.json; lines that are not asked for keep theirs.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from perturbation import QUESTIONS, SEEDS, ahead, macro, write

from scfviz.tasks.perturbation import scores
from scfviz.tasks.perturbation.graph import GeneSignals, spread_signals
from scfviz.tasks.perturbation.labels import LabelTable
from scfviz.tasks.perturbation.methods import GRAPH, MEAN, Views
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of
from scfviz.tasks.views import combine, gain_from, weigh

RESULTS = Path(__file__).parent / "results" / "perturbation_graph.json"
OTHERS = (MEAN, "nearest_go", "ridge_go", "ridge_model")
VIEWS, SHUFFLED, N_FOLDS = (*OTHERS, GRAPH), "graph_shuffled", 5


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lines", nargs="*", default=["k562", "rpe1", "jurkat"])
    parser.add_argument("--questions", nargs="*", default=list(QUESTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    spaces = spaces_of()
    found["checkpoint"] = dict(spaces["model"].source)
    for line in args.lines:
        for question in args.questions:
            path = args.data / "perturbqa" / f"{line}-{QUESTIONS[question]}.csv.gz"
            found[f"{line} {question}"] = measure(path, spaces)
            print(line, question, json.dumps(found[f"{line} {question}"]), flush=True)
            write(found, args.out)
    return 0


def measure(path: Path, spaces: Mapping[str, GeneSpace]) -> dict[str, Any]:
    """One question about one line."""
    pairs = pd.read_csv(path)
    test = pairs[pairs["split"] == "test"]
    truth, genes = test["label"].to_numpy(), test["gene"].astype(str).to_numpy()
    scored = sorted(scores.auroc_per_gene(truth, truth, genes))
    train = pairs[(pairs["split"] == "train") & pairs["gene"].isin(scored)]
    labels = LabelTable.of_pairs(train["pert"], train["gene"], train["label"])
    test = test[test["gene"].isin(labels.genes)]
    names = sorted(test["pert"].unique())
    rows, columns = np.searchsorted(names, test["pert"]), np.searchsorted(np.array(labels.genes), test["gene"])
    truth = test["label"].to_numpy()
    signals = spread_signals(spaces, labels.perturbations)
    wrong = replace(signals, genes=tuple(np.random.default_rng(0).permutation(signals.genes).tolist()))
    views = views_of(labels, spaces)
    seeds = [views.with_graph(signals, seed) for seed in SEEDS]
    said = views.predict(singles(names), OTHERS)
    of_seeds = [one.predict(singles(names), [GRAPH])[GRAPH] for one in seeds]
    of_wrong = [views.with_graph(wrong, seed).predict(singles(names), [GRAPH])[GRAPH] for seed in SEEDS]
    auroc = {name: macro(truth, values[rows, columns], columns) for name, values in said.items()}
    by_seed = {
        name: [round(macro(truth, values[rows, columns], columns), 4) for values in many]
        for name, many in ((GRAPH, of_seeds), (SHUFFLED, of_wrong))
    }
    auroc |= {name: float(np.mean(values)) for name, values in by_seed.items()}
    weights, gain, without, slopes = learn_weights(labels, spaces, signals)
    said[GRAPH] = of_seeds[0]
    scaled = {name: slopes[name] * values for name, values in said.items()}
    both, alone = (combine(scaled, found)[rows, columns] for found in (weights, without))
    best = max(VIEWS, key=lambda name: macro(truth, said[name][rows, columns], columns))
    auroc |= {"combination": macro(truth, both, columns), "combination_without_graph": macro(truth, alone, columns)}
    frequency = views.predict(singles(names), [MEAN])[MEAN]
    return {
        "n_knock_downs": len(names),
        "n_trained_on": len(labels.perturbations),
        "n_genes": len(np.unique(columns)),
        "auroc": {name: round(value, 4) for name, value in auroc.items()},
        "by_seed": by_seed,
        "spread": {name: round(float((values - frequency).std()), 4) for name, values in said.items()},
        "weights": weights,
        "slopes": slopes,
        "gain_on_training_folds": gain,
        "graph_ahead_of_ridge_go": ahead(
            truth, said[GRAPH][rows, columns], said["ridge_go"][rows, columns], columns, rows
        ),
        "combination_ahead_of_best": {"best": best} | ahead(truth, both, said[best][rows, columns], columns, rows),
        "combination_ahead_of_that_without_graph": ahead(truth, both, alone, columns, rows),
    }


def singles(names: Sequence[str]) -> list[tuple[str]]:
    """Names as conditions of one gene."""
    return [(name,) for name in names]


def views_of(labels: LabelTable, spaces: Mapping[str, GeneSpace]) -> Views:
    """Views learned from labels as if they were changes."""
    return Views(labels.genes, tuple(singles(labels.perturbations)), labels.parts[0].toarray().astype(float), spaces)


def learn_weights(
    labels: LabelTable, spaces: Mapping[str, GeneSpace], signals: GeneSignals
) -> tuple[dict[str, float], dict[str, float], dict[str, float], dict[str, float]]:
    """Over folds of the knock-downs: weights, what the graph adds in squared error, weights without it, slopes."""
    said: dict[str, list[np.ndarray]] = {name: [] for name in VIEWS}
    truth, units = [], []
    order = np.random.default_rng(0).permutation(len(labels.perturbations))
    for held in np.array_split(order, N_FOLDS):
        known = labels.take(np.setdiff1d(order, held))
        part = labels.labels[held].tocoo()
        views = views_of(known, spaces).with_graph(signals)
        for name, values in views.predict(singles([labels.perturbations[i] for i in held]), VIEWS).items():
            said[name].append(values[part.row, part.col])
        truth.append(part.data - 1 - known.frequency[part.col])
        units.append(held[part.row])
    joined, right, unit = {k: np.concatenate(v) for k, v in said.items()}, np.concatenate(truth), np.concatenate(units)
    slopes = {name: float(max(v @ right, 0) / max(v @ v, 1e-12)) for name, v in joined.items()}
    joined = {name: slopes[name] * values for name, values in joined.items()}
    rest = {name: values for name, values in joined.items() if name != GRAPH}
    gain = gain_from([GRAPH], joined, right, unit, loss="squared")
    weights, without = (weigh(some, right, unit, loss="squared").weights for some in (joined, rest))
    return weights, {"share": gain.share, "low": gain.low, "high": gain.high, "n": gain.n_units}, without, slopes


if __name__ == "__main__":
    sys.exit(main())
