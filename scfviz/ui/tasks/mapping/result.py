"""A finished mapping: what it is worth, the cells on the reference's picture, their flow to its labels, the tables."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.mapping.compute import FEW_FOR_LIKENESS, warn_of_few_genes
from scfviz.tasks.mapping.labels import NO_COUNTERPART, UNDECIDED
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.drawing import palette
from scfviz.ui.drawing.cell_map import cell_map
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.drawing.coloring import Labels, Values, color_by_labels, color_by_values
from scfviz.ui.drawing.flow import draw_flow
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.mapping import words
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

_HEIGHT, _REFERENCE = 520, "reference"
_NEW, _OPEN = "#b3261e", "#8a8f94"  # the lanes of cells without counterpart, and without a clear label
_LABELS = {
    "mapped_cluster": "Clusters of your cells",
    "mapped_label": "Label from the reference",
    "reference": "The reference's own labels",
}
_VALUES = {
    "mapped_distance": ("Distance to the reference", "times its own"),
    "mapped_p_value": ("Share of the reference that lies as far", ""),
    "mapped_likeness": ("Likeness of the cluster to its neighbours", "0 to 1"),
    "mapped_probability": ("Probability of the label", ""),
    "mapped_mixing": ("Mixing with the reference (LISI)", "0 to 1"),
}
_POWER_NAMES = {
    "label": "Label left out",
    "n_cells": "Cells",
    "auroc": "AUROC",
    "auroc_pca": "AUROC, PCA projection",
    "auroc_model": "AUROC, scFoundation",
    "detected": "Noticed by distance",
    "detected_by_both": "Noticed by both tests",
    "false_by_both": "Others called new",
    "likeness": "Likeness",
    "taken_for": "Taken for",
    "noticed_from": "Noticed from (cells)",
}
_SPACE_NAMES = {
    "title": "Space",
    "weight": "Weight",
    "f1_reference": "F1 on the reference",
    "f1_query": "F1 on your labels",
    "ilisi": "iLISI in shared types",
    "clisi": "cLISI",
}
_CLUSTER_NAMES = {
    "cluster": "Cluster",
    "n_cells": "Cells",
    "label": "Most get",
    "share": "Share",
    "runner_up": "Second",
    "no_counterpart": "No counterpart",
    "undecided": "Undecided",
    "distance": "Distance",
    "relative_distance": "Relative",
    "likeness": "Likeness",
    "has_no_counterpart": "New?",
}


@dataclass(frozen=True)
class _Picture:
    """Cells of the reference and, after them, of the query that have a place."""

    positions: np.ndarray
    names: list[str]
    codes: np.ndarray  # of the reference's cells
    cells: pd.DataFrame  # of the query

    @property
    def n_reference(self) -> int:
        return len(self.codes)


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished mapping: verdict, picture, flow, tables, downloads."""
    result = load_result(job.id)
    show_facts(task, result)
    if result.report["options"].get("batch") is not None:
        _show_integration(job.id, result)
        show_downloads(task, result, source)
        return
    _show_verdict(result)
    _show_picture(job.id, source.title)
    _show_flow(result)
    _show_tables(result)
    show_downloads(task, result, source)


def _show_verdict(result: Result) -> None:
    scores = dict(result.scores)
    with st.container(border=True, key="card-verdict"):
        st.markdown("#### How far to trust this mapping")
        st.markdown(words.sentence_of_power(scores, result.report["options"]["false_rate"]))
        st.markdown(words.sentence_of_model(scores))
        st.markdown(words.sentence_of_control(scores))
        if platform := words.sentence_of_platform(scores):
            st.markdown(platform)
        if (n_genes := int(scores.get("common_genes", FEW_FOR_LIKENESS))) < FEW_FOR_LIKENESS:
            st.warning(warn_of_few_genes(n_genes), icon=":material/warning:")
        if (share := scores.get("no_counterpart_share", 0.0)) > 0.5:
            distance = scores.get("median_distance", float("nan"))
            said = words.sentence_of_many_new(share, distance, scores.get("unlike_share", 0.0))
            st.warning(said, icon=":material/warning:")
        if (f1 := scores.get("transfer_f1")) is not None:
            st.markdown(f"Your cells have labels of the same names: the transfer reaches a macro-F1 of **{f1:.2f}**.")


@st.cache_resource(show_spinner=False, max_entries=8)
def _picture(job_id: str) -> _Picture:
    result = load_result(job_id)
    own, umap = np.asarray(result.arrays["reference_map"]), np.asarray(result.arrays["umap_mapping"])
    kept, placed = np.isfinite(own).all(axis=1), np.isfinite(umap).all(axis=1)
    labels = list(result.tables["reference_labels"]["label"].astype(str))
    positions = np.concatenate([own[kept], umap[placed]]).astype(np.float32)
    return _Picture(positions, labels, np.asarray(result.arrays["reference_codes"])[kept], result.cells[placed])


def _show_integration(job_id: str, result: Result) -> None:
    spaces = result.tables["spaces"]
    both = spaces[spaces["space"] == "both"]
    mixing, purity = (both[column].tolist() for column in ("ilisi", "clisi"))
    with st.container(border=True, key="card-verdict"):
        st.markdown("#### How well the batches mix")
        if pd.notna(mixing[0]) and pd.notna(purity[1]):
            st.markdown(
                f"Within shared types the batches' mixing (iLISI) goes from **{mixing[0]:.2f} to {mixing[1]:.2f}** "
                f"(1 is as if there were no batches), while the purity of types (cLISI) goes from {purity[0]:.2f} to "
                f"**{purity[1]:.2f}**."
            )
        else:
            st.markdown("No type is held by two batches: there is nothing that should mix.")
        names = {"title": "Space", "batches": "Batches", "ilisi": "iLISI in shared types", "clisi": "cLISI"}
        shown = spaces[list(names)].rename(columns=names)
        st.dataframe(shown, hide_index=True, column_config=_formats(shown))
        if "graph" in spaces["space"].tolist():
            st.caption(
                "The last row is no space but a graph: each cell gets as many neighbours from every batch, as BBKNN "
                "does. Batches are mixed by construction, so only the purity of types says anything."
            )
        names = {"batch": "Batch", "n_cells": "Cells", "pairs_behind_shift": "Pairs of neighbours behind its shift"}
        st.dataframe(result.tables["batches"].rename(columns=names), hide_index=True)
    _show_integrated(job_id)


@st.fragment
def _show_integrated(job_id: str) -> None:
    result = load_result(job_id)
    positions, placed = _integrated(job_id)
    with st.container(border=True, key="card-maps"):
        choices = {"mapped_mixing": "Mixing of the batches (LISI)", "mapped_cluster": "Clusters"}
        chosen = st.selectbox("Colour", list(choices), format_func=choices.get, key="integration-color", width=360)
        column = result.cells[chosen][placed]
        colored = (
            color_by_values(choices[chosen], "0 to 1", column.to_numpy(dtype=np.float32))
            if chosen == "mapped_mixing"
            else color_by_labels(choices[chosen], column)
        )
        cell_map(
            {"integrated": positions},
            colored,
            key="maps-integration",
            height=_HEIGHT,
            filename="integration",
            titles={"integrated": "Batches integrated"},
            names=column.index,
        )
        st.caption("The Explorer colours the same map by batch, label or gene.")


@st.cache_resource(show_spinner=False, max_entries=8)
def _integrated(job_id: str) -> tuple[np.ndarray, np.ndarray]:
    umap = np.asarray(load_result(job_id).arrays["umap_integrated"])
    placed = np.isfinite(umap).all(axis=1)
    return umap[placed], placed


@st.fragment
def _show_picture(job_id: str, title: str) -> None:
    picture = _picture(job_id)
    choices = {**_LABELS, **{name: text for name, (text, _) in _VALUES.items()}}
    with st.container(border=True, key="card-maps"):
        chosen = st.selectbox("Colour", list(choices), format_func=choices.get, key="mapping-color", width=360)
        n_cells = len(picture.cells)
        cell_map(
            {"reference": picture.positions},
            _color(picture, chosen),
            key="maps-mapping",
            height=_HEIGHT,
            titles={"reference": "Your cells on the reference's map"},
            filename="mapping",
            caption=f"{title} on the reference: {plural(n_cells, 'cell')}, coloured by {choices[chosen]}",
        )
        st.caption(
            f"{plural(n_cells, 'cell')} of yours over {plural(picture.n_reference, 'cell')} of the reference in grey. "
            "A cell lies among its neighbours in the reference; a new type lies on the nearest island, so look at the "
            "distance, too."
        )


def _color(picture: _Picture, chosen: str) -> Labels | Values:
    n_reference = picture.n_reference
    if chosen in _VALUES:
        title, unit = _VALUES[chosen]
        known = picture.cells[chosen].to_numpy(dtype=np.float32)
        return color_by_values(title, unit, np.concatenate([np.full(n_reference, np.nan, np.float32), known]))
    if chosen == "reference":
        names = np.array(picture.names, dtype=object)[picture.codes]
        labels = pd.Series(np.concatenate([names, np.full(len(picture.cells), None)]))
        return _renamed(color_by_labels(_LABELS[chosen], labels), "your cells")
    own = picture.cells[chosen].astype(object).to_numpy()
    labels = pd.Series(np.concatenate([np.full(n_reference, None), own]), dtype=object)
    return _renamed(color_by_labels(_LABELS[chosen], labels), _REFERENCE)


def _renamed(found: Labels, rest: str) -> Labels:
    """The cells without a label of their own kind, under the name of what they are."""
    names = tuple(rest if name == "no label" else name for name in found.names)
    colors = tuple(_NEW if name == NO_COUNTERPART else color for name, color in zip(names, found.colors, strict=True))
    return Labels(found.title, found.codes, names, colors, found.n_grouped, found.n_own)


def _show_flow(result: Result) -> None:
    table = result.tables["flow"]
    clusters = list(result.tables["clusters"]["cluster"].astype(str))
    sizes = table.groupby("label")["n_cells"].sum().sort_values(ascending=False)
    last = [name for name in (UNDECIDED, NO_COUNTERPART) if name in sizes]
    labels = [str(name) for name in sizes.index if name not in last]
    left = dict(zip(clusters, _colors(len(clusters)), strict=True))
    right = {name: "#5f7d95" for name in labels} | {name: _NEW if name == NO_COUNTERPART else _OPEN for name in last}
    with st.container(border=True, key="card-flow"):
        st.markdown("#### From your clusters to the reference's labels")
        st.plotly_chart(
            draw_flow(
                table[["cluster", "label", "n_cells"]],
                left,
                right,
                titles=("Your clusters", "Reference"),
            ),
            key="mapping-flow",
            config=toolbar("mapping_flow"),
        )
        shown = result.tables["clusters"].rename(columns=_CLUSTER_NAMES)[list(_CLUSTER_NAMES.values())]
        st.dataframe(shown, hide_index=True, column_config=_formats(shown))
        new = [name for name, flag in zip(shown["Cluster"], shown["New?"], strict=True) if flag]
        if new:
            st.markdown(
                f"**Without counterpart:** {plural(len(new), 'cluster')} ({plain(', '.join(map(str, new[:12])))}): "
                "more than half of the cells, and more than the false rate explains."
            )
        if (shown["Likeness"] < 1).any():
            st.caption(
                "Likeness: how far what sets a cluster apart from your other cells, over all genes, is what sets its "
                "neighbours in the reference apart from theirs. Below 0.33 the cluster has no counterpart, however "
                "near it lies; empty where too few cells or differences tell."
            )


def _show_tables(result: Result) -> None:
    with st.expander("The power of this mapping: every label left out once", icon=":material/visibility:"):
        power = result.tables["power"]
        shown = power[[name for name in _POWER_NAMES if name in power]].rename(columns=_POWER_NAMES)
        st.dataframe(shown, hide_index=True, column_config=_formats(shown))
        st.caption(
            "AUROC: whether cells of the missing type lie farther than the others do; 0.5 is chance. The spaces are "
            "learned again without the type, and compared are cells that they were not learned on. *Noticed by "
            "both tests*: by distance or by the likeness of the cluster, as your cells are judged; *others called "
            "new*: the same of cells whose label stayed. *Noticed from* counts distance alone, because likeness judges "
            "whole clusters. The same dataset has no platform shift: across platforms expect less."
        )
    with st.expander("The spaces: what each is worth", icon=":material/compare_arrows:"):
        spaces = result.tables["spaces"].dropna(axis=1, how="all").rename(columns=_SPACE_NAMES)
        shown = spaces[[name for name in _SPACE_NAMES.values() if name in spaces]]
        st.dataframe(shown, hide_index=True, column_config=_formats(shown))
        st.caption(
            "Weights are learned on the reference's own cells, in spaces that did not see them. iLISI: mixing of query "
            "and reference within each type that both have, 1 is as if they were one dataset; it means nothing without "
            "cLISI, 1 where types stay apart."
        )


def _formats(table: pd.DataFrame) -> dict[str, object]:
    numbers = [name for name in table if pd.api.types.is_float_dtype(table[name]) and "cells" not in str(name)]
    return {name: st.column_config.NumberColumn(format="%.2f") for name in numbers}


def _colors(n: int) -> list[str]:
    colors = palette.category_colors(min(n, 60))
    return [colors[i % len(colors)] for i in range(n)]
