"""What other lines are worth for a line in which nothing was measured, and what they add where it was.

    python benchmarks/perturbation_transfer.py DATA [--only labels ranks] [--out FILE]

labels   PerturbQA, official test knock-downs of each line: the other lines' predictors and a copy of their labels
         beside the line's own predictor; split by whether the knock-down was measured in another line
ranks    585 knock-downs measured in K562 and in RPE1 as lists of the genes that rise most: is a gene in the list?
         Five seeds of the genes asked for and of the folds; AUROC within a gene and a fold

AUROC of each gene over knock-downs, mean over genes, with intervals over knock-downs. Results go to
benchmarks/results/perturbation_transfer.json; parts that are not asked for keep theirs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from perturbation import QUESTIONS, ahead, macro, nearest, read_graph

from scfviz.tasks.perturbation.answers import Answerer, fit_answers, predict_answers
from scfviz.tasks.perturbation.labels import LabelTable
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of

RESULTS = Path(__file__).parent / "results" / "perturbation_transfer.json"
LINES = ("k562", "rpe1", "jurkat")
N_FOLDS, FEWEST_ONES, MOST_GENES, N_SEEDS = 5, 15, 600, 5


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=["labels", "ranks"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    spaces = spaces_of()
    found["checkpoint"] = dict(spaces["model"].source)
    if "labels" in args.only:
        for question in QUESTIONS:
            for line, row in measure_labels(args.data / "perturbqa", question, spaces).items():
                found.setdefault("labels", {})[f"{line} {question}"] = row
            write(found, args.out)
    if "ranks" in args.only:
        graph = read_graph(args.data / "knowledge" / "reactome_v2025_human.gmt", spaces["go"])
        path = args.data / "perturbation" / "replogle_crispri_585kd_top1000_up_k562_rpe1.csv.gz"
        for target, other in (("RPE1", "K562"), ("K562", "RPE1")):
            runs = [measure_ranks(path, target, other, spaces, graph, seed) for seed in range(N_SEEDS)]
            found.setdefault("ranks", {})[f"{other} to {target}"] = {"by_seed": runs}
            write(found, args.out)
    return 0


def write(found: dict[str, Any], path: Path) -> None:
    """Keep what was measured so far."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure_labels(folder: Path, question: str, spaces: dict[str, GeneSpace]) -> dict[str, Any]:
    """Each line asked by its own predictor, by those of the others, and by a copy of the others' labels."""
    tables = {line: pd.read_csv(folder / f"{line}-{QUESTIONS[question]}.csv.gz") for line in LINES}
    fits, known = {}, {}
    for line, table in tables.items():
        train = table[table["split"] == "train"]
        fits[line] = fit_answers(LabelTable.of_pairs(train["pert"], train["gene"], train["label"]), spaces)
        known[line] = Answerer(fits[line].table, spaces)
    found = {}
    for line in LINES:
        test = tables[line]
        test = test[(test["split"] == "test") & test["gene"].isin(fits[line].table.genes)].reset_index(drop=True)
        said = {}
        names = sorted(test["pert"].unique())
        for other in LINES:
            answered = predict_answers(fits[other], names, spaces, known[other])
            values = pd.DataFrame(answered.estimate, index=names, columns=list(answered.genes))
            said[other] = lookup(values, test)
        others = [other for other in LINES if other != line]
        copies = [copy_of(tables[other], fits[other], test) for other in others]
        views = {
            "own": said[line],
            "others": mean_known([said[other] for other in others]),
            "copy_of_others": mean_known([values for values, _ in copies]),
        }
        views["own_and_others"] = mean_known([views["own"], views["others"]])
        elsewhere = np.any([there for _, there in copies], axis=0)
        seen_train = np.any(
            [test["pert"].isin(set(tables[o].query("split == 'train'")["pert"])).to_numpy() for o in others], axis=0
        )
        everywhere = np.all([np.isfinite(values) for values in views.values()], axis=0)
        found[line] = {
            "all": judge(test, views, everywhere),
            "measured_elsewhere": judge(test, views, everywhere & elsewhere & seen_train),
            "unseen_everywhere": judge(test, views, everywhere & ~seen_train),
        }
        print(line, question, json.dumps(found[line]["all"]["views"]), flush=True)
    return found


def lookup(values: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """The estimate of each pair, NaN where the gene was not read out."""
    columns = values.columns.get_indexer(test["gene"])
    rows = values.index.get_indexer(test["pert"])
    return np.where(columns >= 0, values.to_numpy()[rows, np.maximum(columns, 0)], np.nan)


def copy_of(table: pd.DataFrame, fit: Any, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The other line's label of the same pair in all of its data, the gene's frequency where it has none."""
    labels = table.set_index(["pert", "gene"])["label"]
    labels = labels[~labels.index.duplicated()]
    copied = labels.reindex(pd.MultiIndex.from_frame(test[["pert", "gene"]])).to_numpy(dtype=float)
    frequency = pd.Series(fit.table.frequency, index=list(fit.table.genes)).reindex(test["gene"]).to_numpy()
    return np.where(np.isfinite(copied), copied, frequency), np.isfinite(copied)


def mean_known(parts: list[np.ndarray]) -> np.ndarray:
    """Mean of those that are known."""
    stacked = np.stack(parts)
    known = np.isfinite(stacked)
    return np.where(
        known.any(axis=0), np.where(known, stacked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def judge(test: pd.DataFrame, views: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, Any]:
    """AUROC of each view on some pairs, and how far others and both are ahead of the line's own."""
    part = test[rows]
    truth, genes = part["label"].to_numpy(), part["gene"].to_numpy()
    units = part["pert"].to_numpy()
    said = {name: values[rows] for name, values in views.items()}
    if len(part) < 200:
        return {"n_pairs": len(part)}
    return {
        "n_pairs": len(part),
        "n_knock_downs": int(part["pert"].nunique()),
        "views": {name: round(macro(truth, values, genes), 4) for name, values in said.items()},
        "others_ahead_of_chance": ahead(truth, said["others"], np.zeros(len(truth)), genes, units),
        "others_ahead_of_own": ahead(truth, said["others"], said["own"], genes, units),
        "both_ahead_of_own": ahead(truth, said["own_and_others"], said["own"], genes, units),
    }


def measure_ranks(
    path: Path, target: str, other: str, spaces: dict[str, GeneSpace], graph: GeneSpace, seed: int
) -> dict[str, Any]:
    """Is a gene among those that rise most? Own line's other knock-downs, and a copy of the other line's list.

    The seed draws the genes that are asked for, of those in 15 lists and out of 15, and the folds of knock-downs.
    """
    rng = np.random.default_rng(seed)
    table = pd.read_csv(path)
    lists = {
        line: {row.knockdown: row.genes_ranked_most_up_first.split() for row in part.itertuples()}
        for line, part in table.groupby("context")
    }
    names = sorted(set(lists[target]) & set(lists[other]))
    counts = pd.Series([gene for name in names for gene in lists[target][name]]).value_counts()
    asked_for = np.sort(counts.index[(counts >= FEWEST_ONES) & (counts <= len(names) - FEWEST_ONES)].to_numpy(str))
    genes = sorted(map(str, rng.permutation(asked_for)[:MOST_GENES]))
    place = {gene: i for i, gene in enumerate(genes)}
    truth, copied = np.zeros((len(names), len(genes))), np.zeros((len(names), len(genes)))
    for i, name in enumerate(names):
        truth[i, [place[gene] for gene in lists[target][name] if gene in place]] = 1
        ranked = lists[other][name]
        for rank, gene in enumerate(ranked):
            if gene in place:
                copied[i, place[gene]] = 1 - rank / (len(ranked) + 1)
    for i, name in enumerate(names):  # the perturbed gene itself counts for nothing
        if name in place:
            truth[i, place[name]] = copied[i, place[name]] = np.nan
    rows, columns = np.nonzero(np.isfinite(truth))
    folds = np.array_split(rng.permutation(len(names)), N_FOLDS)
    said = {
        view: np.full(truth.shape, np.nan) for view in ("frequency", "own", "nearest_go_reactome", "copy_of_other_line")
    }
    for held in folds:
        rest = np.setdiff1d(np.arange(len(names)), held)
        kept = np.isin(rows, rest)
        labels = LabelTable.of_pairs(
            np.array(names)[rows[kept]], np.array(genes)[columns[kept]], truth[rows[kept], columns[kept]], genes
        )
        asked = [names[i] for i in held]
        said["own"][held] = by_nearest(labels, spaces, asked)
        said["nearest_go_reactome"][held] = nearest(labels, graph, asked)
        said["copy_of_other_line"][held] = scale_copy(truth[rest], copied[rest], copied[held])
        said["frequency"][held] = labels.frequency
    said["mean_of_own_and_copy"] = (said["own"] + said["copy_of_other_line"]) / 2
    flat = {view: values[rows, columns] for view, values in said.items()}
    fold = np.repeat(np.arange(N_FOLDS), [len(held) for held in folds])[np.argsort(np.concatenate(folds))]
    labels_of, genes_of = truth[rows, columns], columns * N_FOLDS + fold[rows]  # else a fold's frequencies tell it
    result = {
        "n_knock_downs": len(names),
        "n_genes": len(genes),
        "n_genes_in_all": len(asked_for),
        "views": {view: round(macro(labels_of, values, genes_of), 4) for view, values in flat.items()},
        "copy_ahead_of_own": ahead(labels_of, flat["copy_of_other_line"], flat["own"], genes_of, rows),
        "both_ahead_of_best": ahead(
            labels_of, flat["mean_of_own_and_copy"], flat[best_of(labels_of, flat, genes_of)], genes_of, rows
        ),
    }
    print(f"{other} to {target}", json.dumps(result["views"]), flush=True)
    return result


def by_nearest(labels: LabelTable, spaces: dict[str, GeneSpace], asked: list[str]) -> np.ndarray:
    """What the line's other knock-downs say, by their nearness in the Gene Ontology, drawn towards the frequency."""
    known = Answerer(labels, {"go": spaces["go"]}, readout={})
    total, weight = known.evidence("go", asked)
    shrink = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
    return known.frequency + total / (weight + shrink)


def scale_copy(truth: np.ndarray, copied: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """A copy as a probability: each gene's frequency, moved by one slope that was learned on other knock-downs."""
    frequency, typical = np.nanmean(truth, axis=0), np.nanmean(copied, axis=0)
    x, y = np.nan_to_num(copied - typical), np.nan_to_num(truth - frequency)
    return frequency + (x * y).sum() / max((x**2).sum(), 1e-9) * (asked - typical)


def best_of(truth: np.ndarray, said: dict[str, np.ndarray], genes: np.ndarray) -> str:
    """The single view with the highest AUROC."""
    return max(
        (view for view in said if view != "mean_of_own_and_copy"), key=lambda view: macro(truth, said[view], genes)
    )


if __name__ == "__main__":
    sys.exit(main())
