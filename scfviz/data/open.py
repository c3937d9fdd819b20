"""One opened dataset: its counts over all genes of the file, what was found about them, and the way to the model's."""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scfviz.data.align import N_CELL_NAMES, AlignedCounts, align_genes, counts_coverage, watched, with_unique_names
from scfviz.data.candidates import count_matrix, count_var
from scfviz.data.check import CountsReport, Notice, Reading, check_and_match
from scfviz.data.features import Features
from scfviz.data.gene_index import GeneIndex, is_ensembl
from scfviz.data.genes import GeneMatch, GeneReport, as_text, match_genes
from scfviz.data.naming import INDEX_COLUMN
from scfviz.data.read import read_dataset
from scfviz.data.recovery import Recovery
from scfviz.data.repeats import resolve_repeats
from scfviz.data.scan import Scan
from scfviz.data.source import dataset_id, resolve_source
from scfviz.errors import GeneError

if TYPE_CHECKING:
    from anndata import AnnData

REPORT_VERSION = 5  # of kept reports: raise it when the same file would be judged otherwise
# Words in the titles of columns that speak to a reader, the likeliest first.
NAME_WORDS = ("symbol", "feature_name", "gene_name", "gene_short_name", "name", "symb", "gene")
MIN_DISTINCT = 0.5


class OpenDataset:
    """A dataset as it was read and checked, once.

    Parameters
    ----------
    adata
        A dataset from `read_dataset`, or any AnnData with counts. It is not changed.
    column
        Column of the gene table that holds names; None chooses by content.
    counts
        Where the counts are ("X", "raw" or the name of a layer), or the report of the check if it is at hand; None
        finds out.
    watch
        Called with the share of the values that is checked, 0 to 1; may raise to end it.

    Attributes
    ----------
    counts
        `AlignedCounts` over all genes of the file, in its order, by the names in `index`. Repeated names stay apart,
        unless their counts are the very same. What is no gene (antibodies, peaks, metadata) is left out.
    index
        Names of these genes; see `GeneIndex`.
    counts_report, gene_report
        What was found; `gene_report` says how the genes meet the model's.
    refusal
        Why the model cannot read these genes; None where it can. Everything that needs no model works all the same.

    Raises
    ------
    DatasetError
        There are no usable counts.
    GeneError
        No row is a gene, or there is no such column.
    """

    def __init__(
        self,
        adata: "AnnData",
        *,
        column: str | None = None,
        counts: CountsReport | str | None = None,
        watch: Callable[[float], None] | None = None,
    ):
        self.adata, self.column = adata, column

        def match(var: pd.DataFrame, features: Features) -> GeneMatch:
            cells = list(adata.obs_names[:N_CELL_NAMES])
            return match_genes(var, column=column, features=features, cells=cells, accept_few=True)

        if isinstance(counts, CountsReport):
            report, found = counts, match(count_var(adata, counts.location), counts.features)
        else:
            reading = Reading(match, lambda var, found: weigh_genes(var, found, column), watch)
            report, found = check_and_match(adata, counts=counts, reading=reading)
        var = count_var(adata, report.location)
        self._matched = found
        found = resolve_repeats(found, report.scan, var.index.to_numpy())
        self.counts_report = report
        self.gene_report: GeneReport = replace(found.report, counts_coverage=counts_coverage(found, report.gene_totals))
        self.rows = np.flatnonzero(found.is_gene | found.is_foreign)
        self.index = name_genes(var.iloc[self.rows], found, self.rows, column)
        target = np.full(len(var), -1, dtype=np.int32)
        target[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        matrix = count_matrix(adata, report.location)
        self.counts = AlignedCounts(
            matrix,
            replace(found, target=target, genes=self.index.names),
            with_unique_names(adata.obs),
            report,
            self.gene_report,
            watched(adata, matrix),
            is_other_species=report.is_other_species,
            index=self.index,
        )
        if self._has_sums():
            self.counts.take_sums(report.scan.sums[:, :3], report.scan.n_summed)
            self.counts.entries = report.scan.gene_cells[self.rows]
        self._aligned: dict[tuple[str, ...] | None, AlignedCounts] = {}
        self.refusal: GeneError | None = None
        try:
            self.align()
        except GeneError as error:
            self.refusal = error

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.counts.n_obs

    @cached_property
    def file_names(self) -> tuple[str, ...]:
        """The row names of the file's own gene table, for each gene of `index`."""
        names = count_var(self.adata, self.counts_report.location).index.astype(str)
        return tuple(names[self.rows])

    def align(self, genes: Sequence[str] | None = None) -> AlignedCounts:
        """The counts in a model's gene order; None takes the 19,264 genes of the vocabulary.

        Raises
        ------
        GeneError
            Too few genes of the file are known.
        """
        key = None if genes is None or tuple(genes) == self._matched.genes else tuple(genes)
        if key not in self._aligned:
            matched = self._matched if key is None else None  # naming the rows of a file takes a second
            aligned = self._aligned[key] = align_genes(
                self.adata, genes=key, counts=self.counts_report, column=self.column, matched=matched
            )
            if key is None and self._has_sums():
                scan = self.counts_report.scan
                aligned.take_sums(scan.sums[:, [2, 3, 2]], scan.n_expressed)
        return self._aligned[key]

    def _has_sums(self) -> bool:
        """Whether the check summed up each cell over exactly these genes, in numbers that know no rounding."""
        genes, scan = self.gene_report, self.counts_report.scan
        return scan.sums.size > 0 and self.counts_report.is_whole and not genes.n_identical and not genes.antibodies


def open_dataset(
    path: str | Path,
    *,
    folders: Sequence[Path] | None = None,
    column: str | None = None,
    counts: str | None = None,
    reports: Path | None = None,
    adata: "AnnData | None" = None,
    watch: Callable[[float], None] | None = None,
) -> OpenDataset:
    """Read a file and find its counts and genes.

    Parameters
    ----------
    path, folders
        As in `read_dataset`.
    column
        Column of the gene table that holds names; None chooses by content.
    counts
        Where the counts are ("X", "raw" or the name of a layer); None finds out.
    reports
        Folder in which the result of the check is kept by the content of the file, so that every value is checked
        once, whoever opens the file again. None keeps nothing.
    adata
        The file as `read_dataset` read it, if that was done already.
    watch
        Called with the share of the values that is checked, 0 to 1; may raise to end it.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be read, holds no counts, or no row is a gene.
    """
    adata = read_dataset(path, folders=folders) if adata is None else adata
    if reports is None:
        return OpenDataset(adata, column=column, counts=counts, watch=watch)
    # What the check says depends on how the genes are named, too.
    asked = f"{adata.shape}|{column or ''}|{counts or ''}|{Path(path).name}"
    kept = reports / f"{dataset_id(path)}-{zlib.crc32(asked.encode()):08x}-{REPORT_VERSION}.npz"
    report = read_report(kept, adata)
    opened = OpenDataset(adata, column=column, counts=report or counts, watch=watch)
    if report is None:
        write_report(kept, opened.counts_report, path)
    return opened


def write_report(path: Path, report: CountsReport, source: str | Path) -> None:
    """Keep what the check of a source found, in one file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    arrays, about = {}, {"source": str(resolve_source(source))}
    for part, held in (("report", report), ("features", report.features), ("scan", report.scan)):
        for name in (one.name for one in fields(held)):
            value = getattr(held, name)
            if isinstance(value, np.ndarray):
                arrays[f"{part}.{name}"] = value
            elif name not in ("features", "scan"):
                about[f"{part}.{name}"] = value
    about["report.notices"] = [asdict(notice) for notice in report.notices]
    about["report.recovery"] = asdict(report.recovery) if report.recovery else None
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about, default=_plain)), **arrays)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def forget_reports(reports: Path, source: Path) -> None:
    """Delete what was kept of a file that goes, or of all in a folder, and what other versions of the check kept."""
    source = source.resolve()
    for kept in reports.glob("*.npz"):
        try:
            with np.load(kept, allow_pickle=False) as held:
                of = json.loads(str(held["about"])).get("source", "")
        except (OSError, ValueError, KeyError):
            of = ""
        if not kept.stem.endswith(f"-{REPORT_VERSION}") or not of or Path(of).is_relative_to(source):
            kept.unlink(missing_ok=True)


def read_report(path: Path, adata: "AnnData") -> CountsReport | None:
    """A report that was kept; None where there is none, or it is not of this dataset."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            held = json.loads(str(kept["about"]))
            held.pop("source", None)
            held |= {name: kept[name] for name in kept.files if name != "about"}
        parts: dict[str, dict] = {"report": {}, "features": {}, "scan": {}}
        for name, value in held.items():
            part, _, key = name.partition(".")
            parts[part][key] = value
        parts["features"]["examples"] = {kind: tuple(names) for kind, names in parts["features"]["examples"].items()}
        about = parts["report"]
        about["notices"] = tuple(Notice(**notice) for notice in about["notices"])
        about["recovery"] = Recovery(**about["recovery"]) if about["recovery"] else None
        report = CountsReport(**about, features=Features(**parts["features"]), scan=Scan(**parts["scan"]))
        shape = count_matrix(adata, report.location).shape
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if shape == (report.n_obs, report.n_vars) and len(report.gene_totals) == report.n_vars else None


def _plain(value: np.generic) -> bool | int | float | str:
    """A number of numpy as one of Python."""
    return value.item()


def weigh_genes(var: pd.DataFrame, match: GeneMatch, column: str | None) -> np.ndarray:
    """What is summed up for each cell while all values are checked.

    Returns
    -------
    float64 (n_vars, 4), 0 or 1: genes of the file; of these the mitochondrial ones; those that the model knows; and
    the mitochondrial ones by the names of the model.
    """
    rows = np.flatnonzero(match.is_gene | match.is_foreign)
    index = name_genes(var.iloc[rows], match, rows, column)
    of_model = GeneIndex.of_model(match.genes).is_mitochondrial[match.target[rows]] & index.is_known
    weights = np.zeros((len(var), 4))
    weights[rows] = np.stack([np.ones(len(rows)), index.is_mitochondrial, index.is_known, of_model], axis=1)
    return weights


def name_genes(var: pd.DataFrame, match: GeneMatch, rows: np.ndarray, column: str | None = None) -> GeneIndex:
    """What the genes of a file are called.

    Parameters
    ----------
    var
        The gene table, rows that are genes only.
    match
        How the rows of the whole table met the model's genes; `rows` are those in `var`.
    column
        The column of names that was chosen by hand.
    """
    symbols = [match.genes[i] if i >= 0 else "" for i in match.target[rows]]
    own = as_text(var.index)
    if column is not None:
        return GeneIndex.of_file(own, symbols, None if column == INDEX_COLUMN else as_text(var[column]))
    return GeneIndex.of_file(own, symbols, readable_column(var, own))


def readable_column(var: pd.DataFrame, own: np.ndarray) -> np.ndarray | None:
    """Names in a column of the gene table, where the row names are only Ensembl IDs or numbers; None where not."""
    if not len(own) or _share(own, _is_code) < MIN_DISTINCT:
        return None
    found = []
    for place, title in enumerate(var.columns):
        values = var.iloc[:, place]
        if values.dtype != object and not isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
            continue
        names = as_text(values)
        if _share(names, _is_code) < MIN_DISTINCT and len(set(names)) >= MIN_DISTINCT * len(names):
            words = [i for i, word in enumerate(NAME_WORDS) if word in str(title).lower()]
            found.append((min(words, default=len(NAME_WORDS)), place, names))
    return min(found, key=lambda one: one[:2])[2] if found else None


def _is_code(name: str) -> bool:
    return not name or is_ensembl(name) or name.isdigit()


def _share(names: np.ndarray, holds: Callable[[str], bool]) -> float:
    return sum(map(holds, names)) / max(len(names), 1)
