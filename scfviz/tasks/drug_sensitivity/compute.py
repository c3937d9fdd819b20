"""Read sensitivity to drugs from cells: the public function, streamed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.data.normalise import log_values
from scfviz.errors import DatasetError, GeneError, Stopped
from scfviz.tasks.drug_sensitivity.predictor import CellPredictor, read_predictor

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

LEAST_SHARE = 0.2  # of the predictor's genes that must be measured
FEWEST_TO_SMOOTH, N_LIKE = 30, 15
SENSITIVE, RESISTANT, CANNOT_TELL = "sensitive", "resistant", "can't tell"
SURE = 0.65  # a call needs at least this probability
_ROWS = 2_000


@dataclass(frozen=True)
class CellSensitivity:
    """What was read from each cell.

    Attributes
    ----------
    drugs
        Names.
    probability
        float32 (n_obs, n_drugs): that a cell line with this expression is sensitive; NaN for a cell without counts.
    score
        float32 (n_obs, n_drugs): before it becomes a probability; no unit, high is resistant.
    depth
        float64 (n_obs,): counts on the predictor's genes.
    n_measured
        Genes of the predictor that the file holds.
    is_smoothed
        Whether each score is the mean over similar cells.
    """

    drugs: tuple[str, ...]
    probability: np.ndarray
    score: np.ndarray
    depth: np.ndarray
    n_measured: int
    is_smoothed: bool

    @property
    def confidence(self) -> np.ndarray:
        """float32 (n_obs, n_drugs): probability that the likelier of sensitive and resistant is right, 0.5 to 1."""
        return np.maximum(self.probability, 1 - self.probability)


def predict_sensitivity(
    counts: "AlignedCounts",
    drugs: Sequence[str] | None = None,
    *,
    predictor: CellPredictor | None = None,
    threshold: str = "median",
    components: np.ndarray | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> CellSensitivity:
    """Read from each cell how likely a cell line with its expression is sensitive to drugs.

    Parameters
    ----------
    counts
        Cells over all genes of the file (`open_dataset(path).counts`). Not changed.
    drugs
        Names, in any spelling; all of the predictor when left out.
    predictor
        From `read_predictor`; the one that ships when left out.
    threshold
        Where sensitive begins: "median" of the training lines, "quarter" (their most sensitive quarter), or
        "published" thresholds (NaN for a drug without one).
    components
        float (n_obs, D), where similar cells lie near each other; scores are then means over the 15 nearest cells and
        the cell itself. None: each cell by itself.

    Raises
    ------
    OptionError
        A drug is not known.
    GeneError
        The file holds too few of the predictor's genes.

    Source: the ridge of bulk lines is the simple method of Iorio et al. 2016, doi:10.1016/j.cell.2016.06.017, and of
    Geeleher et al. 2014, doi:10.1186/gb-2014-15-3-r47.
    """
    predictor = read_predictor() if predictor is None else predictor
    chosen = list(range(len(predictor.drugs))) if drugs is None else predictor.find_drugs(drugs)
    parts, depth, n_measured = read_parts(counts, predictor, progress=progress, should_stop=should_stop)
    if components is not None:
        parts = smooth_parts(parts, components)
    score = parts @ predictor.coefficients[:, chosen]
    is_smoothed = components is not None and counts.n_obs >= FEWEST_TO_SMOOTH
    probability = predictor.probabilities(score, depth, threshold=threshold, is_mean=is_smoothed, drugs=chosen)
    return CellSensitivity(
        tuple(predictor.drugs[i] for i in chosen), probability, score, depth, n_measured, is_smoothed
    )


def read_parts(
    counts: "AlignedCounts",
    predictor: CellPredictor,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The few numbers of each cell from which all scores follow.

    Returns
    -------
    tuple
        float32 (n_obs, n_parts), NaN for a cell without counts; float64 (n_obs,) counts on the predictor's genes,
        as if all were measured; number of its genes that the file holds.

    Raises
    ------
    GeneError
        See `predict_sensitivity`.
    Stopped
        Somebody asked to.
    """
    columns = gene_columns(counts, predictor)
    measured = np.flatnonzero(np.asarray(columns.sum(axis=0)).ravel() > 0)
    if len(measured) < LEAST_SHARE * len(predictor.genes):
        raise GeneError(
            f"The file measures {len(measured):,} of the {len(predictor.genes):,} genes that the predictor reads.",
            f"At least {LEAST_SHARE:.0%} are needed: a drug's score is a sum over all of them.",
            "Use a file with all genes, not only the variable ones or a panel.",
        )
    columns = columns[:, measured]
    projection = predictor.projection[measured].astype(np.float64)
    start_from = predictor.offset[measured] @ projection
    column_sums = projection.sum(axis=0)
    parts = np.full((counts.n_obs, projection.shape[1]), np.nan, dtype=np.float32)
    depth = np.zeros(counts.n_obs)
    for start in range(0, counts.n_obs, _ROWS):
        if should_stop():
            raise Stopped
        block = sparse.csr_matrix(counts.rows(start, start + _ROWS).astype(np.float64) @ columns)
        totals = np.asarray(block.sum(axis=1)).ravel()
        of_cell = np.repeat(np.maximum(totals, 1e-9), np.diff(block.indptr))
        block.data = log_values(block.data, of_cell).astype(np.float64)
        mean = np.asarray(block.sum(axis=1)).ravel() / len(measured)
        square = np.asarray(block.multiply(block).sum(axis=1)).ravel() / len(measured)
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        there = spread > 0
        found = (block @ projection)[there] - mean[there, None] * column_sums
        rows = np.arange(start, start + len(totals))
        parts[rows[there]] = found / spread[there, None] - start_from
        depth[rows] = totals * len(predictor.genes) / len(measured)
        progress(min(start + _ROWS, counts.n_obs), counts.n_obs)
    return parts, depth, len(measured)


def smooth_parts(parts: np.ndarray, components: np.ndarray, n_like: int = N_LIKE) -> np.ndarray:
    """The mean of each cell and its nearest cells; with fewer than 30 cells nothing changes.

    Parameters
    ----------
    parts
        (n_obs, n_parts); NaN rows stay, and count for no other cell.
    components
        (n_obs, D), finite where `parts` are.
    """
    from scfviz.analysis.baselines import find_neighbors

    known = np.flatnonzero(np.isfinite(parts).all(axis=1))
    if len(known) < FEWEST_TO_SMOOTH:
        return parts
    smoothed = parts.copy()
    near, _ = find_neighbors(np.asarray(components)[known], n_like)
    own = parts[known].astype(np.float64)
    for start in range(0, len(known), _ROWS):
        at = slice(start, start + _ROWS)
        smoothed[known[at]] = (own[at] + own[near[at]].sum(axis=1)) / (1 + near.shape[1])
    return smoothed


def gene_columns(counts: "AlignedCounts", predictor: CellPredictor) -> sparse.csr_matrix:
    """(n_file_genes, n_genes), 1 where a gene of the file is one of the predictor: columns of one gene add up.

    Raises
    ------
    DatasetError
        The file has no genes.
    """
    index = counts.index
    if not len(index):
        raise DatasetError("The file has no genes.", "Genes with names are needed.", "Choose the column of genes.")
    place = {gene: i for i, gene in enumerate(predictor.genes)}
    pairs = [
        (i, place[symbol or name])
        for i, (name, symbol, here) in enumerate(zip(index.names, index.symbols, counts.is_measured, strict=True))
        if here and (symbol or name) in place
    ]
    rows, columns = (np.array(part, dtype=np.int64) for part in zip(*pairs, strict=True)) if pairs else ([], [])
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(index), len(predictor.genes)))


def call_cells(probability: np.ndarray, sure: float = SURE) -> np.ndarray:
    """Sensitive, resistant or can't tell, object of the shape of `probability`; None where it is NaN."""
    calls = np.full(probability.shape, CANNOT_TELL, dtype=object)
    calls[probability >= sure] = SENSITIVE
    calls[probability <= 1 - sure] = RESISTANT
    calls[~np.isfinite(probability)] = None
    return calls
