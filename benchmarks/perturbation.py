"""What predictions of perturbations are worth: every view, the combination, and the simple baselines.

    python benchmarks/perturbation.py DATA [--only perturbqa screens] [--lines k562 rpe1 jurkat]
        [--questions changed direction] [--out FILE]

perturbqa    official split, test knock-downs unseen: AUROC of each gene over knock-downs, mean over genes, five seeds
screens      Norman, Papalexi and McFaline-Figueroa, conditions left out, five seeds

Results go to benchmarks/results/perturbation.json; parts that are not asked for keep theirs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scfviz.data.open import open_dataset
from scfviz.tasks.perturbation import scores
from scfviz.tasks.perturbation.answers import (
    CHANGED,
    DIRECTION,
    VIEWS,
    Answerer,
    Answers,
    fit_answers,
)
from scfviz.tasks.perturbation.compute import fit_perturbations
from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.labels import LabelTable
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of
from scfviz.tasks.views import combine

RESULTS = Path(__file__).parent / "results" / "perturbation.json"
QUESTIONS = {CHANGED: "de", DIRECTION: "dir"}
SCREENS = {
    "perturb_norman19_mini": {"library": "ncounts"},
    "papalexi_thp1_299genes": {},
    "perturb_mcfaline23_mini": {"library": "ncounts"},
}
SEEDS = range(5)
BAR, N_NEAREST, N_RESAMPLES = "nearest_go_reactome", 10, 200


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=["perturbqa", "screens"])
    parser.add_argument("--lines", nargs="*", default=["k562", "rpe1", "jurkat"])
    parser.add_argument("--questions", nargs="*", default=list(QUESTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    found["checkpoint"] = dict(spaces_of()["model"].source)
    if "perturbqa" in args.only:
        spaces, graph = spaces_of(), read_graph(args.data / "knowledge" / "reactome_v2025_human.gmt", spaces_of()["go"])
        for line in args.lines:
            for question in args.questions:
                row = measure_line(args.data / "perturbqa", line, question, spaces, graph)
                found.setdefault("perturbqa", {})[f"{line} {question}"] = row
                write(found, args.out)
    if "screens" in args.only:
        for name, options in SCREENS.items():
            found.setdefault("screens", {})[name] = measure_screen(args.data / "panels" / f"{name}.h5ad", options)
            write(found, args.out)
    return 0


def write(found: dict[str, Any], path: Path) -> None:
    """Keep what was measured so far."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_graph(path: Path, go: GeneSpace) -> GeneSpace:
    """Genes by terms of Gene Ontology and Reactome together: the space of the bar."""
    place, rows, columns = dict(go.place), [], []
    for term, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        for gene in line.split("\t")[2:]:
            rows.append(place.setdefault(gene, len(place)))
            columns.append(term)
    pathways = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(place), max(columns) + 1))
    terms = sp.csr_matrix((go.vectors != 0).astype(np.float32))
    terms.resize(len(place), terms.shape[1])
    table = sp.hstack([terms, pathways]).tocsr()
    length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    return GeneSpace("go", place, sp.csr_matrix(sp.diags((1 / np.maximum(length, 1e-6)).astype(np.float32)) @ table))


def nearest(table: LabelTable, space: GeneSpace, names: Sequence[str]) -> np.ndarray:
    """The bar: mean label of a gene over the ten nearest knock-downs that have one, the gene's mean where none has."""
    order = np.argsort(-space.similarity(names, table.perturbations), axis=1, kind="stable")
    labels = table.labels.toarray()
    total, count = (np.zeros((len(names), labels.shape[1])) for _ in range(2))
    for k in range(order.shape[1]):
        values = labels[order[:, k]]
        use = (values > 0) & (count < N_NEAREST)
        total += np.where(use, values - 1, 0)
        count += use
        if k >= 50 * N_NEAREST:
            break
    return (total + table.frequency) / (count + 1)


def measure_line(
    folder: Path, line: str, question: str, spaces: dict[str, GeneSpace], graph: GeneSpace
) -> dict[str, Any]:
    """One question about one line: AUROC of every view, and by how much the combination is ahead of the bar."""
    table = pd.read_csv(folder / f"{line}-{QUESTIONS[question]}.csv.gz")
    train, test = (table[table["split"] == part] for part in ("train", "test"))
    labels = LabelTable.of_pairs(train["pert"], train["gene"], train["label"])
    test = test[test["gene"].isin(labels.genes)]
    names = sorted(test["pert"].unique())
    rows = np.searchsorted(names, test["pert"])
    columns = np.searchsorted(np.array(labels.genes), test["gene"])
    truth, genes = test["label"].to_numpy(), columns
    fits = [fit_answers(labels, spaces, seed=seed) for seed in SEEDS]
    known = Answerer(fits[0].table, spaces)
    evidence = {view: known.evidence_of_pairs(view, names, rows, columns) for view in VIEWS}
    of_seeds = [say_of_pairs(fit, evidence, known.frequency[columns]) for fit in fits]
    fit, said = fits[0], {BAR: nearest(labels, graph, names)[rows, columns]} | of_seeds[0]
    auroc = {view: macro(truth, values, genes) for view, values in said.items()}
    result = {
        "n_knock_downs": len(names),
        "n_genes": len(scores.auroc_per_gene(truth, said[BAR], genes)),
        "n_pairs": len(test),
        "views": {view: {"auroc": round(value, 4)} for view, value in auroc.items()},
        "weights": fit.weights,
        "weights_by_seed": [one.weights for one in fits],
        "combination_by_seed": [round(macro(truth, one["combination"], genes), 4) for one in of_seeds],
        "ahead_of_bar": ahead(truth, said["combination"], said[BAR], genes, rows),
        "ahead_of_best_by_seed": [ahead_of_best(truth, one, genes, rows) for one in of_seeds],
        "spread": {view: round(float(np.std(said[view] - known.frequency[columns])), 4) for view in said},
    }
    for other in ("go", "without_model"):
        result[f"ahead_of_{other}"] = ahead(truth, said["combination"], said[other], genes, rows)
    print(
        line,
        question,
        json.dumps({k: result[k] for k in ("views", "ahead_of_bar", "ahead_of_best_by_seed")}),
        flush=True,
    )
    return result


def say_of_pairs(
    fit: Answers, evidence: dict[str, tuple[np.ndarray, np.ndarray]], frequency: np.ndarray
) -> dict[str, np.ndarray]:
    """What each view, the combination, and that without the model say of pairs: float64 (n_pairs,) each."""
    said = {view: frequency + total / (weight + fit.shrinks[view]) for view, (total, weight) in evidence.items()}
    rest = fit.scores["weights_without_model"]
    return said | {"combination": combine(said, fit.weights), "without_model": combine(said, rest)}


def ahead_of_best(truth: np.ndarray, said: dict[str, np.ndarray], genes: np.ndarray, units: np.ndarray) -> dict:
    """By how much the combination is ahead of the view that is the best on these very pairs, which favours the view."""
    best = max(VIEWS, key=lambda view: macro(truth, said[view], genes))
    return {"best": best} | ahead(truth, said["combination"], said[best], genes, units)


def macro(truth: np.ndarray, said: np.ndarray, genes: np.ndarray) -> float:
    """Mean over genes of the AUROC over knock-downs."""
    return float(np.mean(list(scores.auroc_per_gene(truth, said, genes).values())))


def ahead(truth: np.ndarray, one: np.ndarray, other: np.ndarray, genes: np.ndarray, units: np.ndarray) -> dict:
    """Difference of the macro AUROC, with its 95 % interval by resampling knock-downs."""
    rng, (names, unit) = np.random.default_rng(0), np.unique(units, return_inverse=True)
    first, second = (resampler(truth, said, genes, unit) for said in (one, other))
    drawn = []
    for _ in range(N_RESAMPLES):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        drawn.append(first(times) - second(times))
    low, high = np.quantile(drawn, [0.025, 0.975])
    difference = macro(truth, one, genes) - macro(truth, other, genes)
    return {"difference": round(difference, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def resampler(
    truth: np.ndarray, said: np.ndarray, genes: np.ndarray, unit: np.ndarray
) -> Callable[[np.ndarray], float]:
    """The macro AUROC when each unit counts so many times: sorted once, whatever is drawn."""
    _, place = np.unique(genes, return_inverse=True)
    order = np.lexsort((said, place))
    place, values, unit, is_one = place[order], said[order], unit[order], truth[order] > 0
    starts = np.r_[True, (place[1:] != place[:-1]) | (values[1:] != values[:-1])]  # of equal values of a gene
    run, gene = np.cumsum(starts) - 1, place[starts]

    def macro_of(times: np.ndarray) -> float:
        weight = times[unit].astype(float)
        ones, zeros = (np.bincount(run, weights=weight * part) for part in (is_one, ~is_one))
        n_ones, n_zeros = (np.bincount(gene, weights=part) for part in (ones, zeros))
        below = np.cumsum(zeros) - zeros / 2 - (np.cumsum(n_zeros) - n_zeros)[gene]
        won = np.bincount(gene, weights=ones * below)
        both = (n_ones > 0) & (n_zeros > 0)
        return float((won[both] / (n_ones[both] * n_zeros[both])).mean())

    return macro_of


def measure_screen(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Held-out conditions of a screen: every view and the combination by kind of question, five seeds."""
    counts = open_dataset(path).counts
    runs = [fit_perturbations(counts, seed=seed, **options) for seed in SEEDS]
    print(path.stem, {kind: found["views"]["combination"] for kind, found in runs[0].scores.items()}, flush=True)
    return {"first_seed": runs[0].scores, "by_seed": [_short(run) for run in runs]}


def _short(run: PerturbationModel) -> dict[str, Any]:
    return {
        kind: {
            "best": found["best"],
            "gain_over_best": found["gain_over_best"],
            "gain_of_model": found["gain_of_model"],
            "gain_of_graph": found["gain_of_graph"],
            "graph_spread_rank": found["graph_spread_rank"],
            "weights": run.weights[kind],
            "coverage": found["coverage"]["measured"],
            "error_ratio": {view: row.get("error_ratio") for view, row in found["views"].items()},
        }
        for kind, found in run.scores.items()
    }


if __name__ == "__main__":
    sys.exit(main())
