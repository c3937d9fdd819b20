"""What is known about a dataset: read once and kept in the workspace, so that pages can say it without the file."""

from typing import Any

import streamlit as st

from scfviz.errors import GeneError
from scfviz.jobs import Workspace
from scfviz.jobs.workspace import read_json, write_json
from scfviz.ui.frame import sources

_VERSION = 1


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
        `lineage`: where its cells came from.

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


def open_aligned(source: sources.Source, gene_column: str | None):
    """The dataset's counts in the model's genes; shared by all visitors, never changed."""
    return _open_aligned(str(source.path), sources.stamp(source.path), gene_column)


def quality(source: sources.Source, gene_column: str | None):
    """Counts, genes and mitochondrial share of every cell; a data frame with one row per cell."""
    return _quality(str(source.path), sources.stamp(source.path), gene_column)


def colors(source: sources.Source, gene_column: str | None) -> dict[str, list[str]]:
    """The file's own colours by column of `obs`."""
    about = known(source, gene_column)
    return about["colors"] if about else _colors(str(source.path), sources.stamp(source.path))


def gene_columns(source: sources.Source) -> list[str]:
    """Columns of the file that could hold the names of its genes."""
    return _gene_columns(str(source.path), sources.stamp(source.path))


def gene_values(source: sources.Source, gene_column: str | None, gene: str):
    """A gene in every cell of the file: float32 (n_obs,), ln(1 + counts per 10,000); NaN for a cell without counts."""
    return _gene_values(str(source.path), sources.stamp(source.path), gene_column, gene)


def find_gene(text: str, measured: set[str]) -> str:
    """The model's gene that a symbol, earlier symbol, alias or Ensembl ID stands for.

    Raises
    ------
    GeneError
        No gene, or one that the file did not measure, which is not the same as a gene without counts.
    """
    from scfviz.data.vocabulary import load_vocabulary

    asked = text.strip()
    gene = asked if asked in measured else load_vocabulary().lookup(asked)
    if not gene:
        raise GeneError(
            f"'{asked[:40]}' is no gene of the model.",
            "A symbol, alias or Ensembl ID of one of its genes is needed.",
            "Check the spelling; the list opens while you type.",
        )
    if gene not in measured:
        raise GeneError(
            f"{gene} was not measured in this dataset: the file has no such gene.",
            "That is not the same as no counts: nothing is known about it here.",
            "Choose another gene.",
        )
    return gene


def _sidecar(source: sources.Source, gene_column: str | None):
    folder = Workspace().root / "descriptions"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    column = "" if gene_column is None else "-" + gene_column.encode().hex()[:80]
    return folder / f"{sources.stamp(source.path)}-{_VERSION}{column}.json"


def _describe(source: sources.Source, gene_column: str | None) -> dict[str, Any]:
    import numpy as np

    aligned, about = open_aligned(source, gene_column)
    metrics = quality(source, gene_column)
    return {
        "n_obs": int(aligned.n_obs),
        "median_depth": float(np.median(metrics["total_counts"])),
        "median_genes": float(np.median(metrics["n_genes"])),
        "counts": aligned.counts_report.as_dict(),
        "genes": aligned.gene_report.as_dict(),
        **about,
    }


@st.cache_resource(max_entries=3, show_spinner=False)
def _open_aligned(path: str, stamp: str, gene_column: str | None):
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset
    from scfviz.jobs.kinds.export import read_lineage

    adata = read_dataset(path, folders=sources.allowed_folders())
    about = {"n_vars": int(adata.n_vars), "source": _plain_source(adata), "colors": own_colors(adata)}
    about["lineage"] = read_lineage(adata.uns)
    return align_genes(adata, column=gene_column), about


@st.cache_resource(max_entries=6, show_spinner=False)
def _quality(path: str, stamp: str, gene_column: str | None):
    from scfviz.data.qc import qc_metrics

    return qc_metrics(_open_aligned(path, stamp, gene_column)[0])


@st.cache_data(max_entries=12, show_spinner=False)
def _gene_columns(path: str, stamp: str) -> list[str]:
    from scfviz.data.read import read_dataset

    return [str(name) for name in read_dataset(path, folders=sources.allowed_folders()).var.columns]


@st.cache_data(max_entries=12, show_spinner=False)
def _colors(path: str, stamp: str) -> dict[str, list[str]]:
    from scfviz.data.read import read_dataset

    return own_colors(read_dataset(path, folders=sources.allowed_folders()))


@st.cache_resource(max_entries=64, show_spinner=False)
def _gene_values(path: str, stamp: str, gene_column: str | None, gene: str):
    import numpy as np

    aligned = _open_aligned(path, stamp, gene_column)[0]
    position = int(np.flatnonzero(aligned.genes == gene)[0])
    values = np.empty(aligned.n_obs, np.float32)
    for start in range(0, aligned.n_obs, 8192):
        stop = min(start + 8192, aligned.n_obs)
        values[start:stop] = aligned.rows(start, stop)[:, [position]].toarray().ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log1p(values * (1e4 / aligned.total_counts)).astype(np.float32)


def _plain_source(adata) -> dict[str, Any]:
    kept = adata.uns.get("scfviz_source", {})
    return {
        "format": str(kept.get("format", "")),
        "size": int(kept.get("size", 0)),
        "notes": [str(note) for note in kept.get("notes", [])],
    }


def own_colors(adata) -> dict[str, list[str]]:
    """`uns["<column>_colors"]` of the file, where it is a list of text."""
    colors = {}
    for name in adata.obs.columns:
        stored = adata.uns.get(f"{name}_colors")
        if stored is not None and not isinstance(stored, str | dict) and 0 < len(stored) <= 1000:
            colors[str(name)] = [str(color) for color in stored]
    return colors
