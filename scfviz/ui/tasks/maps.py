"""The maps of a finished embedding, their colours, the clusters, and how each agrees with known labels."""

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import sounds_like_types
from scfviz.jobs import JobStatus
from scfviz.ui.drawing import charts, coloring
from scfviz.ui.frame import describe, page, sources, state
from scfviz.ui.frame.text import duration, number, plain, plural
from scfviz.ui.tasks import downloads, results
from scfviz.ui.tasks.results import EmbeddingResult

_QUALITY = {
    "total_counts": ("Counts per cell", "counts"),
    "n_genes": ("Genes per cell", "genes"),
    "pct_counts_mt": ("Mitochondrial share", "% of counts"),
}
_KINDS = {"label": "Label", "gene": "Gene", "value": "Quality"}


def show(job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished embedding."""
    result = results.load_embedding(job.id)
    show_facts(result, job)
    show_maps(result, source)


def show_facts(result: EmbeddingResult, job: JobStatus) -> None:
    """One line that says what was computed, with the way to other options, and what the computation had to say."""
    options, report = job.options, result.report
    depth = "own read depth"
    if options["target_depth"]:
        depth = f"read depth of {number(options['target_depth'])} counts"
    elif options["depth_fold"]:
        depth = f"{number(options['depth_fold'])} times the own read depth"
    parts = [plural(report["n_obs"], "cell"), f"model {plain(report['checkpoint']['name'])}", depth]
    if report["n_removed"]:
        parts.insert(1, f"{plural(report['n_removed'], 'cell')} removed by filters")
    parts.append(f"computed in {duration(sum(report['seconds'].values()))}")
    with st.container(horizontal=True, vertical_alignment="center", key="facts"):
        st.markdown(" · ".join(parts))
        if st.button("Other options", icon=":material/tune:", type="tertiary"):
            state.choose_job(None)
            state.ask_anew()
            st.rerun()
    if not report["checkpoint"]["is_trained"]:
        page.untrained_notice()
    for note in result.result.notes:
        st.caption(f":material/info: {plain(note)}")


@st.fragment
def show_maps(result: EmbeddingResult, source: sources.Source) -> None:
    """The maps with their controls, the agreement with labels, and the downloads."""
    with page.guard():
        with st.container(border=True, key="card-maps"):
            chosen, resolution, look = _controls(result, source)
            shown = charts.shown_cells(len(result.cells), webgl=look["webgl"])
            drawn = chosen if len(shown) == len(result.cells) else coloring.take(chosen, shown)
            figure = charts.draw_maps(
                {title: result.umap[way][shown] for way, title in titles_of(result).items()},
                drawn,
                names=result.obs.index[shown] if len(shown) <= charts.NAMED else (),
                point_size=look["size"],
                webgl=look["webgl"],
                dark=st.context.theme.type == "dark",
            )
            st.plotly_chart(
                figure,
                config=charts.toolbar(f"umap_{source.title}", look["format"]),
                key="maps",
                alt=f"{len(result.umap)} maps of the same cells, coloured by {chosen.title}.",
            )
            st.caption(_describe_drawing(chosen, len(shown), len(result.cells)))
        show_agreement(result, resolution)
        downloads.show(result, source, figure, resolution)


def _controls(result: EmbeddingResult, source: sources.Source):
    first, second, third, fourth = st.columns([1.5, 1.9, 1.5, 0.5], gap="medium", vertical_alignment="bottom")
    kind = first.segmented_control(
        "Colour by",
        list(_KINDS),
        format_func=_KINDS.get,
        default="label",
        required=True,
        key="color",
        bind="query-params",
    )
    resolution = third.slider(
        "Cluster resolution",
        0.1,
        3.0,
        results.STORED_RESOLUTION,
        0.1,
        key="resolution",
        bind="query-params",
        help="Leiden clusters on each map's own neighbours: higher gives more and smaller clusters.",
    )
    resolution = round(resolution, 1)
    only: list[str] = []
    with fourth.popover("", icon=":material/settings:", help="How the figure looks"):
        size = st.slider("Point size", 1.0, 10.0, _point_size(len(result.cells)), 0.5, key="size")
        form = st.segmented_control("Camera button saves", ("svg", "png"), default="svg", required=True, key="format")
        webgl = not st.toggle(
            "Draw without WebGL",
            key="no_webgl",
            help=f"For a browser that shows a grey box. Then at most {charts.MAX_SVG:,} cells are drawn.",
        )
    with second:
        if kind == "gene":
            chosen = _by_gene(result, source)
        elif kind == "value":
            chosen = _by_value(result)
        else:
            labels = {name: title for name, title in results.CLUSTERS.items() if name in result.cells}
            columns = label_columns(result)
            name = st.selectbox(
                "Label",
                [*columns, *labels],
                format_func=lambda key: labels.get(key, key),
                key="by_label",
                bind="query-params",
            )
            series, stored = _labels_of(result, source, name, resolution)
            chosen = coloring.color_by_labels(labels.get(name, name), series, stored=stored)
            only = st.session_state.get("only") or []
    if isinstance(chosen, coloring.Labels) and len(chosen.names) > 1:
        only = st.multiselect(
            "Pick out",
            chosen.names,
            key="only",
            placeholder="Pick out groups: the others turn grey",
            label_visibility="collapsed",
        )
        chosen = coloring.pick_out(chosen, only)
    return chosen, resolution, {"size": size, "format": form, "webgl": webgl}


def titles_of(result: EmbeddingResult) -> dict[str, str]:
    """What the maps are called."""
    return results.titles_of(result.umap, is_trained=result.report["checkpoint"]["is_trained"])


def label_columns(result: EmbeddingResult) -> list[str]:
    """Columns of the file that hold labels, those that look like cell types first."""
    names = [name for name in result.agreement if name in result.obs]
    return sorted(names, key=lambda name: not sounds_like_types(name))


def _labels_of(result: EmbeddingResult, source: sources.Source, name: str, resolution: float):
    for way in result.umap:
        if name == f"clusters_{way}":
            return pd.Series(results.clusters_of(result, way, resolution)), None
    return result.obs[name], describe.colors(source, state.gene_column()).get(name)


def _by_gene(result: EmbeddingResult, source: sources.Source):
    with st.spinner("Opening the counts …"):
        index = describe.open_dataset(source, state.gene_column()).index
    genes = sorted(index.names)
    asked = st.selectbox(
        "Gene",
        genes,
        index=None,
        key="gene",
        bind="query-params",
        accept_new_options=True,
        placeholder="Symbol, alias or Ensembl ID",
    )
    if not asked:
        return coloring.Values("no gene chosen", "", np.full(len(result.cells), np.nan, np.float32), 0.0, 1.0)
    gene = index.names[index.find(asked)]
    with st.spinner(f"Reading {gene} …"):
        values = describe.gene_values(source, state.gene_column(), gene)[result.kept]
    title = gene if gene == asked else f"{gene} ({asked})"
    return coloring.color_by_values(title, "ln(1 + counts per 10,000)", values)


def _by_value(result: EmbeddingResult):
    own = [
        str(name)
        for name in result.obs
        if pd.api.types.is_numeric_dtype(result.obs[name]) and not pd.api.types.is_bool_dtype(result.obs[name])
    ]
    titles = {f"cells:{name}": title for name, (title, _) in _QUALITY.items()} | {f"obs:{name}": name for name in own}
    key = st.selectbox("Measure", list(titles), format_func=titles.get, key="by_value", bind="query-params")
    origin, _, name = key.partition(":")
    if origin == "cells":
        return coloring.color_by_values(*_QUALITY[name], result.cells[name].to_numpy())
    return coloring.color_by_values(name, "column of the file", result.obs[name].to_numpy(float))


def _point_size(n_cells: int) -> float:
    return 6.0 if n_cells < 1_000 else 4.0 if n_cells < 5_000 else 2.5


def _describe_drawing(chosen, n_shown: int, n_cells: int) -> str:
    parts = [f"{n_shown:,} of {n_cells:,} cells shown" + ("" if n_shown == n_cells else ", a random sample")]
    if isinstance(chosen, coloring.Values):
        parts.append("colours end at the 1st and 99th percentile")
    elif chosen.n_grouped:
        parts.append(f"the {chosen.n_grouped} smallest groups are drawn as one")
    parts.append(
        "click a name in the legend to switch it off"
        if isinstance(chosen, coloring.Labels)
        else "drag to move, scroll to zoom"
    )
    return " · ".join(parts)


def show_agreement(result: EmbeddingResult, resolution: float) -> None:
    """Scores of the maps against a column of labels."""
    columns = label_columns(result)
    with st.container(border=True, key="card-agreement"):
        left, right = st.columns([2, 1], vertical_alignment="bottom")
        left.markdown("#### Agreement with known labels")
        if not columns:
            st.markdown(
                "This dataset has no column of labels, so there is nothing to compare with. The clusters above "
                "stand alone."
            )
            return
        label = right.selectbox("Labels", columns, key="agreement_label", bind="query-params")
        scores = results.agreement_of(result, label, resolution)
        st.dataframe(
            [
                {
                    "Map": title,
                    "Clusters": scores[way]["n_clusters"],
                    "ARI": scores[way]["ari"],
                    "NMI": scores[way]["nmi"],
                    "Silhouette of the labels": scores[way]["silhouette"],
                }
                for way, title in titles_of(result).items()
            ],
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="%.3f", help=text)
                for name, text in {
                    "ARI": "Adjusted Rand index of clusters and labels: 0 is chance, 1 is identical.",
                    "NMI": "Normalised mutual information of clusters and labels: 0 to 1.",
                    "Silhouette of the labels": "How well labels stand apart in the embedding itself: -1 to 1.",
                }.items()
            },
        )
        counted = scores["model"]
        st.caption(
            f"{plural(counted['n'], 'cell')} with {plural(counted['n_labels'], 'label')}"
            f" · clusters at resolution {resolution:g}"
            + (f" · {counted['n_unlabelled']:,} without a label left out" if counted["n_unlabelled"] else "")
        )
        for note in dict.fromkeys(note for way in scores for note in scores[way]["notes"]):
            st.caption(f":material/info: {plain(note)}")
