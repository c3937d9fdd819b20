"""The task `drug_sensitivity`: how likely each cell is sensitive to each drug of the predictor.

Columns of `cells`: sensitivity_cluster, sensitivity_mean, sensitivity_depth, sensitivity_s_phase,
sensitivity_g2m_phase, and for chosen drugs `sensitivity_DRUG` and `sensitivity_DRUG_confidence`. Arrays:
`probability` float16 (n_kept, n_drugs), NaN for cells without counts; `umap_sensitivity` (n_kept, 2). Tables:
`drugs` (one row a drug: what is known of it, how far its predictions can be trusted, what explains its map here),
`clusters` (mean probability, clusters x drugs).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import DatasetError
from scfviz.tasks.drug_sensitivity.alone import cycle_scores, explain
from scfviz.tasks.drug_sensitivity.compute import FEWEST_TO_SMOOTH, read_parts, smooth_parts
from scfviz.tasks.drug_sensitivity.domain import judge_domain
from scfviz.tasks.drug_sensitivity.groups import group_means
from scfviz.tasks.drug_sensitivity.names import CONFIDENCE, column_of
from scfviz.tasks.drug_sensitivity.options import SensitivityOptions
from scfviz.tasks.drug_sensitivity.predictor import CellPredictor, read_predictor
from scfviz.tasks.drug_sensitivity.trust import GOOD, badge_of
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    import pandas as pd

N_SHOWN = 6  # drugs that get columns when none is chosen
_MOST_GENES_OF_CELLS = 12_000  # expressed, median: at most 8,900 in public single cells, over 20,000 in bulk samples
_ROWS = 5_000


def memory(options: Mapping[str, Any]) -> Need:
    """Probabilities of all drugs lie on disk; components, neighbours and the map of the cells are held."""
    return Need(1.0e9, 13_500.0, "Components, neighbours and map of the cells")


def run(cells: OpenedCells, options: SensitivityOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    counts, predictor = cells.aligned, read_predictor()
    chosen = predictor.find_drugs(options.drugs)
    with steps.step(0.05, "Looking at what kind of cells these are"):
        domain = judge_domain(counts)
        cycle = cycle_scores(counts)
    with steps.step(0.15, "Reading the cells"):
        parts, depth, n_measured = read_parts(
            counts, predictor, progress=steps.progress(0.15, 0.4), should_stop=steps.should_stop
        )
    known = np.isfinite(parts).all(axis=1)
    if not known.any():
        raise DatasetError("No cell has counts on genes that the predictor reads.", "", "Give another dataset.")
    with steps.step(0.4, "Finding similar cells and clusters"):
        components, umap, clusters = _place(counts, known, options.seed)
        is_smoothed = options.smoothing and int(known.sum()) >= FEWEST_TO_SMOOTH
        simple = np.column_stack([np.log1p(depth), cycle]).astype(np.float32)
        if is_smoothed:
            parts, simple = _smooth(parts, simple, components)
    with steps.step(0.8, "Predicting all drugs"):
        probability = _probabilities(predictor, parts, depth, options.threshold, is_smoothed, steps)
    with steps.step(0.9, "Asking whether depth or cell cycle explains it"):
        alone = _explain(predictor, parts, simple, clusters, known)
    names = sorted(set(clusters[known]), key=lambda name: (len(name), name))
    codes = np.array([names.index(name) if there else -1 for name, there in zip(clusters, known, strict=True)])
    means = group_means(probability, codes, len(names))
    drugs = _drug_table(predictor, alone, means, probability)
    shown = chosen or _most_telling(drugs)
    return Result(
        kept=cells.kept,
        cells=_columns(cells, clusters, known, probability, depth, cycle, predictor, shown),
        arrays={"probability": probability, "umap_sensitivity": umap},
        tables={"drugs": drugs, "clusters": _cluster_table(means, names, codes, predictor)},
        notes=tuple(_notes(counts, predictor, known, n_measured, options, is_smoothed)),
        scores={"dividing": None if np.isnan(domain.dividing) else domain.dividing},
        report={
            "provenance": {
                "predictor": predictor.about.get("name", ""),
                "data": predictor.about.get("data", ""),
                "n_lines": predictor.about.get("n_lines"),
                "n_measured": n_measured,
                "n_genes": len(predictor.genes),
                "is_smoothed": is_smoothed,
                "domain": domain.kind,
                "drugs": [predictor.drugs[i] for i in shown],
            }
        },
    )


def _place(counts: Any, known: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(components, map, clusters) of all cells; NaN and "" for those without counts."""
    from scfviz.tasks.embedding.compute import build_map, embed_baseline

    rows = np.flatnonzero(known)
    part = counts if known.all() else counts.subset(rows)
    umap, clusters = np.full((counts.n_obs, 2), np.nan, dtype=np.float32), np.full(counts.n_obs, "", dtype=object)
    if len(rows) < 3:
        clusters[rows] = "0"
        return np.zeros((counts.n_obs, 1), dtype=np.float32), umap, clusters
    found = embed_baseline(part, seed=seed)
    drawn = build_map(found, seed=seed)
    components = np.full((counts.n_obs, found.shape[1]), np.nan, dtype=np.float32)
    components[rows], umap[rows], clusters[rows] = found, drawn.umap, drawn.clusters
    return components, umap, clusters


def _smooth(parts: np.ndarray, others: np.ndarray, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both averaged over the same similar cells, see `smooth_parts`; what is not measured at all stays NaN."""
    both = smooth_parts(np.column_stack([parts, np.nan_to_num(others)]), components)
    return both[:, : parts.shape[1]], np.where(np.isnan(others), np.nan, both[:, parts.shape[1] :])


def _probabilities(
    predictor: CellPredictor, parts: np.ndarray, depth: np.ndarray, threshold: str, is_mean: bool, steps: Steps
) -> np.ndarray:
    """float16 (n_cells, n_drugs), on disk."""
    path = steps.work / "probability.npy"
    shape = (len(parts), len(predictor.drugs))
    found = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for start in range(0, len(parts), _ROWS):
        at = slice(start, start + _ROWS)
        score = parts[at] @ predictor.coefficients
        found[at] = predictor.probabilities(score, depth[at], threshold=threshold, is_mean=is_mean)
    found.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _explain(
    predictor: CellPredictor,
    parts: np.ndarray,
    simple: np.ndarray,
    clusters: np.ndarray,
    known: np.ndarray,
    most: int = 20_000,
) -> "pd.DataFrame":
    """See `explain`; of more than 20,000 cells evenly spaced ones. `simple` holds ln(1 + depth) and the cycle, averaged
    as the parts are.
    """
    rows = np.flatnonzero(known)
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    depth, cycle = np.expm1(simple[rows, 0]), simple[rows, 1:]
    return explain(parts[rows] @ predictor.coefficients, depth, cycle, clusters[rows].astype(str))


def _drug_table(
    predictor: CellPredictor, alone: "pd.DataFrame", means: np.ndarray, probability: np.ndarray
) -> "pd.DataFrame":
    import pandas as pd

    about = [predictor.about.get("drugs", {}).get(name, {}) for name in predictor.drugs]
    table = pd.DataFrame(
        {
            "drug": predictor.drugs,
            "targets": [one.get("targets", "") for one in about],
            "pathway": [one.get("pathway", "") for one in about],
            "trust": [badge_of(one) for one in about],
            "spearman": [one.get("spearman", np.nan) for one in about],
            "spearman_low": [one.get("low", np.nan) for one in about],
            "spearman_high": [one.get("high", np.nan) for one in about],
            "n_lines": [one.get("n", 0) for one in about],
            "mean": np.nanmean(means, axis=0),
            "lowest_cluster": np.nanmin(means, axis=0),
            "highest_cluster": np.nanmax(means, axis=0),
        }
    )
    return pd.concat([table, alone.add_prefix("explained_by_")], axis=1)


def _most_telling(drugs: "pd.DataFrame") -> list[int]:
    """Drugs of some trust whose clusters differ most."""
    spread = (drugs["highest_cluster"] - drugs["lowest_cluster"]).fillna(0.0).to_numpy()
    trusted = drugs["spearman"].to_numpy() >= GOOD
    order = np.lexsort([np.arange(len(drugs)), -np.round(spread, 6), ~trusted])
    return [int(i) for i in order[:N_SHOWN]]


def _columns(
    cells: OpenedCells,
    clusters: np.ndarray,
    known: np.ndarray,
    probability: np.ndarray,
    depth: np.ndarray,
    cycle: np.ndarray,
    predictor: CellPredictor,
    shown: list[int],
) -> "pd.DataFrame":
    import pandas as pd

    names = sorted(set(clusters[known]), key=lambda name: (len(name), name))
    found: dict[str, Any] = {
        "sensitivity_cluster": pd.Categorical(np.where(known, clusters, None), categories=names),
        "sensitivity_mean": _row_means(probability),
        "sensitivity_depth": depth,
        "sensitivity_s_phase": cycle[:, 0],
        "sensitivity_g2m_phase": cycle[:, 1],
    }
    for i in shown:
        p = probability[:, i].astype(np.float64)
        found[column_of(predictor.drugs[i])] = p
        found[column_of(predictor.drugs[i]) + CONFIDENCE] = np.maximum(p, 1 - p)
    return pd.DataFrame(found, index=cells.aligned.obs.index)


def _row_means(probability: np.ndarray) -> np.ndarray:
    usable = np.flatnonzero(np.isfinite(probability).any(axis=0))
    found = np.full(len(probability), np.nan)
    for start in range(0, len(found), _ROWS):
        found[start : start + _ROWS] = probability[start : start + _ROWS, usable].astype(np.float64).mean(axis=1)
    return found


def _cluster_table(means: np.ndarray, names: list[str], codes: np.ndarray, predictor: CellPredictor) -> "pd.DataFrame":
    import pandas as pd

    table = pd.DataFrame(means, columns=list(predictor.drugs))
    table.insert(0, "cluster", names)
    table.insert(1, "n_cells", np.bincount(codes[codes >= 0], minlength=len(names)))
    return table


def _notes(
    counts: Any,
    predictor: CellPredictor,
    known: np.ndarray,
    n_measured: int,
    options: SensitivityOptions,
    is_smoothed: bool,
) -> list[str]:
    notes = []
    if n_empty := int((~known).sum()):
        notes.append(f"{n_empty:,} cells without counts on the predictor's genes have no prediction.")
    if n_measured < 0.7 * len(predictor.genes):
        notes.append(
            f"The file measures {n_measured:,} of the {len(predictor.genes):,} genes that the predictor reads: expect "
            "less than the scores say."
        )
    if options.smoothing and not is_smoothed:
        notes.append(f"Fewer than {FEWEST_TO_SMOOTH} cells: each is read by itself, and that says little.")
    if np.median(counts.n_expressed) > (9_000 if counts.n_obs < FEWEST_TO_SMOOTH else _MOST_GENES_OF_CELLS):
        notes.append(
            "These profiles have very many genes: are these bulk samples? The tab Samples reads bulk samples, with "
            "intervals."
        )
    if options.threshold == "published":
        n_there = int(np.isfinite(predictor.threshold[2]).sum())
        notes.append(f"Published thresholds exist for {n_there} of {len(predictor.drugs)} drugs; the others are empty.")
    return notes
