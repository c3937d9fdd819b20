"""Could read depth or the cell cycle alone explain a map of sensitivity? Numbers on the cells at hand."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.data.normalise import log_normalise

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

# Tirosh et al. 2016, doi:10.1126/science.aad0501, under today's symbols
S_PHASE = (
    "MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 CENPU HELLS RFC2 RPA2 NASP RAD51AP1 "
    "GMNN WDR76 SLBP CCNE2 UBR7 POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN DSCC1 BLM CASP8AP2 USP1 CLSPN POLA1 "
    "CHAF1B BRIP1 E2F8"
).split()
G2M_PHASE = (
    "HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 PIMREG SMC4 CCNB2 CKAP2L "
    "CKAP2 AURKB BUB1 KIF11 ANP32E TUBB4B GTSE1 KIF20B HJURP CDCA3 JPT1 CDC20 TTK CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5 "
    "CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN LBR CKAP5 CENPE CTCF NEK2 G2E3 GAS2L3 CBX5 CENPA"
).split()
_ROWS = 5_000


def cycle_scores(counts: "AlignedCounts") -> np.ndarray:
    """Mean expression of genes of the S and the G2/M phase in each cell.

    Returns
    -------
    float64 (n_obs, 2), ln(1 + counts per 10,000); 0 where a cell has no counts, NaN where no gene is measured.
    """
    found = np.full((counts.n_obs, 2), np.nan)
    symbols = np.array([symbol or name for symbol, name in zip(counts.index.symbols, counts.index.names, strict=True)])
    columns = [np.flatnonzero(np.isin(symbols, genes) & counts.is_measured) for genes in (S_PHASE, G2M_PHASE)]
    for start in range(0, counts.n_obs, _ROWS):
        block = log_normalise(counts.rows(start, start + _ROWS))
        for k, genes in enumerate(columns):
            if len(genes):
                found[start : start + block.shape[0], k] = np.asarray(block[:, genes].mean(axis=1)).ravel()
    return found


def explain(score: np.ndarray, depth: np.ndarray, cycle: np.ndarray, groups: np.ndarray) -> "pd.DataFrame":
    """Share of each drug's variance over cells that simple things explain alone, and what groups still add to them.

    Parameters
    ----------
    score
        float (n_cells, n_drugs).
    depth
        (n_cells,) counts.
    cycle
        (n_cells, 2), see `cycle_scores`; NaN columns are left out.
    groups
        str (n_cells,), clusters or labels.

    Returns
    -------
    pd.DataFrame
        One row a drug: `depth`, `cycle`, `both`, `groups` and `groups_left` (what groups add to both), each 0 to 1;
        adjusted for the number of terms.
    """
    import pandas as pd

    known = np.isfinite(score).all(axis=1)
    score, depth, cycle, groups = score[known].astype(np.float64), depth[known], cycle[known], groups[known]
    log_depth = np.log1p(depth)[:, None]
    phases = cycle[:, np.isfinite(cycle).all(axis=0)]
    dummies = (groups[:, None] == np.unique(groups)[None, 1:]).astype(np.float64)
    both = np.concatenate([log_depth, phases], axis=1)
    everything = np.concatenate([both, dummies], axis=1)
    shares = {
        "depth": _explained(score, log_depth),
        "cycle": _explained(score, phases),
        "both": _explained(score, both),
        "groups": _explained(score, dummies),
    }
    shares["groups_left"] = np.maximum(_explained(score, everything) - shares["both"], 0.0)
    return pd.DataFrame(shares)


def _explained(values: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Adjusted share of the variance of each column that a linear model explains, never below 0."""
    n, k = terms.shape
    total = ((values - values.mean(axis=0)) ** 2).sum(axis=0) if n else np.zeros(values.shape[1])
    if n < k + 3 or not k:
        return np.zeros(values.shape[1])
    design = np.concatenate([np.ones((n, 1)), terms - terms.mean(axis=0)], axis=1)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    rest = ((values - fitted) ** 2).sum(axis=0)
    rank = np.linalg.matrix_rank(design) - 1
    ratio = np.divide(rest, total, out=np.ones_like(rest), where=total > 1e-12)
    return np.maximum(1 - ratio * (n - 1) / max(n - 1 - rank, 1), 0.0)
