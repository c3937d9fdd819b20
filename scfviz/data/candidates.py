"""The matrices of a dataset that might hold its counts, each judged by some of its cells."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scfviz.data import likeness
from scfviz.data import matrix as mx
from scfviz.data.features import Features, as_metadata, find_features, strangers
from scfviz.data.parts import PLUS, part_layers
from scfviz.data.recovery import MAX_LOGGED, Recovery, find_recovery, find_rounded, misfit_columns

if TYPE_CHECKING:
    from anndata import AnnData

# Names under which counts are kept; other layers of whole numbers come after X and raw.
COUNT_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "umis", "umi_counts", "X_counts", "matrix")
SAMPLE_CELLS = 400
# Estimated counts (RSEM, ambient correction) are whole where reads were unambiguous.
MIN_WHOLE_OF_ESTIMATES = 0.2
# Names of units of normalised values, and what else a name may say; a name is a hint, no proof.
UNIT = re.compile(r"(?<![a-z])(cpm|tpm|fpkm|rpkm)(?![a-z0-9])", re.IGNORECASE)
COUNTED = re.compile(r"count|umi|raw|molecule", re.IGNORECASE)
# What whole numbers show that may be normalised counts, rounded.
RECOVERABLE = (likeness.NO_ONES, likeness.FAR, likeness.FIXED_TOTAL)
# What a usable matrix holds, the best first: counts, values that give counts back, estimates, only 0 and 1.
VERDICTS = ("counts", "recovered", "fractions", "binary")


@dataclass(frozen=True)
class Candidate:
    """A matrix that might hold the counts, and what a sample of its cells looks like."""

    location: str
    matrix: mx.Matrix
    verdict: str  # one of VERDICTS, or the reason against it
    features: Features
    sample: sp.csr_matrix | None = field(default=None, repr=False)  # some cells, without what is no gene
    recovery: Recovery | None = None
    is_doubtful: bool = False  # whole numbers that do not look like counts
    is_parts: bool = False  # the sum of all parts of the counts that the file holds

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first is preferred: by verdict, then by number of genes."""
        return VERDICTS.index(self.verdict), -self.matrix.shape[1]

    @property
    def is_named(self) -> bool:
        """Whether the place is one where counts belong: X, raw, or a layer that is called so."""
        return self.location in ("X", "raw.X") or layer_of(self.location) in COUNT_LAYERS

    def counts(self) -> sp.csr_matrix:
        """The counts of the sample."""
        return self.recovery.apply(self.sample) if self.recovery else self.sample


def layer_of(location: str) -> str:
    """The name of the layer at a location; "" where it is none."""
    return location.removeprefix("layers['").removesuffix("']") if location.startswith("layers['") else ""


def count_matrix(adata: "AnnData", location: str) -> mx.Matrix:
    """The matrix at a location of a report: "X", "raw.X", "layers['NAME']", or a sum of layers between " + "."""
    if PLUS in location:
        return mx.SummedMatrix([count_matrix(adata, part) for part in location.split(PLUS)])
    if location == "X":
        return adata.X
    return adata.raw.X if location == "raw.X" else adata.layers[layer_of(location)]


def count_var(adata: "AnnData", location: str) -> pd.DataFrame:
    """The table of genes that belongs to the matrix at a location."""
    return adata.raw.var if location == "raw.X" else adata.var


def parts_location(adata: "AnnData") -> str:
    """The sum of the parts (spliced, unspliced) that the layers hold; "" when they hold none."""
    return PLUS.join(f"layers['{k}']" for k in part_layers(adata.layers))


def locations(adata: "AnnData") -> list[str]:
    """Every place that may hold counts, the usual ones first, the sum of parts last."""
    parts = part_layers(adata.layers)
    layers = sorted(k for k in adata.layers if k not in parts)
    return [
        *(f"layers['{k}']" for k in layers if k in COUNT_LAYERS),
        *(["X"] if adata.X is not None else []),
        *(["raw.X"] if adata.raw is not None else []),
        *(f"layers['{k}']" for k in layers if k not in COUNT_LAYERS),
        *filter(None, [parts_location(adata)]),
    ]


def find_candidates(adata: "AnnData") -> list[Candidate]:
    """All matrices of a dataset, judged."""
    known: dict[bool, Features] = {}
    found, by_totals = [], not is_selection(adata)
    for location in locations(adata):
        is_raw, var = location == "raw.X", count_var(adata, location)
        if is_raw not in known:
            known[is_raw] = find_features(var)
        judged = classify(location, count_matrix(adata, location), var, known[is_raw], by_totals=by_totals)
        judged = doubt_by_name(judged, unit_said(adata, location))
        found.append(replace(judged, is_parts=location == parts_location(adata)))
    if any(c.verdict in VERDICTS and c.sample.nnz for c in found):
        # kb and loompy write a matrix of zeros beside layers that hold the counts.
        is_blank = [c.verdict in VERDICTS and not c.sample.nnz for c in found]
        zeros = "it holds nothing but zeros in tested cells"
        found = [replace(c, verdict=zeros) if blank else c for c, blank in zip(found, is_blank, strict=True)]
    return found


def is_selection(adata: "AnnData") -> bool:
    """Whether the cells were selected in the explorer, perhaps by their totals, which are close then."""
    ours = adata.uns.get("scfviz")
    return isinstance(ours, Mapping) and "lineage" in ours


def unit_said(adata: "AnnData", location: str) -> str:
    """The name of a layer, or of the file, that says a unit of normalised values; "" where none does."""
    source = adata.uns.get("scfviz_source", {})
    name = layer_of(location) or (Path(source["path"]).name if source else "")
    return name if UNIT.search(name) and not COUNTED.search(name) else ""


def doubt_by_name(found: Candidate, name: str) -> Candidate:
    """Whole numbers under the name of a unit, few of them ones: rounded values, or only a name. The user knows."""
    if found.verdict != "counts" or not name or likeness.has_molecules(found.sample):
        return found
    unit = UNIT.search(name)[0].upper()
    verdict = f"it holds whole numbers, but the name {name} says {unit}, and few of them are 1 (rounded)"
    return replace(found, verdict=verdict, is_doubtful=True)


def classify(
    location: str, matrix: mx.Matrix, var: pd.DataFrame, features: Features, *, by_totals: bool = True
) -> Candidate:
    """Judge a matrix by some cells from its beginning, middle and end; `by_totals` as in `judge`."""
    if np.dtype(matrix.dtype).kind not in "biuf":
        return Candidate(location, matrix, "it holds text", features)
    sample = sample_cells(matrix)
    features = find_features(var, sample, features)
    whole, sample = sample, mx.keep_columns(sample, features.is_gene)
    verdict, recovery, is_doubtful = judge(sample, int(features.is_gene.sum()), by_totals=by_totals)
    if verdict not in VERDICTS and (strange := strangers(var, features)).any():
        known = mx.keep_columns(whole, features.is_gene & ~strange)
        again, found, _ = judge(known, int((features.is_gene & ~strange).sum()))
        if again == "recovered":
            misfits = strange & misfit_columns(sample, known, found)
            features, verdict, recovery = as_metadata(var, misfits, features), again, found
            sample = mx.keep_columns(whole, features.is_gene)
    if sample.dtype.kind == "f" and verdict == "counts":
        sample = sp.csr_matrix((np.rint(sample.data), sample.indices, sample.indptr), shape=sample.shape)
    return Candidate(location, matrix, verdict, features, sample, recovery, is_doubtful)


def judge(sample: sp.csr_matrix, n_genes: int, *, by_totals: bool = True) -> tuple[str, Recovery | None, bool]:
    """(verdict, how counts come back, whether the numbers are whole but unlike counts) of the sample of a matrix.

    `n_genes` of its columns are genes; without `by_totals` the totals of cells may be close.
    """
    values = sample.data
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if len(finite) and finite.min() < 0:
        return "it has negative values: it was scaled, centred or corrected", None, False
    whole = is_whole(finite)
    if len(finite) < len(values) and not whole.all():
        return "it has missing or infinite values", None, False
    if whole.all():
        if len(finite) and finite.max() == 1:
            return "binary", None, False
        # What is not finite is refused with the name of the cell and gene when all values are read.
        why = (
            0
            if len(finite) < len(values)
            else likeness.unlike_counts(rounded(sample), n_genes=n_genes, by_totals=by_totals)
        )
        if why in RECOVERABLE and (recovery := find_rounded(sample)):
            return "recovered", recovery, False
        if why:
            n = int((likeness.judge_cells(rounded(sample), n_genes=n_genes).why > 0).sum())
            where = f" in {n:,} of {sample.shape[0]:,} tested cells" if n else ""
            return f"it holds whole numbers that do not look like counts{where}: {likeness.WHY[why]}", None, True
        return "counts", None, False
    if recovery := find_recovery(sample):
        # A constant that is no 1 in these units, added before the logarithm: each count comes back doubled, and 1 more.
        if likeness.is_raised(recovery.apply(sample), n_genes).mean() > 0.5:
            return f"what comes back from it are no counts: {likeness.WHY[likeness.ADDED]}", None, False
        return "recovered", recovery, False
    if values.max() > MAX_LOGGED and whole.mean() >= MIN_WHOLE_OF_ESTIMATES:
        # Cells without whole values are counted, and refused by that name, when all values are read.
        n_whole = np.diff(np.concatenate([[0], np.cumsum(whole)])[sample.indptr])
        estimates = sample[n_whole >= MIN_WHOLE_OF_ESTIMATES * np.diff(sample.indptr)]
        if why := likeness.unlike_counts(estimates, is_whole=False, n_genes=n_genes, by_totals=by_totals):
            return f"its values do not look like counts: {likeness.WHY[why]}", None, True
        return "fractions", None, False
    totals = np.asarray(sample.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if len(totals) > 1 and np.ptp(totals) <= 1e-3 * totals.mean():
        return f"every cell sums to {totals.mean():,.0f} and no whole counts come back (for example TPM)", None, False
    return (
        (
            "its values are no whole numbers, and no whole counts come back from them (corrected, smoothed, scaled "
            "without centring, FPKM, or logged TPM)"
        ),
        None,
        False,
    )


def is_whole(values: np.ndarray) -> np.ndarray:
    """Whether each value is whole, up to what writing it as text or in single precision does to it."""
    if values.dtype.kind in "biu":
        return np.ones(len(values), dtype=bool)
    nearest = np.rint(values)
    if np.array_equal(nearest, values):
        return np.ones(len(values), dtype=bool)
    # A value near 0 is a small share of something, not a count of 0.
    return (np.abs(values - nearest) <= 1e-4 + 1e-6 * np.abs(values)) & ((nearest != 0) | (values == 0))


def rounded(block: sp.csr_matrix) -> sp.csr_matrix:
    """The same block without the fractions that single precision and text leave on whole numbers."""
    if block.dtype.kind != "f":
        return block
    return sp.csr_matrix((np.rint(block.data), block.indices, block.indptr), shape=block.shape)


def sample_cells(matrix: mx.Matrix) -> sp.csr_matrix:
    """Up to 400 cells from four places."""
    n_obs = matrix.shape[0]
    if n_obs <= SAMPLE_CELLS:
        return mx.read_rows(matrix, 0, n_obs)
    part = SAMPLE_CELLS // 4
    starts = np.linspace(0, n_obs - part, 4).astype(int)
    return sp.vstack([mx.read_rows(matrix, int(s), int(s) + part) for s in starts], format="csr")
