"""A finished search for gene modules: verdict, picture, what was clicked, tables, downloads."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.drawing.network import NEGATIVE, Network, show_network
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.gene_modules import details, donors, downloads, network_choice
from scfviz.ui.tasks.gene_modules import tables as gene_modules_tables
from scfviz.ui.tasks.gene_modules.network_choice import Wanted, split_names
from scfviz.ui.tasks.result import show_facts
from scfviz.ui.tasks.results import load_result

if TYPE_CHECKING:
    from collections.abc import Mapping

_VIEWS = {"modules": "Modules", "regulators": "Regulators", "difference": "Compare two groups"}
_SIGNS = {0: "both", 1: "positive", -1: "negative"}
_CLICKED = "gene_modules-clicked"


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished search for modules."""
    result = load_result(job.id)
    show_facts(task, result)
    _show_picture(job.id, source)
    gene_modules_tables.show_modules(result)
    gene_modules_tables.show_regulators(result, source)
    donors.show(result, source)
    gene_modules_tables.show_views(result)
    downloads.show(task, result, source)


def verdict(scores: "Mapping[str, Any]") -> str:
    """What the model adds on these cells, in one sentence."""
    if "model_gain" not in scores:
        return (
            "**Co-expression only.** The model has read none of these cells; *Other options* lets it, and says what it "
            "adds."
        )
    gain, low, high = (scores[name] for name in ("model_gain", "model_gain_low", "model_gain_high"))
    interval = f"(95 % interval {low:+.1%} to {high:+.1%})"
    tail = "of what co-expression leaves unexplained of correlations in held-out cells"
    if low > 0:
        return f"**The model adds to co-expression on these cells:** it takes away {gain:.1%} {interval} {tail}."
    if high < 0:
        return f"**The model does not help on these cells:** with it {-gain:.1%} {interval} more {tail}."
    return f"**What the model adds on these cells is not clear:** {gain:+.1%} {interval} {tail}."


@st.fragment
def _show_picture(job_id: str, source: sources.Source) -> None:
    with page.guard():
        result = load_result(job_id)
        with st.container(border=True, key="card-network"):
            st.markdown(verdict(result.scores))
            if not len(result.tables["modules"]):
                page.show_empty(
                    "No modules",
                    "No five genes go together more closely than two halves of the cells differ. Use more cells, more "
                    "genes or fewer groups.",
                )
                return
            view, wanted, groups = _ask(result)
            network = _choose(result, view, wanted, groups)
            left, right = st.columns([5, 3], gap="medium")
            with left:
                if not network.edges:
                    st.info("No link fits these filters.", icon=":material/filter_alt_off:")
                key = hashlib.sha256("\0".join([job_id, view, *(node.name for node in network.nodes)]).encode())
                clicked = show_network(network, key=f"network-{key.hexdigest()[:12]}")
                st.caption(_legend(view, network, groups))
            if clicked is not None:
                st.session_state[_CLICKED] = clicked
            with right:
                _show_clicked(result, source, clicked or _still_there(result))
            downloads.show_figure(network, source, view)


def _still_there(result: Result) -> tuple[str, Any] | None:
    """What was clicked before, where this result has it."""
    kind, name = st.session_state.get(_CLICKED) or ("", None)
    known = result.tables["genes"]["gene"] if kind == "gene" else result.tables["modules"]["module"]
    return (kind, name) if name is not None and (known == name).any() else None


def _ask(result: Result) -> tuple[str, Wanted, tuple[str, str] | None]:
    """What is to be drawn: the view, filters, and the two groups of a comparison."""
    genes, modules = result.tables["genes"], result.tables["modules"]
    offered = [name for name in _VIEWS if _is_possible(result, name)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "Picture", offered, format_func=_VIEWS.get, default="modules", required=True, key="gene_modules-view"
        )
        names = genes["gene"].tolist()
        own = genes.loc[genes["is_own"], "gene"].tolist()
        marked = st.multiselect(
            "My genes",
            names,
            default=own,
            key="gene_modules-marked",
            placeholder="Find genes",
            width=180,
            select_all=False,
        )
        titles = {row.module: f"{row.module}: {row.name}" for row in modules.itertuples()}
        chosen = st.multiselect(
            "Modules",
            list(titles),
            format_func=titles.get,
            key="gene_modules-modules",
            placeholder="All",
            width=180,
            select_all=False,
        )
        with st.popover("Filters", icon=":material/filter_alt:"):
            wanted = _ask_filters(marked, chosen)
    pasted = split_names(st.session_state.get("gene_modules-paste", ""))
    if pasted:
        upper = {name.upper(): name for name in names}
        found = [upper[name.upper()] for name in pasted if name.upper() in upper]
        wanted = replace(wanted, marked=tuple(dict.fromkeys([*wanted.marked, *found])))
        if missing := [name for name in pasted if name.upper() not in upper]:
            st.caption(f"Not among the {plural(len(names), 'gene')} here: {plain(', '.join(missing[:12]))}.")
    return view, wanted, _ask_groups(result) if view == "difference" else None


def _ask_filters(marked: list[str], modules: list[int]) -> Wanted:
    most = st.select_slider("Most genes", [50, 100, 200, 300, 500, 1_000, 2_000], value=300, key="gene_modules-most")
    weight = st.slider("Least weight", 0.0, 1.0, 0.0, 0.05, key="gene_modules-weight", help="1 is the strongest link")
    stability = st.slider(
        "Least stability", 0.0, 1.0, 0.0, 0.05, key="gene_modules-stability", help="share of halves of the cells"
    )
    sign = st.radio("Sign", list(_SIGNS), format_func=_SIGNS.get, horizontal=True, key="gene_modules-sign")
    only = st.toggle("Only links of transcription factors", key="gene_modules-factors")
    st.text_area("Paste a list of genes", key="gene_modules-paste", height=80)
    return Wanted(most, tuple(marked), tuple(modules), only, sign, weight, stability)


def _ask_groups(result: Result) -> tuple[str, str]:
    names = result.tables["compared"]["group"].tolist()
    with st.container(horizontal=True):
        first = st.selectbox("Stronger in (blue)", names, index=0, key="gene_modules-first", width=260)
        others = [name for name in names if name != first]
        second = st.selectbox("than in (orange)", others, index=0, key="gene_modules-second", width=260)
    return first, second


def _is_possible(result: Result, view: str) -> bool:
    if view == "regulators":
        return len(result.tables["network"]) > 0
    return view == "modules" or len(result.tables["compared"]) > 1


def _choose(result: Result, view: str, wanted: Wanted, groups: tuple[str, str] | None) -> Network:
    if view == "regulators":
        return network_choice.regulator_network(result, wanted)
    if view == "difference" and groups is not None:
        return network_choice.difference_network(result, *groups, wanted)
    return network_choice.module_network(result, wanted)


def _legend(view: str, network: Network, groups: tuple[str, str] | None) -> str:
    said = f"{network.label}. Diamonds are transcription factors, size is the number and strength of links. "
    if view == "difference" and groups is not None:
        said += f"Blue links are closer in {plain(groups[0])}, orange ones in {plain(groups[1])} (3 standard errors). "
    else:
        said += "Faint links did not repeat in halves of the cells. "
    if view == "regulators":
        said += f":color[Dashed links]{{foreground='{NEGATIVE}'}} are negative. "
    return said + (
        "Places are the same at every redraw and *distance means nothing*: only links and colours do. Scroll to zoom, "
        "drag to move, click a gene or the ground of a module."
    )


def _show_clicked(result: Result, source: sources.Source, clicked: tuple[str, Any] | None) -> None:
    if clicked is None:
        first = result.tables["modules"]["module"].iloc[0]
        clicked = ("module", int(first))
    kind, name = clicked
    if kind == "gene":
        details.show_gene(result, source, str(name))
    else:
        details.show_module(result, source, int(np.int64(name)))
