"""What is known about a dataset: read once and kept in the workspace, so that pages can say it without the file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from scfviz.errors import GeneError
from scfviz.jobs import Workspace
from scfviz.jobs.workspace import read_json, write_json
from scfviz.ui.frame import sources

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from scfviz.analysis.expression import Expression
    from scfviz.data.open import OpenDataset

_VERSION = 3  # of kept descriptions: raise it when the same file would be judged or described otherwise


def known(source: sources.Source, gene_column: str | None) -> dict[str, Any] | None:
    """The description of a dataset that was described before, else `None`. Opens no data file."""
    return read_json(_sidecar(source, gene_column))


def describe(source: sources.Source, gene_column: str | None) -> dict[str, Any]:
    """Check a dataset and say what it holds.

    Returns
    -------
    dict
        `n_obs`, `n_vars`; `median_depth` in counts and `median_genes` per cell; `counts` and `genes`: the reports of
        the checks; `source`: format, size in bytes, notes of the reader; `colors`: the file's own, by column of `obs`;
        `lineage`: where its cells came from; `n_empty`: cells without a count in the model's genes; `refusal`: why
        the model cannot read these genes, as fields of an error, or None.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    found = known(source, gene_column)
    if found is None:
        found = _describe(source, gene_column)
        write_json(_sidecar(source, gene_column), found)
    return found


def refuse_for_model(about: dict[str, Any]) -> None:
    """Raise what the model has against the genes of a dataset; everything that needs no model works all the same.

    Raises
    ------
    GeneError
        Too few genes are known.
    """
    if refusal := about["refusal"]:
        raise GeneError(refusal["found"], refusal["needed"], refusal["advice"])


def open_dataset(source: sources.Source, gene_column: str | None) -> "OpenDataset":
    """The dataset with all genes of its file, opened once; shared by all visitors, never changed."""
    return open_path(str(source.path), gene_column)


def open_path(path: str, gene_column: str | None) -> "OpenDataset":
    """The same by its path."""
    return _open(path, sources.stamp(Path(path)), gene_column)


def expression(path: str, gene_column: str | None, store: str | None) -> "Expression":
    """Expression of all genes of a file: from its counts by genes where those are written."""
    from scfviz.jobs.context import open_expression

    return open_expression(open_path(path, gene_column).counts, store)


def quality(source: sources.Source, gene_column: str | None) -> "pd.DataFrame":
    """Counts, genes and mitochondrial share of every cell over all genes of the file; one row per cell."""
    return _quality(str(source.path), sources.stamp(source.path), gene_column)


def colors(source: sources.Source, gene_column: str | None) -> dict[str, list[str]]:
    """The file's own colours by column of `obs`."""
    about = known(source, gene_column)
    return about["colors"] if about else own_colors(open_dataset(source, gene_column).adata)


def gene_columns(source: sources.Source) -> list[str]:
    """Columns of the file that could hold the names of its genes."""
    return _gene_columns(str(source.path), sources.stamp(source.path))


def gene_values(source: sources.Source, gene_column: str | None, gene: str) -> "np.ndarray":
    """A gene, by the name that is shown, in every cell of the file: float32 (n_obs,), ln(1 + counts per 10,000).

    NaN for a cell without counts.
    """
    return _gene_values(str(source.path), sources.stamp(source.path), gene_column, gene)


def forget(source: Path) -> None:
    """Delete what is known about a file that goes, or about all in a folder, and what earlier versions kept."""
    source = source.resolve()
    for kept in _folder().glob("*.json"):
        path = ((read_json(kept) or {}).get("source") or {}).get("path")
        if not path or Path(path).is_relative_to(source):
            kept.unlink(missing_ok=True)


def _folder() -> Path:
    folder = Workspace().root / "descriptions"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _sidecar(source: sources.Source, gene_column: str | None):
    column = "" if gene_column is None else "-" + gene_column.encode().hex()[:80]
    return _folder() / f"{sources.stamp(source.path)}-{_VERSION}{column}.json"


def _describe(source: sources.Source, gene_column: str | None) -> dict[str, Any]:
    import numpy as np

    from scfviz.jobs.kinds.export import read_lineage

    opened = open_dataset(source, gene_column)
    metrics, adata = quality(source, gene_column), opened.adata
    return {
        "n_obs": int(opened.n_obs),
        "n_vars": int(adata.n_vars),
        "median_depth": float(np.median(metrics["total_counts"])),
        "median_genes": float(np.median(metrics["n_genes"])),
        "n_empty": int((opened.counts.known_counts <= 0).sum()),
        "refusal": opened.refusal.as_dict() if opened.refusal else None,
        "counts": opened.counts_report.as_dict(),
        "genes": opened.gene_report.as_dict() | {"n_genes": len(opened.index)},
        "source": _plain_source(adata),
        "colors": own_colors(adata),
        "lineage": read_lineage(adata.uns),
    }


@st.cache_resource(max_entries=3, show_spinner=False)
def _open(path: str, stamp: str, gene_column: str | None):
    from scfviz.jobs.context import open_file

    return open_file(path, Workspace(), gene_column, folders=sources.allowed_folders())


@st.cache_resource(max_entries=6, show_spinner=False)
def _quality(path: str, stamp: str, gene_column: str | None):
    from scfviz.data.qc import qc_metrics

    return qc_metrics(_open(path, stamp, gene_column).counts)


@st.cache_data(max_entries=12, show_spinner=False)
def _gene_columns(path: str, stamp: str) -> list[str]:
    from scfviz.data.read import read_dataset

    try:
        adata = _open(path, stamp, None).adata
    except GeneError:  # no column of names was found; one may be chosen by hand
        adata = read_dataset(path, folders=sources.allowed_folders())
    return [str(name) for name in adata.var.columns]


@st.cache_resource(max_entries=64, show_spinner=False)
def _gene_values(path: str, stamp: str, gene_column: str | None, gene: str):
    import numpy as np

    from scfviz.analysis.expression import AlignedExpression, read_gene

    counts = _open(path, stamp, gene_column).counts
    values = read_gene(AlignedExpression(counts), gene)
    return np.where(counts.total_counts > 0, values, np.float32(np.nan))


def _plain_source(adata: "AnnData") -> dict[str, Any]:
    kept = adata.uns.get("scfviz_source", {})
    return {
        "path": str(kept.get("path", "")),
        "format": str(kept.get("format", "")),
        "size": int(kept.get("size", 0)),
        "notes": [str(note) for note in kept.get("notes", [])],
    }


def own_colors(adata: "AnnData") -> dict[str, list[str]]:
    """`uns["<column>_colors"]` of the file, where it is a list of text."""
    colors = {}
    for name in adata.obs.columns:
        stored = adata.uns.get(f"{name}_colors")
        if stored is not None and not isinstance(stored, str | dict) and 0 < len(stored) <= 1000:
            colors[str(name)] = [str(color) for color in stored]
    return colors
