"""Two screens of which only significant fold changes are published: what can be foretold of perturbations left out?

    python benchmarks/perturbation_catalogue.py DATA [--out FILE]

Knock-downs of Adamson 2016 and knock-outs of Datlinger 2017 from the Perturbation Catalogue: a pair of perturbation and
gene is listed where the change is significant and at least twofold. A pair that is not listed is unknown, not zero.

listed    is the pair in the list? AUROC over perturbations within a gene and a fold, mean over both: a view that says
          the same of every perturbation has exactly 0.5
change    log2 fold change of listed pairs alone: squared error over that of "no change", share of right signs, and
          Pearson's r over the genes of a perturbation

Of changes the mean is that of the training perturbations that list the gene, and the other views learn what is above
it, nothing where a pair is not listed. Weights are learned over folds within the training perturbations.
Genes that few perturbations list are left out, and of every
perturbation its own gene. Five seeds of the folds and networks; intervals by resampling perturbations, first seed.
Results go to benchmarks/results/perturbation_catalogue.json.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from perturbation import SEEDS, ahead, macro, write

from scfviz.tasks.perturbation import scores
from scfviz.tasks.perturbation.effects import symbols_of
from scfviz.tasks.perturbation.graph import GeneSignals, spread_signals
from scfviz.tasks.perturbation.methods import ADDITIVE, MEAN, MODEL_VIEWS, NO_CHANGE, VIEWS, Views
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of
from scfviz.tasks.views import combine, weigh

RESULTS = Path(__file__).parent / "results" / "perturbation_catalogue.json"
TABLE = Path("perturbation") / "perturbation_catalogue_perturbseq_log2fc_v2.csv.gz"
STUDIES = {"adamson_2016_upr_perturb_seq_curated": 5, "datlinger_2017_curated": 2}  # listings that a gene needs
N_FOLDS, LEAST_PAIRS = 5, 5
COMBINED = ("combination", "without_model")
USED = tuple(view for view in VIEWS if view != ADDITIVE)  # the mean, where all are single genes


@dataclass(frozen=True)
class Screen:
    """One question about one study.

    Attributes
    ----------
    names, genes
        Of perturbations and of genes read out.
    values
        float64 (n, n_genes): log2 fold change, 0 where the pair is not listed; or whether it is listed.
    judged
        bool (n, n_genes): pairs that are scored.
    signals
        Over the graph of genes, from all perturbations.
    """

    names: tuple[str, ...]
    genes: tuple[str, ...]
    values: np.ndarray
    judged: np.ndarray
    signals: GeneSignals
    is_change: bool


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    table, spaces = pd.read_csv(args.data / TABLE), spaces_of()
    found: dict[str, Any] = {"checkpoint": dict(spaces["model"].source), "studies": describe(table)}
    for study, least in STUDIES.items():
        rows = table[table["study_id"] == study]
        for question in ("listed", "change"):
            screen = read_screen(rows, least, spaces, is_change=question == "change")
            found[f"{study} {question}"] = measure(screen, spaces)
            print(study, question, json.dumps(found[f"{study} {question}"]), flush=True)
            write(found, args.out)
    return 0


def describe(table: pd.DataFrame) -> dict[str, Any]:
    """What is listed of each study: enough to see what can be judged."""
    found = {}
    for study, rows in table.groupby("study_id"):
        listed = rows["gene"].value_counts()
        of_gene = (rows["log2fc"] > 0).groupby(rows["gene"]).mean()
        found[str(study)] = {
            "n_perturbations": int(rows["perturbation"].nunique()),
            "n_pairs": len(rows),
            "share_up": round(float((rows["log2fc"] > 0).mean()), 4),
            "least_abs_log2fc": round(float(rows["log2fc"].abs().min()), 3),
            "n_genes": len(listed),
            "n_genes_listed_5_times": int((listed >= 5).sum()),
            "n_of_these_with_both_signs": int(of_gene[listed.index[listed >= 5]].between(0, 1, "neither").sum()),
        }
    return found


def read_screen(rows: pd.DataFrame, least: int, spaces: Mapping[str, GeneSpace], *, is_change: bool) -> Screen:
    """Pairs of one study as a table, with the model's symbols."""
    of_gene, of_name = (symbols_of(rows[column].tolist()) for column in ("gene", "perturbation"))
    pairs = pd.DataFrame({"name": of_name, "gene": of_gene, "change": rows["log2fc"].to_numpy()})
    wide = pairs.pivot_table(index="name", columns="gene", values="change", aggfunc="first")
    wide = wide.loc[:, wide.notna().sum() >= least]
    names, genes = tuple(wide.index), tuple(wide.columns)
    others, listed = np.array(names)[:, None] != np.array(genes)[None, :], wide.notna().to_numpy()
    signals = spread_signals(spaces, names)
    if is_change:
        return Screen(names, genes, wide.fillna(0).to_numpy(), others & listed, signals, is_change=True)
    return Screen(names, genes, listed.astype(float), others, signals, is_change=False)


def measure(screen: Screen, spaces: Mapping[str, GeneSpace]) -> dict[str, Any]:
    """Every view and the combination over five seeds; the combination beside the best view, the mean, and no model."""
    runs = [hold_out(screen, spaces, seed) for seed in SEEDS]
    judge, compare = (judge_change, compare_change) if screen.is_change else (judge_listed, compare_listed)
    rows = [judge(screen, said, folds) for said, folds, _ in runs]
    table = {view: {name: by_seed([row[view][name] for row in rows]) for name in rows[0][view]} for view in rows[0]}
    said, folds, weights = runs[0]
    alone = [view for view in said if view not in COMBINED]
    best = [max(alone, key=lambda view, row=row: order_of(row[view])) for row in rows]
    others = dict.fromkeys((best[0], MEAN, "without_model"))
    return {
        "n_perturbations": len(screen.names),
        "n_genes": len(screen.genes),
        "n_pairs_listed": int((screen.judged & (screen.values != 0)).sum()),
        "views": table,
        "weights": {view: round(float(np.mean([one[view] for one in weights])), 3) for view in alone},
        "ahead": {other: compare(screen, said["combination"], said[other], folds) for other in others},
        "ahead_of_best_by_seed": [
            {"best": view} | compare(screen, one["combination"], one[view], of)
            for view, (one, of, _) in zip(best, runs, strict=True)
        ],
    }


def order_of(row: Mapping[str, float]) -> float:
    """The higher the better a view."""
    return row["auroc"] if "auroc" in row else -row["error_ratio"]


def by_seed(values: list[float]) -> dict[str, float | None]:
    """Mean and range over seeds; None of what could not be judged."""
    if not np.isfinite(values).all():
        return {"mean": None, "low": None, "high": None}
    return {name: round(float(of(values)), 4) for name, of in (("mean", np.mean), ("low", min), ("high", max))}


def hold_out(
    screen: Screen, spaces: Mapping[str, GeneSpace], seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, list[dict[str, float]]]:
    """What views and combinations say of perturbations left out, the fold of each, and the weights of each fold."""
    n = len(screen.names)
    order, folds = np.random.default_rng(seed).permutation(n), np.zeros(n, dtype=int)
    found: dict[str, np.ndarray] = {}
    all_weights = []
    for number, held in enumerate(np.array_split(order, N_FOLDS)):
        folds[held] = number
        rest = np.setdiff1d(order, held)
        hidden = ~screen.judged[rest]
        inner = {view: np.where(hidden, 0, v) for view, v in out_of_fold(screen, rest, spaces, seed).items()}
        others = {view: v for view, v in inner.items() if view not in MODEL_VIEWS}
        truth = np.where(hidden, 0, screen.values[rest])
        weights, without = (weigh(some, truth, rest, loss="squared").weights for some in (inner, others))
        said = say(screen, rest, held, spaces, seed)
        said |= {"combination": combine(said, weights), "without_model": combine(said, without)}
        for view, v in said.items():
            found.setdefault(view, np.zeros(screen.values.shape))[held] = v
        all_weights.append(weights)
    return found, folds, all_weights


def out_of_fold(screen: Screen, rows: np.ndarray, spaces: Mapping[str, GeneSpace], seed: int) -> dict[str, np.ndarray]:
    """What views say of each of some perturbations from the others of them: (n_rows, n_genes) each."""
    found: dict[str, np.ndarray] = {}
    order = np.random.default_rng(seed).permutation(len(rows))
    for held in np.array_split(order, N_FOLDS):
        rest = rows[np.setdiff1d(order, held)]
        for view, v in say(screen, rest, rows[held], spaces, seed).items():
            found.setdefault(view, np.zeros((len(rows), len(screen.genes))))[held] = v
    return found


def say(
    screen: Screen, known: np.ndarray, asked: np.ndarray, spaces: Mapping[str, GeneSpace], seed: int
) -> dict[str, np.ndarray]:
    """What each view says of some perturbations from others: (n_asked, n_genes) each."""
    targets, values = [(name,) for name in screen.names], screen.values[known]
    base = np.zeros(len(screen.genes))
    if screen.is_change:
        listed = values != 0
        base = values.sum(axis=0) / np.maximum(listed.sum(axis=0), 1)
        values = np.where(listed, values - base, 0)
    views = Views(screen.genes, tuple(targets[i] for i in known), values, spaces).with_graph(screen.signals, seed)
    said = {view: base + v for view, v in views.predict([targets[i] for i in asked], USED).items()}
    return said | {NO_CHANGE: np.zeros((len(asked), len(screen.genes)))}


def pairs_of(screen: Screen, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column, and the number of the gene and fold together, of every judged pair."""
    row, column = np.nonzero(screen.judged)
    return row, column, folds[row] * len(screen.genes) + column


def judge_listed(screen: Screen, said: Mapping[str, np.ndarray], folds: np.ndarray) -> dict[str, dict[str, float]]:
    """AUROC of every view."""
    row, column, block = pairs_of(screen, folds)
    truth = screen.values[row, column]
    return {view: {"auroc": macro(truth, v[row, column], block)} for view, v in said.items()}


def compare_listed(screen: Screen, one: np.ndarray, other: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """Difference of the AUROC with its interval."""
    row, column, block = pairs_of(screen, folds)
    return ahead(screen.values[row, column], one[row, column], other[row, column], block, row)


def judge_change(screen: Screen, said: Mapping[str, np.ndarray], folds: np.ndarray) -> dict[str, dict[str, float]]:
    """Error ratio, signs and correlation of every view, over listed pairs."""
    row, column, _ = pairs_of(screen, folds)
    truth = screen.values[row, column]
    many = [i for i, judged in enumerate(screen.judged) if judged.sum() >= LEAST_PAIRS]
    found = {}
    for view, v in said.items():
        right = (np.sign(v) == np.sign(screen.values)) + 0.5 * (v == 0)
        found[view] = {
            "error_ratio": float(((v[row, column] - truth) ** 2).sum() / (truth**2).sum()),
            "sign": float(np.mean([right[i, screen.judged[i]].mean() for i in many])),
            "pearson": mean_r(screen, v, many),
        }
    return found


def mean_r(screen: Screen, said: np.ndarray, rows: list[int]) -> float:
    """Mean over perturbations of Pearson's r over their listed genes; that of a constant is 0."""
    of_rows = [scores.pearson(*(x[i, screen.judged[i]][None] for x in (said, screen.values)))[0] for i in rows]
    return float(np.mean(np.nan_to_num(of_rows)))


def compare_change(screen: Screen, one: np.ndarray, other: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """Share of the squared error of the other that one takes off, with its interval over perturbations."""
    errors = [np.where(screen.judged, v - screen.values, 0) ** 2 for v in (one, other)]
    sums = np.array([each.sum(axis=1) for each in errors]).T

    def share(rows: np.ndarray) -> float:
        return float(1 - rows[:, 0].sum() / rows[:, 1].sum())

    low, high = scores.interval(sums, share)
    return {"share": round(share(sums), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    sys.exit(main())
