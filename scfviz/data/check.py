"""Find raw counts in a dataset, prove that they are counts, and say so in plain words."""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.recovery import MAX_LOGGED, Recovery, count_failing, find_recovery
from scfviz.errors import DatasetError

# Names under which counts are kept; other layers of whole numbers (ranks, codes) come after X and raw.
COUNT_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "umis", "umi_counts", "X_counts", "matrix")
# Parts of the counts, not the counts.
PARTIAL_LAYERS = ("spliced", "unspliced", "ambiguous")
SAMPLE_CELLS = 400
# Estimated counts (RSEM, ambient correction) are whole where reads were unambiguous.
MIN_WHOLE_OF_ESTIMATES = 0.2
# A cell with fewer whole values than this was normalised; up to this share of such cells is left to a warning.
MIN_WHOLE_OF_A_CELL = 0.01
MAX_FAILING_CELLS = 0.05
# Counts of a selection of genes give way to counts recovered for this many times as many genes.
WORTH_RECOVERING = 2
N_NAMES = 3


@dataclass(frozen=True)
class Notice:
    """One sentence for the reader of a report; `level` is "info" or "warning"."""

    level: str
    text: str


@dataclass(frozen=True)
class CountsReport:
    """Where the counts are, what they are, and what should be known about them."""

    location: str  # "X" | "raw.X" | "layers['counts']"
    kind: str  # "counts" | "recovered"
    n_obs: int
    n_vars: int
    notices: tuple[Notice, ...]
    recovery: Recovery | None = None
    is_whole: bool = True  # False: estimated counts with fractions
    n_empty: int = 0  # cells without a single count
    max_count: float = 0.0
    # float64 (n_vars,), counts per gene
    gene_totals: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def as_dict(self) -> dict:
        """The report as JSON-able fields."""
        recovery = self.recovery
        return {
            "location": self.location,
            "kind": self.kind,
            "n_obs": self.n_obs,
            "n_vars": self.n_vars,
            "is_whole": self.is_whole,
            "n_empty": self.n_empty,
            "max_count": self.max_count,
            "recovery": {"scale": recovery.scale, "whole_share": recovery.whole_share} if recovery else None,
            "notices": [{"level": n.level, "text": n.text} for n in self.notices],
        }


# What a usable matrix holds, the best first: counts, values that give counts back, estimates, only 0 and 1.
VERDICTS = ("counts", "recovered", "fractions", "binary")


@dataclass(frozen=True)
class Candidate:
    """A matrix that might hold the counts, and what a sample of its cells looks like."""

    location: str
    matrix: object
    verdict: str  # one of VERDICTS, or the reason against it
    recovery: Recovery | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first is preferred: by verdict, then by number of genes."""
        return VERDICTS.index(self.verdict), -self.matrix.shape[1]


def count_matrix(adata, location: str):
    """The matrix at a location of a report: "X", "raw.X" or "layers['NAME']"."""
    if location == "X":
        return adata.X
    if location == "raw.X":
        return adata.raw.X
    return adata.layers[location.removeprefix("layers['").removesuffix("']")]


def count_var(adata, location: str):
    """The table of genes that belongs to the matrix at a location."""
    return adata.raw.var if location == "raw.X" else adata.var


def check_counts(adata) -> CountsReport:
    """Find the raw counts of a dataset and check every value of them.

    Whole counts are preferred, the matrix with more genes first; then values from which counts can be recovered
    exactly; then estimated counts with fractions. Counts of a few selected genes give way to recovered counts of at
    least twice as many. The chosen matrix is read once, in blocks of cells.

    Raises
    ------
    DatasetError
        No matrix holds counts: all are negative, scaled, or normalised beyond recovery; or the chosen one has
        missing, infinite or negative values.
    """
    candidates = [classify(location, count_matrix(adata, location)) for location in locations(adata)]
    usable = sorted((c for c in candidates if c.verdict in VERDICTS), key=lambda c: c.rank)
    if not usable:
        refuse_all(candidates, source_name(adata))
    chosen = usable[0]
    if chosen.verdict == "counts":
        recovered = next((c for c in usable if c.verdict == "recovered"), chosen)
        if recovered.matrix.shape[1] >= WORTH_RECOVERING * chosen.matrix.shape[1]:
            chosen = recovered
    try:
        report = scan(adata, chosen)
    except DatasetError:
        if chosen is usable[0]:
            raise
        chosen = usable[0]
        report = scan(adata, chosen)
    return replace(report, notices=tuple(explain(adata, chosen, candidates, report)))


def source_name(adata) -> str:
    """What to call the dataset in messages."""
    from pathlib import Path

    return f"'{Path(adata.uns['scfviz_source']['path']).name}'" if "scfviz_source" in adata.uns else "the dataset"


def locations(adata) -> list[str]:
    """Every place that may hold counts, the usual ones first."""
    layers = sorted(k for k in adata.layers if k not in PARTIAL_LAYERS)
    return [
        *(f"layers['{k}']" for k in layers if k in COUNT_LAYERS),
        *(["X"] if adata.X is not None else []),
        *(["raw.X"] if adata.raw is not None else []),
        *(f"layers['{k}']" for k in layers if k not in COUNT_LAYERS),
    ]


def classify(location: str, matrix) -> Candidate:
    """Judge a matrix by some cells from its beginning, middle and end."""
    if np.dtype(matrix.dtype).kind not in "biuf":
        return Candidate(location, matrix, "it holds text")
    sample = sample_cells(matrix)
    values = sample.data
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if len(finite) and finite.min() < 0:
        return Candidate(location, matrix, "it has negative values: it was scaled, centred or corrected")
    whole = is_whole(finite)
    if whole.all():
        return Candidate(location, matrix, "binary" if len(finite) and finite.max() == 1 else "counts")
    if len(finite) < len(values):
        return Candidate(location, matrix, "it has missing or infinite values")
    if recovery := find_recovery(sample):
        return Candidate(location, matrix, "recovered", recovery)
    if values.max() > MAX_LOGGED and whole.mean() >= MIN_WHOLE_OF_ESTIMATES:
        return Candidate(location, matrix, "fractions")
    totals = np.asarray(sample.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if len(totals) > 1 and np.ptp(totals) <= 1e-3 * totals.mean():
        reason = f"every cell sums to {totals.mean():,.0f} and no whole counts come back (for example TPM)"
    else:
        reason = (
            "its values are no whole numbers, and no whole counts come back from them (corrected, smoothed, scaled "
            "without centring, FPKM, or logged TPM)"
        )
    return Candidate(location, matrix, reason)


def is_whole(values: np.ndarray) -> np.ndarray:
    """Whether each value is whole, up to what writing it as text or in single precision does to it."""
    if values.dtype.kind in "biu":
        return np.ones(len(values), dtype=bool)
    nearest = np.rint(values)
    # A value near 0 is a small share of something, not a count of 0.
    return (np.abs(values - nearest) <= 1e-4 + 1e-6 * np.abs(values)) & ((nearest != 0) | (values == 0))


def sample_cells(matrix) -> sp.csr_matrix:
    """Up to 400 cells from four places."""
    n_obs = matrix.shape[0]
    if n_obs <= SAMPLE_CELLS:
        return mx.read_rows(matrix, 0, n_obs)
    part = SAMPLE_CELLS // 4
    starts = np.linspace(0, n_obs - part, 4).astype(int)
    return sp.vstack([mx.read_rows(matrix, int(s), int(s) + part) for s in starts], format="csr")


def refuse_all(candidates: list[Candidate], name: str) -> None:
    """Say why no matrix can be used."""
    reasons = "; ".join(f"{c.location}: {c.verdict}" for c in candidates) or "There is no matrix in it"
    raise DatasetError(
        f"No raw counts were found in {name}. {reasons}.",
        "Raw counts are needed, or values that were only divided by each cell's total and perhaps logged.",
        "Save the raw counts into layers['counts'] or raw before scaling, and open that file.",
    )


def scan(adata, chosen: Candidate) -> CountsReport:
    """Read every value of the chosen matrix once."""
    matrix = chosen.matrix
    gene_totals = np.zeros(matrix.shape[1])
    n_empty, largest, whole, n_failing, first_empty = 0, 0.0, True, 0, []
    for start, block in mx.row_blocks(matrix):
        refuse_bad_values(adata, chosen, start, block)
        if chosen.recovery:
            n_failing += count_failing(block, chosen.recovery)
            block = chosen.recovery.apply(block)
        elif block.dtype.kind == "f" and not (flags := is_whole(block.data)).all():
            whole = False
            n_whole = np.diff(np.concatenate([[0], np.cumsum(flags)])[block.indptr])
            n_failing += int((n_whole < MIN_WHOLE_OF_A_CELL * np.diff(block.indptr)).sum())
        gene_totals += np.bincount(block.indices, weights=block.data, minlength=matrix.shape[1])
        totals = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
        empty = np.flatnonzero(totals == 0)
        n_empty += len(empty)
        first_empty += [str(adata.obs_names[start + i]) for i in empty[: N_NAMES - len(first_empty)]]
        largest = max(largest, float(block.data.max()) if block.nnz else 0.0)
    if n_failing > MAX_FAILING_CELLS * matrix.shape[0]:
        what = "are no whole multiples of the smallest one" if chosen.recovery else "are no whole numbers"
        raise DatasetError(
            f"{chosen.location} of {source_name(adata)} does not hold the counts of all cells: in {n_failing:,} of "
            f"{matrix.shape[0]:,} cells the values {what}.",
            "Raw counts are needed.",
            "Save the raw counts into layers['counts'] and open that file.",
        )
    if n_empty == matrix.shape[0]:
        raise DatasetError(
            f"No cell of {source_name(adata)} has a single count in {chosen.location}.",
            "At least one cell with counts is needed.",
            "Check how the file was made.",
        )
    notices = []
    if n_empty:
        text = (
            f"{n_empty:,} of {matrix.shape[0]:,} cells have no counts at all (for example {', '.join(first_empty)}). "
            "They have no depth, so the model cannot use them: remove them with a filter."
        )
        notices.append(Notice("warning", text))
    if n_failing:
        what = "recovered values were not all whole; they were rounded" if chosen.recovery else "values are not whole"
        notices.append(Notice("warning", f"In {n_failing:,} cells the {what}."))
    kind = "recovered" if chosen.recovery else "counts"
    return CountsReport(
        chosen.location, kind, *matrix.shape, tuple(notices), chosen.recovery, whole, n_empty, largest, gene_totals
    )


def refuse_bad_values(adata, chosen: Candidate, start: int, block: sp.csr_matrix) -> None:
    """Refuse missing, infinite and negative values, naming the first cell and gene that has one."""
    if block.nnz == 0:
        return
    if block.dtype.kind == "f" and not np.isfinite(block.data.sum(dtype=np.float64)):
        bad, what = ~np.isfinite(block.data), "missing or infinite (NaN, inf)"
    elif block.dtype.kind != "u" and block.data.min() < 0:
        bad, what = block.data < 0, "negative"
    else:
        return
    if not bad.any():
        return
    first = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(block.indptr, first, side="right")) - 1
    gene = count_var(adata, chosen.location).index[block.indices[first]]
    raise DatasetError(
        f"{chosen.location} of {source_name(adata)} has values that are {what}; the first is {block.data[first]:g} "
        f"in the cell '{adata.obs_names[start + row]}', gene '{gene}'.",
        "Counts are whole numbers from 0 up.",
        "Repair or remove these values, or save the raw counts into layers['counts'].",
    )


def explain(adata, chosen: Candidate, candidates: list[Candidate], report: CountsReport):
    """All decisions as sentences."""
    for note in adata.uns.get("scfviz_source", {}).get("notes", ()):
        yield Notice("info", note)
    if chosen.recovery:
        was = "not logged" if chosen.recovery.scale == "no logarithm" else f"logged ({chosen.recovery.scale})"
        yield Notice(
            "info",
            f"{chosen.location} holds normalised values, {was}. Counts were recovered by taking the smallest non-zero "
            f"value of each cell as one count; {chosen.recovery.whole_share:.1%} of the tested values came out whole.",
        )
    elif report.is_whole:
        yield Notice("info", f"Raw counts were found in {chosen.location}.")
    else:
        yield Notice(
            "warning",
            f"{chosen.location} holds estimated counts with fractions (for example after ambient-RNA correction or "
            "from full-length protocols). They are used as they are.",
        )
    for other in candidates:
        if other is not chosen:
            n_genes = other.matrix.shape[1]
            reason = {
                "counts": f"it holds whole numbers, of {n_genes:,} genes",
                "recovered": "it holds normalised values",
                "fractions": "it holds values with fractions",
                "binary": "it holds only 0 and 1",
            }.get(other.verdict, other.verdict)
            yield Notice("info", f"{other.location} was not used: {reason}.")
    if not chosen.recovery and report.is_whole and report.max_count == 1:
        yield Notice(
            "warning",
            "Every value is 0 or 1: the counts seem to have been reduced to detected or not, and depth has lost its "
            "meaning.",
        )
    repeated = int(adata.obs_names.duplicated().sum())
    if repeated:
        yield Notice("warning", f"{repeated:,} cell names are repeated; a number was added to tell them apart.")
    yield from report.notices
