"""Are these cells at all like the growing tumour lines that the predictor learned from?

What tells them apart without a reference is division: lines in culture divide, healthy blood and tissue hardly do.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

DIVISION = (
    "MKI67 TOP2A UBE2C BIRC5 CDK1 TPX2 CCNB2 CENPF AURKB NUSAP1 RRM2 TYMS CDC20 CCNB1 PCNA MCM2 MCM4 MCM5"
).split()
# Counts per 10,000 on these genes, all cells added up: at least 19 in each of 9 sets of lines, at most 3 in 22 of 22
# sets of healthy blood, bladder, breast, islets and sorted immune cells; see benchmarks/NOTES.md.
RESTING, GROWING = 3.0, 10.0
_LEAST_GENES = 6
_ROWS = 5_000
SENTENCES = {
    "growing": "about as many as in growing cell lines (19 or more), from which the predictor learned. Dividing "
    "healthy cells (bone marrow, germinal centres, fetal tissue) look the same: that these are tumour cells is not "
    "tested.",
    "between": "fewer than in growing cell lines (19 or more): slowly growing tumours, or tumour cells among healthy "
    "ones. Select the tumour cells, and take the numbers of the others for nothing.",
    "resting": "as in healthy blood or tissue. **These cells are not like growing tumour cells: what is shown is out "
    "of domain**, and says nothing about a treatment, neither of these cells nor of a tumour.",
    "unknown": "The file does not hold enough genes of cell division. Whether the cells are like growing tumour cells "
    "is not known.",
}


@dataclass(frozen=True)
class Domain:
    """What was found.

    Attributes
    ----------
    dividing
        Counts per 10,000 on genes of division, all cells added up; NaN where too few of them are measured.
    kind
        "growing", "between", "resting" or "unknown".
    """

    dividing: float
    kind: str


def say_domain(kind: str, dividing: float | None) -> str:
    """Whether these cells are like those that the predictor knows, in a sentence (Markdown).

    Parameters
    ----------
    kind, dividing
        Of `Domain`; None where too few genes are measured.
    """
    rate = "" if dividing is None else f"Genes of cell division have {dividing:.1f} of 10,000 counts here: "
    return rate + SENTENCES[kind]


def judge_domain(counts: "AlignedCounts") -> Domain:
    """Whether the cells divide as lines do.

    Parameters
    ----------
    counts
        Cells over all genes of the file; read in pieces.
    """
    symbols = [symbol or name for symbol, name in zip(counts.index.symbols, counts.index.names, strict=True)]
    genes = np.flatnonzero(np.isin(symbols, DIVISION) & counts.is_measured)
    if len(genes) < _LEAST_GENES:
        return Domain(float("nan"), "unknown")
    here = total = 0.0
    for start in range(0, counts.n_obs, _ROWS):
        block = counts.rows(start, start + _ROWS)
        here += float(block[:, genes].sum(dtype=np.float64))
        total += float(block.sum(dtype=np.float64))
    if not total:
        return Domain(float("nan"), "unknown")
    rate = 1e4 * here / total
    kind = "growing" if rate >= GROWING else "between" if rate >= RESTING else "resting"
    return Domain(rate, kind)
