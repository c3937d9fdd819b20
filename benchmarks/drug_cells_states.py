"""Cells of resistant and sensitive states that hold no counts, or few genes, for `drug_cells.py`."""

import sqlite3
from pathlib import Path
from typing import Any

import drug_cells_views as views
import numpy as np
import pandas as pd
from drug_cells_data import Cells, Lines, read_cells, read_lines
from sklearn.metrics import average_precision_score, roc_auc_score

from scfviz.tasks.drug_response.scores import correlate
from scfviz.tasks.drug_sensitivity.alone import G2M_PHASE, S_PHASE

# Tables of SCAD (Zheng et al. 2023, doi:10.1002/advs.202204113), a response of 1 is sensitive. A375: parental cells and
# cells of a resistant culture. The two others: cells of one head and neck line, equally many of each class, called by a
# programme of their expression (after Kinker et al. 2020, doi:10.1038/s41588-020-00726-6), not by survival.
STANDARDISED = {
    "a375_plx4720": ("scad_plx4720_a375_target_108cells_zscored.tsv.gz", "PLX-4720"),
    "head_neck_afatinib": ("scad_target_afatinib_120cells_zscored_entrez.csv.gz", "Afatinib"),
    "head_neck_gefitinib": ("scad_target_gefitinib_66cells_zscored_entrez.csv.gz", "Gefitinib"),
}
LEFT_OUT = {"A375", "JHU006", "SCC47", "UPCISCC47", "UDSCC47"}
# AUROC, mean of five folds, of SCAD on genes and on scFoundation's embedding: Hao et al. 2024,
# doi:10.1038/s41592-024-02305-7. Its cells are others than those above, and are not at hand.
PUBLISHED = {
    "Sorafenib": {"genes": 0.558, "scFoundation": 0.839},
    "NVP-TAE684": {"genes": 0.624, "scFoundation": 0.839},
    "PLX4720 (451Lu)": {"genes": 0.376, "scFoundation": 0.659},
    "Etoposide": {"genes": 0.659, "scFoundation": 0.679},
}
PANEL = "panels/gbm_panobinostat_300genes.h5ad"


def measure_standardised(data: Path, entrez: Path | None) -> dict[str, Any]:
    """Cells whose genes were z-scored over cells: ridge of the lines on the same genes, and what is left of depth.

    Without counts there is no read depth: how many genes lie above their lowest value stands in its place.
    `beyond_simple` is what is left of the prediction after a linear model of depth and cycle.

    Parameters
    ----------
    entrez
        `org.Hs.eg.sqlite` of the Debian package r-bioc-org.hs.eg.db: symbols of the numbers in the tables.
    """
    if entrez is None:
        raise SystemExit("--entrez org.Hs.eg.sqlite is needed: these tables name genes by number.")
    known = dict(sqlite3.connect(entrez).execute("SELECT gene_id, symbol FROM genes JOIN gene_info USING (_id)"))
    lines, found = read_lines(data), {}
    train = lines.without(LEFT_OUT)
    for name, (file, drug) in STANDARDISED.items():
        table = pd.read_csv(data / "drug_response" / file, sep="\t" if ".tsv" in file else ",", index_col=0)
        is_resistant = table["response"].to_numpy() == 0
        table = table.loc[:, table.columns.str.fullmatch(r"\d+")].rename(columns=known)
        table = table.loc[:, ~table.columns.duplicated() & (table.std() > 0).to_numpy()]
        values = ((table - table.mean()) / table.std(ddof=0)).astype(np.float32)
        genes = [gene for gene in train.genes if gene in values]
        scores = resistance(train, genes, values[genes].to_numpy())
        alone = {
            "predictor": scores[:, train.drugs.index(drug)],
            "depth": (table > table.min() + 1e-6).sum(axis=1).to_numpy(dtype=float),
            "s_phase": values[[gene for gene in S_PHASE if gene in values]].mean(axis=1).to_numpy(),
            "g2m_phase": values[[gene for gene in G2M_PHASE if gene in values]].mean(axis=1).to_numpy(),
        }
        simple = np.stack([alone[what] for what in ("depth", "s_phase", "g2m_phase")] + [np.ones(len(table))], axis=1)
        alone["beyond_simple"] = alone["predictor"] - simple @ np.linalg.lstsq(simple, alone["predictor"])[0]
        every = np.array([roc_auc_score(is_resistant, one) for one in scores.T])
        found[name] = {
            "drug": drug,
            "n_resistant": int(is_resistant.sum()),
            "n_sensitive": int((~is_resistant).sum()),
            "n_genes": len(genes),
            **{what: separation(is_resistant, one) for what, one in alone.items()},
            "rank_among_drugs": round(float(np.mean(every < every[train.drugs.index(drug)])), 3),
        }
        print(name, found[name], flush=True)
    return found


def measure_panel(data: Path) -> dict[str, Any]:
    """Glioblastoma slices with panobinostat (of GDSC1; GDSC2 lacks it): treated against control cells of each donor.

    The page's predictor refuses so few genes. What is measured is a ridge on those that there are, and what that ridge
    is worth on lines that were held out; the panel holds no gene of the cell cycle.
    """
    lines = read_lines(data, screen="gdsc1")
    j = lines.drugs.index("Panobinostat")
    has = np.isfinite(lines.ln_ic50[:, j])
    full = Lines(lines.names[has], lines.genes, lines.values[has], ("Panobinostat",), lines.ln_ic50[has][:, [j]])
    cells = read_cells(data / PANEL, lines.genes, column="donor")
    here = cells.is_measured
    genes = tuple(gene for gene, is_here in zip(lines.genes, here, strict=True) if is_here)
    few = Lines(full.names, genes, full.values[:, here], full.drugs, full.ln_ic50)
    obs = cells.opened.counts.obs
    is_treated = (obs["condition"].astype(str) != "ctrl").to_numpy()
    donors = obs["donor"].astype(str).to_numpy()
    values = Cells(cells.counts[:, here], np.ones(len(genes), dtype=bool), donors, None).values
    alone = {
        "predictor": views.ridge(few, values, values.mean(axis=0))[:, 0],
        "depth": np.log1p(np.asarray(cells.opened.counts.total_counts)),
    }
    found: dict[str, Any] = {"drug": "Panobinostat", "n_genes": len(genes), "n_donors": len(set(donors))}
    found |= {"n_treated": int(is_treated.sum()), "n_control": int((~is_treated).sum())}
    found |= {"lines_r": round(held_out_r(few), 3), "lines_r_all_genes": round(held_out_r(full), 3)}
    for what, values in alone.items():
        by_donor = {
            donor: separation(is_treated[donors == donor], values[donors == donor])["auroc"]
            for donor in sorted(set(donors))
        }
        found[what] = {"auroc": round(float(np.mean([*by_donor.values()])), 3), "by_donor": by_donor}
    print(found, flush=True)
    return {"gbm_panobinostat": found}


def resistance(train: Lines, genes: list[str], values: np.ndarray) -> np.ndarray:
    """Ridge of the lines on some genes for cells whose genes are z-scored over cells: cells x drugs."""
    place = {gene: i for i, gene in enumerate(train.genes)}
    columns = [place[gene] for gene in genes]
    known = train.values[:, columns]
    known = (known - known.mean(axis=0)) / (known.std(axis=0) + 0.1)
    return values @ views.ridge_weights(known, views.targets(train))


def held_out_r(lines: Lines, seed: int = 0) -> float:
    """Correlation of the first drug over lines, each predicted by ridge from four fifths of the others."""
    said = np.empty(len(lines.names))
    for held in np.array_split(np.random.default_rng(seed).permutation(len(said)), 5):
        rest = lines.without(set(lines.names[held]))
        said[held] = views.ridge(rest, lines.values[held])[:, 0]
    return correlate(said, lines.ln_ic50[:, 0])


def separation(is_resistant: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """AUROC of high values, and average precision turned to the better side."""
    auroc = roc_auc_score(is_resistant, values)
    precision = average_precision_score(is_resistant, values if auroc >= 0.5 else -values)
    return {"auroc": round(float(auroc), 3), "average_precision": round(float(precision), 3)}
