"""Bring the counts of a file into the model's gene order, block by block."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.candidates import count_matrix, count_var
from scfviz.data.check import CountsReport, Reading, check_and_match
from scfviz.data.features import Features
from scfviz.data.gene_index import GeneIndex
from scfviz.data.genes import GeneMatch, GeneReport, match_genes
from scfviz.data.repeats import resolve_repeats
from scfviz.data.source import Fingerprint, refuse_changed
from scfviz.errors import OptionError

if TYPE_CHECKING:
    from anndata import AnnData

SECONDS_BETWEEN_FOLDER_CHECKS = 1.0
N_CELL_NAMES = 3


class AlignedCounts:
    """Counts of a dataset in the order of a list of genes: the model's, or the file's own (see `scfviz.data.open`).

    Nothing is copied until rows are asked for.

    Attributes
    ----------
    genes
        Names, (n_genes,): symbols of the model, or what the file's genes are called.
    index
        Every name that the genes go by.
    is_measured
        bool (n_genes,): whether the file holds the gene at all. A zero of a gene that is not measured means nothing.
    target
        int32 (n_vars,): position among `genes` of each row of the file's gene table, -1 where it is none of them.
    obs
        Table of the cells with unique names.
    is_other_species
        bool (n_obs,): cells of the mouse, in a file of human and mouse cells. They are never embedded.
    match
        How the rows of the file's gene table met `genes`.
    counts_report, gene_report
        What was decided on the way.
    entries
        int64 (n_genes,): cells with counts of each gene, where the check of all values has counted them; else None.
    cells
        int64 (n_obs,): rows of the file, None for all.
    origin
        Path and column of genes with which `align_genes` gives the same again, or more genes; None: there is no file.
    """

    def __init__(
        self,
        matrix: mx.Matrix,
        match: GeneMatch,
        obs: pd.DataFrame,
        counts_report: CountsReport,
        gene_report: GeneReport,
        watched: tuple[Path, Fingerprint] | None = None,
        cells: np.ndarray | None = None,
        is_other_species: np.ndarray | None = None,
        index: GeneIndex | None = None,
    ):
        self._matrix, self._watched, self.cells, self.match = matrix, watched, cells, match
        self.origin: tuple[Path, str | None] | None = None
        self.index = GeneIndex.of_model(match.genes) if index is None else index
        self._checked_at, self.entries = 0.0, None
        self.obs, self.counts_report, self.gene_report = obs, counts_report, gene_report
        self.target = match.target
        self.genes = np.array(match.genes, dtype=object)
        self.is_other_species = np.zeros(len(obs), dtype=bool) if is_other_species is None else is_other_species
        self.is_measured = np.bincount(match.target[match.target >= 0], minlength=len(match.genes)) > 0

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.genes)

    @property
    def total_counts(self) -> np.ndarray:
        """Counts of each cell over all these genes, float64 (n_obs,). Read once, then kept."""
        return self._per_cell[0]

    @property
    def n_expressed(self) -> np.ndarray:
        """Number of genes with counts in each cell, int32 (n_obs,)."""
        return self._per_cell[1]

    @property
    def mitochondrial_counts(self) -> np.ndarray:
        """Counts of each cell on mitochondrial genes, float64 (n_obs,); NaN where the file measured none of them."""
        return self._per_cell[2]

    @property
    def known_counts(self) -> np.ndarray:
        """Counts of each cell on genes that the model knows, float64 (n_obs,)."""
        return self._per_cell[3]

    @cached_property
    def _per_cell(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        totals, mitochondrial, known = np.empty((3, self.n_obs))
        is_mitochondrial, is_known = self.index.is_mitochondrial, self.index.is_known.astype(np.float64)
        expressed = np.empty(self.n_obs, dtype=np.int32)
        for start, block in self.blocks():
            stop = start + block.shape[0]
            totals[start:stop] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
            expressed[start:stop] = np.diff(block.indptr)
            mitochondrial[start:stop] = block @ is_mitochondrial.astype(np.float64)
            known[start:stop] = block @ is_known
        return totals, expressed, self._known_share(mitochondrial), known

    def take_sums(self, sums: np.ndarray, n_expressed: np.ndarray) -> None:
        """Take what is known of each cell from the check of all values, so that it needs no reading again.

        Parameters
        ----------
        sums
            float64 (n_obs, 3): counts over all these genes, over mitochondrial ones, over those the model knows.
        n_expressed
            int32 (n_obs,), genes with counts.
        """
        totals, mitochondrial, known = np.ascontiguousarray(sums.T)
        self.__dict__["_per_cell"] = totals, n_expressed, self._known_share(mitochondrial), known

    def _known_share(self, mitochondrial: np.ndarray) -> np.ndarray:
        is_known = (self.is_measured & self.index.is_mitochondrial).any()
        return mitochondrial if is_known else np.full(self.n_obs, np.nan)

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, sp.csr_matrix]]:
        """(first cell, counts) over all cells in order, in blocks of bounded size."""
        rows = rows or mx.block_rows(self._matrix)
        for start in range(0, self.n_obs, rows):
            yield start, self.rows(start, start + rows)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Counts of cells `start` to `stop` in the order of `genes`.

        Returns
        -------
        scipy CSR float32 of shape (stop - start, n_genes), sorted indices, no stored zeros.

        Raises
        ------
        DatasetError
            The file changed since it was opened.
        """
        stop = min(stop, self.n_obs)
        self._refuse_changed()
        if self.cells is None:
            block = mx.read_rows(self._matrix, start, stop)
        else:
            block = mx.take_rows(self._matrix, self.cells[start:stop])
        self._refuse_changed()
        if self.counts_report.recovery:
            # What is no gene (metadata, antibodies) was not normalised with the genes.
            block = mx.keep_columns(block, self.counts_report.features.is_gene)
            block = self.counts_report.recovery.apply(block)
        return self._reorder(block)

    def _reorder(self, block: sp.csr_matrix) -> sp.csr_matrix:
        """Bring columns into the order of `genes`, drop the others, add repeated genes."""
        columns = self.target[block.indices]
        keep = (columns >= 0) & (block.data != 0)
        indptr = np.concatenate([[0], np.cumsum(keep)])[block.indptr]
        values = block.data[keep].astype(np.float32)
        if self.counts_report.is_whole and block.dtype.kind == "f":
            np.rint(values, out=values)
        aligned = sp.csr_matrix((values, columns[keep], indptr.astype(np.int32)), shape=(block.shape[0], self.n_genes))
        aligned.sum_duplicates()  # sorts, too; looks first whether there is anything to do
        return aligned

    def subset(self, indices: np.ndarray) -> "AlignedCounts":
        """The same file with only these cells, in this order.

        Parameters
        ----------
        indices
            Positions among the present cells, or a bool mask over them.

        Raises
        ------
        OptionError
            A position lies outside the cells, or the mask has another length.
        """
        indices = np.asarray(indices)
        if indices.dtype == bool:
            if indices.shape != (self.n_obs,):
                raise OptionError(
                    f"The mask has {indices.size:,} values for {self.n_obs:,} cells.", "One value per cell is needed."
                )
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        if len(indices) and not (0 <= indices.min() and indices.max() < self.n_obs):
            raise OptionError(f"A cell number lies outside 0 to {self.n_obs - 1:,}.", "Positions of cells are needed.")
        cells = indices if self.cells is None else self.cells[indices]
        obs = self.obs.iloc[indices]
        part = AlignedCounts(
            self._matrix,
            self.match,
            obs,
            self.counts_report,
            self.gene_report,
            self._watched,
            cells,
            self.is_other_species[indices],
            self.index,
        )
        part.origin = self.origin
        if "_per_cell" in self.__dict__:
            part.__dict__["_per_cell"] = tuple(values[indices] for values in self._per_cell)
        return part

    def only_genes(self, kept: np.ndarray) -> "AlignedCounts":
        """The same cells as if the file held only some of the genes.

        Parameters
        ----------
        kept
            bool (n_genes,); the others count as not measured, in the totals too.
        """
        target = np.where((self.target >= 0) & kept[self.target], self.target, -1).astype(np.int32)
        part = AlignedCounts(
            self._matrix,
            replace(self.match, target=target),
            self.obs,
            self.counts_report,
            self.gene_report,
            self._watched,
            self.cells,
            self.is_other_species,
            self.index,
        )
        part.origin = self.origin
        return part

    def _refuse_changed(self) -> None:
        """Stop when the file behind a matrix on disk is no longer the one that was checked."""
        if self._watched is None:
            return
        path, before = self._watched
        # A folder has thousands of files: looking at all of them for every block would cost more than reading.
        if not path.is_file() and monotonic() - self._checked_at < SECONDS_BETWEEN_FOLDER_CHECKS:
            return
        refuse_changed(path, before)
        self._checked_at = monotonic()


def align_genes(
    adata: "AnnData",
    *,
    genes: Sequence[str] | None = None,
    counts: CountsReport | str | None = None,
    column: str | None = None,
    matched: GeneMatch | None = None,
    watch: Callable[[float], None] | None = None,
) -> AlignedCounts:
    """Bring the counts of a dataset into the model's gene order, lazily.

    Parameters
    ----------
    adata
        A dataset from `read_dataset`, or any AnnData with counts. It is not changed.
    genes
        The model's genes in order; None takes the 19,264 of the vocabulary.
    counts
        Where the counts are ("X", "raw" or the name of a layer), or the report of `check_counts` if it is at hand; None
        finds out.
    column
        Column of the gene table that holds names; None chooses by content.
    matched
        How the genes of the file meet the model's, with the report in `counts`, if both are at hand.
    watch
        Called with the share of the values that is checked, 0 to 1; may raise to end it.

    Raises
    ------
    DatasetError
        There are no usable counts.
    GeneError
        Too few genes of the file are known, or they have no names.
    """

    def match(var: pd.DataFrame, features: Features) -> GeneMatch:
        return match_genes(var, genes, column=column, features=features, cells=list(adata.obs_names[:N_CELL_NAMES]))

    if isinstance(counts, CountsReport):
        report = counts
        matched = match(count_var(adata, counts.location), counts.features) if matched is None else matched
        if matched.refusal is not None:
            raise matched.refusal
    else:
        report, matched = check_and_match(adata, counts=counts, reading=Reading(match, watch=watch))
    names = count_var(adata, report.location).index.to_numpy()
    matched = resolve_repeats(matched, report.scan, names)
    share = counts_coverage(matched, report.gene_totals)
    matrix = count_matrix(adata, report.location)
    aligned = AlignedCounts(
        matrix,
        matched,
        with_unique_names(adata.obs),
        report,
        replace(matched.report, counts_coverage=share),
        watched(adata, matrix),
        is_other_species=report.is_other_species,
    )
    if "scfviz_source" in adata.uns:
        aligned.origin = Path(adata.uns["scfviz_source"]["path"]), column
    return aligned


def counts_coverage(match: GeneMatch, gene_totals: np.ndarray) -> float | None:
    """Percent of the counts of all genes in the file that are on genes of the model."""
    total = float(gene_totals[match.is_gene].sum())
    return 100 * float(gene_totals[match.target >= 0].sum()) / total if total > 0 else None


def with_unique_names(obs: pd.DataFrame) -> pd.DataFrame:
    """The table of cells; repeated names get a number (AAAC, AAAC-1)."""
    if obs.index.is_unique:
        return obs
    from anndata.utils import make_index_unique

    named = obs.copy(deep=False)
    named.index = make_index_unique(pd.Index(obs.index.astype(str)))
    return named


def watched(adata: "AnnData", matrix: mx.Matrix) -> tuple[Path, Fingerprint] | None:
    """The file to keep an eye on while a matrix is read from it; None once it is in memory."""
    origin = adata.uns.get("scfviz_source")
    if origin is None or not mx.is_on_disk(matrix):
        return None
    return Path(origin["path"]), Fingerprint(origin["size"], origin["mtime_ns"])
