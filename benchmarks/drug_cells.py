"""Sensitivity of single cells from bulk lines: every view on 27 breast lines that training never saw, and more.

    python benchmarks/drug_cells.py DATA [--only PART ...] [--entrez org.Hs.eg.sqlite] [--out FILE]

breast   276 drugs x 27 lines (30 cells each): per-drug Spearman over lines, of means over a line's cells and of one
         cell of each line; calibration; weights of the combination come from pseudo-cells of other lines
lines    5 lung lines on two platforms, 3 lines by Smart-seq2: no cell of which taught the predictor
states   treated against untreated cells, beside depth-only and cell-cycle classifiers
standardised  the same of cells that are z-scored and name genes by number (--entrez)
panel    the same of cells with 300 genes
published  what the paper reports of SCAD on other cells, to stand beside
domain   how far cells of healthy tissues and of tumours look like dividing tumour lines

Results go to benchmarks/results/drug_cells.json; parts that are not asked for keep theirs.
"""

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import drug_cells_views as views
import numpy as np
import scipy.sparse as sp
from drug_cells_data import BREAST, Cells, Lines, fit_on, read_cells, read_lines, reference_cell
from drug_cells_states import PUBLISHED, measure_panel, measure_standardised
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from scfviz.tasks.drug_sensitivity.compute import call_cells, predict_sensitivity
from scfviz.tasks.drug_sensitivity.fit import standardise_responses
from scfviz.tasks.drug_sensitivity.simulate import DEPTHS, rates_of

RESULTS = Path(__file__).parent / "results" / "drug_cells.json"
SEEDS = range(5)
LEAST_LINES, GOOD, N_RESAMPLES, N_DRAWS = 10, 0.2, 1_000, 10
LUNG, SMARTSEQ = "evaluation/scmix_singlecell.h5ad", "corpus/celllines_smartseq2_149.h5ad"
CACHE: Path | None = None
PARTS = ("breast", "lines", "states", "standardised", "panel", "published", "domain")


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--entrez", type=Path, help="org.Hs.eg.sqlite of the Debian package r-bioc-org.hs.eg.db")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, help="a folder that lets an interrupted run go on")
    args = parser.parse_args()
    global CACHE
    CACHE = args.cache
    if CACHE is not None:
        CACHE.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    measures = {
        "breast": measure_breast,
        "lines": measure_lines,
        "states": measure_states,
        "standardised": lambda data: measure_standardised(data, args.entrez),
        "panel": measure_panel,
        "published": lambda data: PUBLISHED,
        "domain": measure_domain,
    }
    for part in args.only:
        found[part] = measures[part](args.data)
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def measure_breast(data: Path) -> dict[str, Any]:
    """All views on the breast lines."""
    lines = read_lines(data)
    cells = read_cells(data / BREAST, lines.genes)
    truth, names = truth_of(lines, cells)
    train = lines.without(set(cells.lines))
    predictions = predict_breast(data, train, cells)
    scores, per_drug = {}, {}
    for name, said in predictions.items():
        scores[name], per_drug[name] = score(said, cells, names, truth)
        print(name, scores[name], flush=True)
    bar = per_drug["ridge"]
    for name, one in per_drug.items():
        scores[name] |= {"gain": interval(one["by_resample"] - bar["by_resample"], one["median"] - bar["median"])}
    shipped = per_drug["shipped"]
    drugs = {
        drug: {"spearman": round(float(r), 3), "low": round(float(low), 3), "high": round(float(high), 3), "n": int(n)}
        for drug, r, low, high, n in zip(lines.drugs, *(shipped[key] for key in ("r", "low", "high", "n")), strict=True)
        if np.isfinite(r)
    }
    return {
        "n_lines": len(names),
        "n_drugs": len(drugs),
        "n_train": len(train.names),
        "views": scores,
        "drugs": drugs,
        "calibration": calibration(data, lines, train, cells, names, truth),
    }


def predict_breast(data: Path, train: Lines, cells: Cells) -> dict[str, np.ndarray]:
    """Cells x drugs by view; weights of the combination are learned on pseudo-cells, not on these cells."""
    offset, shares = kept("reference", lambda: reference_cell(data, train.genes))
    values, truth = cells.values, standardise_responses(train.ln_ic50)[0]
    components, clusters = place_breast(cells)
    counts, predictor = cells.opened.counts, kept("predictor_breast", lambda: fit_on(data, train))
    bulk = pseudobulk(cells, clusters)
    row_of = [list(bulk.lines).index(one) for one in clusters]
    centred = train.values - train.values.mean(axis=0)
    of_own = values - values.mean(axis=0)
    ways = {
        "ridge": lambda: views.ridge(train, values),
        "shipped_single": lambda: predict_sensitivity(counts, predictor=predictor).score,
        "shipped": lambda: predict_sensitivity(counts, predictor=predictor, components=components).score,
        "nearest": lambda: views.nearest(train, values, offset),
        "signature": lambda: views.signature(train, values, offset),
        "targets": lambda: views.drug_targets(train, values, targets_of(data, train.drugs)),
        "clusters": lambda: views.ridge(train, bulk.values, offset)[row_of],
        "depth_matched": lambda: views.depth_matched(train, cells, shares, DEPTHS),
        "coral": lambda: views.coral(train, values),
        "adversarial_genes": lambda: np.mean(
            [views.adversarial(centred, truth, of_own, seed) for seed in SEEDS], axis=0
        ),
    }
    found = {name: kept(f"breast_{name}", say) for name, say in ways.items()}
    weights = kept("weights", lambda: combination_weights(train, shares))
    print("weights", weights, flush=True)
    spread = {name: found[name].std() for name in weights}
    found["combination"] = sum(share * found[name] / spread[name] for name, share in weights.items())
    of_lines, of_cells = kept("embeddings", lambda: embed_both(train, cells, shares))
    found["embedding_ridge"] = ridge_on(of_lines, of_cells, train)
    found["embedding_adversarial"] = kept(
        "breast_embedding_adversarial",
        lambda: np.mean([views.adversarial(of_lines, truth, of_cells, seed) for seed in SEEDS], axis=0),
    )
    found["shipped_and_embedding"] = found["shipped"] / found["shipped"].std() + (
        found["embedding_ridge"] / found["embedding_ridge"].std()
    )
    return found


def place_breast(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """(components, clusters) of the breast cells."""
    from scfviz.tasks.embedding.compute import build_map, embed_baseline

    def place() -> tuple[np.ndarray, np.ndarray]:
        components = embed_baseline(cells.opened.counts)
        return components, build_map(components).clusters

    return kept("place", place)


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """What an earlier run computed, where a folder is kept for it."""
    if CACHE is None:
        return compute()
    path = CACHE / f"{name}.pkl"
    if not path.exists():
        found = compute()
        print(name, flush=True)
        path.write_bytes(pickle.dumps(found))
    return pickle.loads(path.read_bytes())


def combination_weights(train: Lines, shares: np.ndarray, seed: int = 0) -> dict[str, float]:
    """What each view is worth on pseudo-cells of lines that it did not see (a fifth of them), 2,000 counts a cell."""
    from scfviz.tasks.views import weigh

    rng = np.random.default_rng(seed)
    held_out = rng.permutation(len(train.names)) % 5 == 0
    rest, test = train.without(set(train.names[held_out])), train.without(set(train.names[~held_out]))
    counts = rng.poisson(2_000 * rates_of(train.values, shares).shares(np.flatnonzero(held_out)))
    pseudo = Cells(counts.astype(np.float32), np.ones(len(train.genes), dtype=bool), test.names, None)
    offset = pseudo.values.mean(axis=0)
    said = {
        "shipped_single": views.ridge(rest, pseudo.values, offset),
        "nearest": views.nearest(rest, pseudo.values, offset),
        "signature": views.signature(rest, pseudo.values, offset),
        "depth_matched": views.depth_matched(rest, pseudo, shares, DEPTHS),
    }
    _, mean, spread = standardise_responses(rest.ln_ic50)
    truth = np.nan_to_num((test.ln_ic50 - mean) / spread)
    said = {name: one / one.std() * truth.std() * 0.5 for name, one in said.items()}
    found = weigh(said, truth, np.arange(len(truth)), loss="squared", seed=seed)
    return {name: round(weight, 3) for name, weight in found.weights.items() if weight > 0}


def embed_both(train: Lines, cells: Cells, shares: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The model's embedding of a pseudo-cell of each line and of each cell, on the same genes, each centred."""
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.infer import embed_cells

    model = load_checkpoint(None)
    place = {gene: i for i, gene in enumerate(model.genes)}
    columns = np.array([place[gene] for gene in train.genes])
    rates = rates_of(train.values, shares)
    drawn = np.random.default_rng(seed).poisson(2_500 * rates.shares(np.arange(len(train.names))))
    found = []
    for counts in (drawn * cells.is_measured, cells.counts):
        wide = sp.csr_matrix(counts.astype(np.float32)) @ sp.csr_matrix(
            (np.ones(len(columns), dtype=np.float32), (np.arange(len(columns)), columns)),
            shape=(len(columns), len(model.genes)),
        )
        values = np.asarray(embed_cells(sp.csr_matrix(wide), model).values, dtype=np.float64)
        found.append(values - values.mean(axis=0))
    return found[0], found[1]


def ridge_on(of_lines: np.ndarray, of_cells: np.ndarray, train: Lines) -> np.ndarray:
    scale = of_lines.std(axis=0) + 1e-6
    weights = views.ridge_weights(of_lines / scale, views.targets(train), penalty=0.1)
    return (of_cells / scale) @ weights


def pseudobulk(cells: Cells, groups: np.ndarray) -> Cells:
    names = np.unique(groups)
    counts = np.stack([cells.counts[groups == name].sum(axis=0) for name in names])
    return Cells(counts, cells.is_measured, names, None)


def targets_of(data: Path, drugs: tuple[str, ...]) -> list[list[str]]:
    from scfviz.tasks.drug_response.tables import read_drugs

    path = data / "drug_response" / "gdsc_drug_targets_2022-08-12_drpreter.csv"
    return [[part.strip() for part in drug.targets.split(",")] for drug in read_drugs(drugs, targets=path)]


def truth_of(lines: Lines, cells: Cells) -> tuple[np.ndarray, list[str]]:
    """(lines of the cells that have responses) x drugs, and these lines."""
    row = {name: i for i, name in enumerate(lines.names)}
    names = [name for name in sorted(set(cells.lines)) if name in row]
    return lines.ln_ic50[[row[name] for name in names]], names


def score(
    said: np.ndarray, cells: Cells, names: list[str], truth: np.ndarray, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spearman over lines for each drug, its median with an interval over lines, and of single cells."""
    rng = np.random.default_rng(seed)
    means = np.stack([said[cells.lines == name].mean(axis=0) for name in names])
    r = spearman(means, truth)
    resampled = resample(means, truth, rng)
    medians = np.nanmedian(resampled[:, np.isfinite(r)], axis=1)
    singles = []
    for _ in range(N_DRAWS):
        rows = [rng.choice(np.flatnonzero(cells.lines == name)) for name in names]
        singles.append(spearman(said[rows], truth))
    found = {
        "median": round(float(np.nanmedian(r)), 3),
        "low": round(float(np.quantile(medians, 0.025)), 3),
        "high": round(float(np.quantile(medians, 0.975)), 3),
        "share_above": round(float(np.mean(r[np.isfinite(r)] > GOOD)), 3),
        "one_cell": round(float(np.nanmedian(np.mean(singles, axis=0))), 3),
    }
    low, high = np.nanquantile(resampled, [0.05, 0.95], axis=0)
    more = {"r": r, "low": low, "high": high, "n": np.isfinite(truth).sum(axis=0), "by_resample": medians}
    return found, more | {"median": found["median"]}


def resample(said: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Correlation of ranks of each column over resampled lines, (N_RESAMPLES, n_columns); ranks are those of all."""
    known = np.isfinite(truth)
    left, right = (rankdata(np.where(known, part, np.inf), axis=0) * known for part in (said, truth))
    left, right = (part - part.sum(axis=0) / known.sum(axis=0).clip(1) * known for part in (left, right))
    times = np.stack(
        [np.bincount(rng.integers(len(truth), size=len(truth)), minlength=len(truth)) for _ in range(N_RESAMPLES)]
    )
    n, x, y = (times @ part.astype(float) for part in (known, left, right))
    xx, yy, xy = (times @ part for part in (left**2, right**2, left * right))
    n = np.maximum(n, 1)
    spread = np.sqrt(np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0))
    return np.divide(xy - x * y / n, spread, out=np.zeros_like(xy), where=spread > 1e-9)


def spearman(said: np.ndarray, truth: np.ndarray, least: int = LEAST_LINES) -> np.ndarray:
    """Of each column, over rows with truth; NaN with fewer than `least` of them, 0 for a constant."""
    found = np.full(truth.shape[1], np.nan)
    for j in range(truth.shape[1]):
        known = np.isfinite(truth[:, j])
        if known.sum() >= least:
            left, right = rankdata(said[known, j]), rankdata(truth[known, j])
            found[j] = np.corrcoef(left, right)[0, 1] if left.std() > 0 and right.std() > 0 else 0.0
    return found


def interval(differences: np.ndarray, mean: float) -> dict[str, float]:
    low, high = np.quantile(differences, [0.025, 0.975])
    return {"share": round(float(mean), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def calibration(
    data: Path, lines: Lines, train: Lines, cells: Cells, names: list[str], truth: np.ndarray
) -> dict[str, Any]:
    """Probabilities of single cells against the measured class of their line, for each threshold."""
    predictor, found = kept("predictor_breast", lambda: fit_on(data, train)), {}
    _, mean, spread = standardise_responses(train.ln_ic50)
    standard = (truth - mean) / spread
    components, _ = place_breast(cells)
    of_line = np.array([names.index(name) if name in names else -1 for name in cells.lines])
    for k, threshold in enumerate(("median", "quarter", "published")):
        said = predict_sensitivity(
            cells.opened.counts, predictor=predictor, threshold=threshold, components=components
        ).probability[of_line >= 0]
        wanted = standard[of_line[of_line >= 0]]
        known = np.isfinite(wanted) & np.isfinite(said)
        is_sensitive = (wanted < predictor.threshold[k])[known]
        p, calls = said[known], call_cells(said[known])
        edges = np.quantile(p, np.linspace(0, 1, 16))
        bins = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, 14)
        gaps = [  # of bins of equal mass
            abs(p[bins == i].mean() - is_sensitive[bins == i].mean()) * (bins == i).mean()
            for i in range(15)
            if (bins == i).any()
        ]
        sure = calls != "can't tell"
        right = (calls == "sensitive") == is_sensitive
        aurocs = [
            roc_auc_score(wanted[is_known, j] < predictor.threshold[k, j], said[is_known, j])
            for j, is_known in enumerate(known.T)
            if is_known.any() and 0 < (wanted[is_known, j] < predictor.threshold[k, j]).mean() < 1
        ]
        found[threshold] = {
            "base_rate": round(float(is_sensitive.mean()), 3),
            "brier": round(float(np.mean((p - is_sensitive) ** 2)), 4),
            "brier_of_base_rate": round(float(is_sensitive.mean() * (1 - is_sensitive.mean())), 4),
            "ece": round(float(sum(gaps)), 4),
            "share_called": round(float(sure.mean()), 3),
            "right_when_called": round(float(right[sure].mean()), 3),
            "auroc_median": round(float(np.median(aurocs)), 3),
            "n_drugs": len(aurocs),
        }
    return found


def measure_lines(data: Path) -> dict[str, Any]:
    """Lung lines on two platforms and three lines by Smart-seq2; both left out of training, as the breast lines are."""
    lines, found = read_lines(data), {}
    sets: Mapping[str, tuple[str, str | None]] = {
        "lung_celseq2": (LUNG, "CEL-seq2"),
        "lung_dropseq": (LUNG, "Drop-seq"),
        "smartseq2": (SMARTSEQ, None),
    }
    opened = {path: read_cells(data / path, lines.genes) for path, _ in sets.values()}
    train = lines.without({name for cells in opened.values() for name in cells.lines})
    predictor = kept("predictor_lines", lambda: fit_on(data, train))
    offset, _ = kept("reference", lambda: reference_cell(data, lines.genes))
    _, mean, spread = standardise_responses(train.ln_ic50)
    for name, (path, platform) in sets.items():
        cells = opened[path]
        rows = np.arange(len(cells.lines))
        if platform is not None:
            rows = np.flatnonzero(cells.opened.counts.obs["platform"].astype(str) == platform)
        part = Cells(cells.counts[rows], cells.is_measured, cells.lines[rows], None)
        truth, names = truth_of(lines, part)
        standard = (truth - mean) / spread
        said = {
            "ridge": views.ridge(train, part.values),
            "shipped_single": predict_sensitivity(cells.opened.counts.subset(rows), predictor=predictor).score,
            "nearest": views.nearest(train, part.values, offset),
        }
        known = np.isfinite(standard)
        found[name] = {"n_lines": len(names), "views": {}}
        for view, scores in said.items():
            means = np.stack([scores[part.lines == one].mean(axis=0) for one in names])
            r = spearman(means, standard, least=min(5, len(names)))
            found[name]["views"][view] = {
                "pooled_r": round(float(np.corrcoef(means[known], standard[known])[0, 1]), 3),
                "median": round(float(np.nanmedian(r)), 3),
                "share_above": round(float(np.mean(r[np.isfinite(r)] > GOOD)), 3),
            }
        print(name, found[name], flush=True)
    return found


def measure_states(data: Path) -> dict[str, Any]:
    """Treated (surviving) against untreated cells: AUROC of resistance, and of depth or cycle alone."""
    from scfviz.tasks.drug_sensitivity.alone import cycle_scores

    lines = read_lines(data)
    states = {
        "pc9_erlotinib_day11": ("evaluation/pc9_erlotinib_day11.h5ad", "Erlotinib", "drug", "none", {"PC9"}),
        "ngp_nutlin": ("corpus/ngp_neuroblastoma_83.h5ad", "Nutlin-3a (-)", "treatment", "vehicle", {"NGP"}),
    }
    train = lines.without({name for *_, names in states.values() for name in names})
    predictor, found = kept("predictor_states", lambda: fit_on(data, train)), {}
    for name, (path, drug, column, control, _) in states.items():
        cells = read_cells(data / path, lines.genes)
        obs = cells.opened.counts.obs
        is_treated = (obs[column].astype(str) != control).to_numpy()
        usable = np.asarray(cells.opened.counts.total_counts) > 0
        score = predict_sensitivity(cells.opened.counts, [drug], predictor=predictor).score[:, 0]
        cycle = cycle_scores(cells.opened.counts)
        alone = {"predictor": score, "depth": np.log1p(cells.depth), "s_phase": cycle[:, 0], "g2m_phase": cycle[:, 1]}
        found[name] = {"drug": drug, "n_treated": int(is_treated.sum()), "n_control": int((~is_treated).sum())}
        for what, values in alone.items():
            usable &= np.isfinite(values)
            auroc = roc_auc_score(is_treated[usable], values[usable])
            precision = average_precision_score(is_treated[usable], values[usable] * (1 if auroc >= 0.5 else -1))
            found[name][what] = {"auroc": round(float(auroc), 3), "average_precision": round(float(precision), 3)}
        scores = predict_sensitivity(cells.opened.counts, predictor=predictor).score[usable]
        every = np.array([roc_auc_score(is_treated[usable], one) for one in scores.T])
        j = predictor.find_drugs([drug])[0]
        found[name]["rank_among_drugs"] = round(float(np.mean(every < every[j])), 3)
        found[name]["one_batch_each"] = True
        print(name, found[name], flush=True)
    return found


def measure_domain(data: Path) -> dict[str, Any]:
    """Share of dividing cells, and what the page says, for tumours, lines and healthy tissues."""
    from scfviz.data.open import open_dataset
    from scfviz.tasks.drug_sensitivity.domain import judge_domain

    found = {}
    for path in sorted([*(data / "corpus").glob("*.h5ad"), *(data / "evaluation").glob("*.h5ad")]):
        counts = open_dataset(path).counts
        rows = np.sort(np.random.default_rng(0).permutation(counts.n_obs)[:1_500])
        judged = judge_domain(counts.subset(rows))
        found[path.stem] = {"dividing": round(judged.dividing, 3), "says": judged.kind}
        print(path.stem, found[path.stem], flush=True)
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
