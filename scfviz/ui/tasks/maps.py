"""The maps of a finished embedding, their clusters, and how each agrees with known labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import rank_of_types
from scfviz.jobs import JobStatus
from scfviz.tasks.embedding.sampled import N_KEPT
from scfviz.ui.explorer import address
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps import colored_maps, colors
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.reporting import session
from scfviz.ui.explorer.selection import selection_card, selections
from scfviz.ui.frame import job_panel, page, routes, sources, state
from scfviz.ui.frame.text import duration, number, plain, plural
from scfviz.ui.tasks import downloads, results
from scfviz.ui.tasks.results import EmbeddingResult

KEY = "maps"
_HEIGHT = 440
_FIDELITY = (
    f"Share of a cell's {N_KEPT} nearest cells in the representation that are among its {N_KEPT} nearest on the "
    "picture, measured on a sample of both kinds. Any flat picture loses most of them; where placed cells have "
    "clearly less than those laid out, trust the clusters more than the place of a single cell."
)


def show(job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished embedding: the picture first, then what it says in numbers."""
    result = results.load_embedding(job.id)
    store = explorer_data.store_job(source)
    show_facts(result, job)
    show_maps(result, source, store.id)


def show_facts(result: EmbeddingResult, job: JobStatus) -> None:
    """One line that says what was computed, and the way to other options."""
    options, report = job.options, result.report
    depth = "own read depth"
    if options["target_depth"]:
        depth = f"target read depth {number(options['target_depth'])} counts"
    elif options["depth_fold"]:
        depth = f"target read depth {number(options['depth_fold'])} times the own"
    parts = [plural(report["n_obs"], "cell"), f"model {plain(report['checkpoint']['name'])}", depth]
    if report["n_removed"]:
        parts.insert(1, f"{plural(report['n_removed'], 'cell')} removed by filters")
    parts.append(f"computed in {duration(sum(report['seconds'].values()))}")
    with st.container(horizontal=True, vertical_alignment="center", key="facts"):
        st.markdown(" · ".join(parts))
        if st.button("Other options", icon=":material/tune:", type="tertiary"):
            state.ask_again()
            st.rerun()
    if not report["checkpoint"]["is_trained"]:
        page.untrained_notice()


@st.fragment
def show_maps(result: EmbeddingResult, source: sources.Source, store_job: str) -> None:
    """The maps with their controls, the agreement with labels, and the downloads."""
    with page.guard():
        store = explorer_data.store_folder(job_panel.status_of(store_job))
        data = explorer_data.explore(source, result.job_id, store)
        with st.container(border=True, key="card-maps"):
            resolution = round(st.session_state.get("resolution", results.STORED_RESOLUTION), 1)
            chosen, mask = _draw(at_resolution(data, result, resolution), result, source, store, resolution)
            if result.pictures:
                st.caption(plain(describe_pictures(result)), help=_FIDELITY)
        show_agreement(result)
        downloads.show(result, source, data, chosen, mask, KEY)


def _draw(
    data: Explored, result: EmbeddingResult, source: sources.Source, store: str | None, resolution: float
) -> tuple[Chosen, np.ndarray | None]:
    """The maps in the explorer's colours, with its selection; what is chosen here is chosen there."""
    asked = address.restore(data)
    data = colors.with_palette(data)
    found = colors.choose(source, data, store, has_maps=False)
    names = [f"umap_{representation}" for representation in result.umap]
    is_stored = resolution == results.STORED_RESOLUTION or found.column not in results.CLUSTERS
    # Clusters at another resolution are seen here alone: no selection can name them.
    chosen = Chosen(names, found.coloring, found.column if is_stored else None)
    history = session.follow_address(data, selection_card.apply_event(data, chosen, KEY), asked)
    history, mask = selections.evaluate_current(data, history)
    colored_maps.draw(
        source,
        data,
        chosen,
        key=KEY,
        height=_HEIGHT,
        selected=mask,
        outlines=selections.outlines(history.current),
        shortcuts=(),
    )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(_describe(data, mask))
        routes.link("explorer", "Explore these cells", icon=routes.all_routes()["explorer"].icon)
    return chosen, mask


def at_resolution(data: Explored, result: EmbeddingResult, resolution: float) -> Explored:
    """The dataset with the clusters of all maps at another resolution."""
    if resolution == results.STORED_RESOLUTION:
        return data
    obs = data.obs.copy()
    for representation in result.umap:
        clusters = results.clusters_of(result, representation, resolution)
        names = sorted(set(clusters), key=lambda name: (len(name), name))
        obs[f"clusters_{representation}"] = pd.Categorical(clusters, categories=names)
    return replace(data, obs=obs)


def titles_of(result: EmbeddingResult) -> dict[str, str]:
    """What the maps are called."""
    return results.titles_of(result.umap, is_trained=result.report["checkpoint"]["is_trained"])


def describe_pictures(result: EmbeddingResult) -> str:
    """How many cells were laid out, and what share of its neighbours a placed cell keeps beside them."""
    found = next(iter(result.pictures.values()))
    shares = ", ".join(
        f"{title} {result.pictures[representation]['placed']:.0%} ({result.pictures[representation]['laid_out']:.0%})"
        for representation, title in titles_of(result).items()
        if representation in result.pictures
    )
    return (
        f"{found['n_laid_out']:,} cells, drawn at random, were laid out; {found['n_placed']:,} others were placed "
        f"among their nearest ones. True neighbours that placed cells (those laid out) keep: {shares}."
    )


def label_columns(result: EmbeddingResult) -> list[str]:
    """Columns of the file that hold labels, those that look like cell types first."""
    names = [name for name in result.agreement if name in result.obs]
    return sorted(names, key=rank_of_types)


def _describe(data: Explored, mask: np.ndarray | None) -> str:
    n_shown, total = len(data.shown), data.context.n_obs
    parts = [
        f"{n_shown:,} of {plural(total, 'cell')} shown" if n_shown < total else f"All {plural(total, 'cell')} shown"
    ]
    if mask is not None:
        parts.append(f"{int(mask.sum()):,} selected, as on the Explorer page")
    return " · ".join([*parts, "press ? on a map for shortcuts"])


def show_agreement(result: EmbeddingResult) -> None:
    """Scores of the maps against a column of labels, and the number of clusters that they are taken from."""
    columns = label_columns(result)
    with st.container(border=True, key="card-agreement"):
        st.markdown("#### Clusters, and agreement with known labels")
        left, right = st.columns(2, gap="large", vertical_alignment="bottom")
        resolution = right.slider(
            "Cluster resolution",
            0.1,
            3.0,
            results.STORED_RESOLUTION,
            0.1,
            key="resolution",
            bind="query-params",
            help="Leiden clusters on each map's own neighbours: higher gives more and smaller clusters. The maps above "
            "follow when they are coloured by clusters.",
        )
        resolution = round(resolution, 1)
        if columns:
            label = left.selectbox("Compare with the labels", columns, key="agreement_label", bind="query-params")
            _show_scores(result, label, resolution)
        else:
            left.markdown("The file has no column of labels to compare with: the clusters stand alone.")
            _show_clusters(result, resolution)
        for note in result.result.notes:
            st.caption(f":material/info: {plain(note)}")


def _show_clusters(result: EmbeddingResult, resolution: float) -> None:
    """How many clusters each map has, where there are no labels to score them against."""
    counted = {
        representation: len(set(results.clusters_of(result, representation, resolution)))
        for representation in result.umap
    }
    st.dataframe(
        {
            "Map": list(titles_of(result).values()),
            "Clusters": [counted[representation] for representation in result.umap],
        },
        hide_index=True,
    )
    st.caption(f"Clusters at resolution {resolution:g}")


def _show_scores(result: EmbeddingResult, label: str, resolution: float) -> None:
    scores = results.agreement_of(result, label, resolution)
    st.dataframe(
        [
            {
                "Map": title,
                "Clusters": scores[representation]["n_clusters"],
                "ARI": scores[representation]["ari"],
                "NMI": scores[representation]["nmi"],
                "Silhouette of the labels": scores[representation]["silhouette"],
            }
            for representation, title in titles_of(result).items()
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
    for note in dict.fromkeys(note for representation in scores for note in scores[representation]["notes"]):
        st.caption(f":material/info: {plain(note)}")
