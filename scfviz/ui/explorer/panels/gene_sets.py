"""Gene sets on screen: where they come from, and the score of one in every cell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from scfviz.analysis.gene_sets import GeneSet, SetScore
from scfviz.errors import AccessError, ScfvizError
from scfviz.jobs import Workspace, gene_set_files, result_dir
from scfviz.ui.explorer.address import SETS
from scfviz.ui.explorer.data import Explored
from scfviz.ui.frame import describe, job_panel, page, sources, state
from scfviz.ui.frame.text import plain, plural, shorten, size

ONTOLOGY, OWN = SETS, "own"
TITLES = {ONTOLOGY: "Gene Ontology: biological processes", OWN: "my own genes"}
SCORE_UNIT = "mean ln(1 + counts per 10,000) above that of control genes"
INLINE_CELLS = 20_000  # more are scored outside the page: it takes longer than a second


def choose_source(key: str, address: str | None = None, *, own: bool = False) -> str:
    """Ask where the sets come from: the ontology, one's own genes, or a GMT file, which can be added here.

    Parameters
    ----------
    key
        Of the widgets.
    address
        Under which name the address keeps the answer; `None` where the view does, see `scfviz.ui.explorer.address`.
    own
        Whether a user-defined list is one of the answers.

    Returns
    -------
    str
        `ONTOLOGY`, `OWN` or the reference of an upload.
    """
    _take_upload(key)
    asked = st.session_state.get(key) if address is None else st.query_params.get(address)
    options = [ONTOLOGY, *([OWN] if own else []), *_given(asked)]
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]
    chosen = st.selectbox(
        "Sets from",
        options,
        index=options.index(asked) if asked in options else 0,
        key=key,
        persist_state="page",
        format_func=title_of,
    )
    _show_uploader(key)
    _show_given(key, address)
    if address is None:
        return chosen
    if chosen != ONTOLOGY:
        st.query_params[address] = chosen
    elif address in st.query_params:
        del st.query_params[address]
    return chosen


def sources_here() -> tuple[str, ...]:
    """Every source that this visitor can choose."""
    return (ONTOLOGY, OWN, *_given(None))


def read(ref: str) -> tuple[GeneSet, ...]:
    """The sets of a source; shared by all visitors.

    Raises
    ------
    DatasetError, GeneError
        The file is gone or is none of gene sets; AccessError: it is somebody else's and not shared.
    """
    from scfviz.analysis.gene_sets import load_gene_ontology

    return load_gene_ontology() if ref == ONTOLOGY else _read_gmt(str(path_of(ref)))


def path_of(ref: str) -> Path | None:
    """Where the sets lie; `None` for the ontology that ships with scfviz."""
    return None if ref == ONTOLOGY else gene_set_files.path_of(ref, state.visitor())


def title_of(ref: str) -> str:
    """What a source is called."""
    return TITLES.get(ref) or gene_set_files.name_of(ref)


def find(ref: str, name: str | None) -> GeneSet | None:
    """A set by its name; errors as of `read`."""
    path_of(ref)
    return _by_name(ref).get(name) if name else None


def names(ref: str) -> list[str]:
    """The names of all sets, sorted; errors as of `read`."""
    path_of(ref)
    return list(_by_name(ref))


def split_genes(text: str) -> list[str]:
    """Names of genes from text with commas, semicolons, tabs, spaces or lines between them, each once."""
    for letter in ",;|\t\n\r":
        text = text.replace(letter, " ")
    return list(dict.fromkeys(text.split()))[:5_000]


def score(source: sources.Source, data: Explored, store: str | None, genes: Sequence[str]) -> SetScore | None:
    """The score of a set in the shown cells; `None` while it is computed outside the page, which is then shown.

    Raises
    ------
    GeneError
        No gene of the set was measured.
    """
    if data.context.n_obs <= INLINE_CELLS:
        path = str(source.path)
        found = _score_here(path, sources.stamp(source.path), state.gene_column(), store, tuple(genes))
    else:
        found = _score_outside(source, data, store, genes)
    if found is None or len(data.shown) == len(found.values):
        return found
    return SetScore(found.values[data.shown], found.genes, found.left_out, found.n_controls)


def _score_outside(source: sources.Source, data: Explored, store: str | None, genes: Sequence[str]) -> SetScore | None:
    options = {"dataset": str(source.path.resolve()), "genes": list(genes), "gene_column": state.gene_column()}
    options |= {"gene_store": store}
    job = job_panel.ask_once("set_score", options)
    if job.state == "done":
        return _read_score(str(result_dir(Workspace(), job.id)))
    job_panel.show_memory("set_score", options, data.context.n_obs)
    job_panel.show_progress(job.id, "Scoring the cells", place="-set", on_leave=lambda: _leave_score(job.id))
    return None


def _leave_score(job_id: str) -> None:
    job_panel.forget(job_id)
    st.session_state["x_set"], st.session_state["x_set_genes"] = None, ""


@st.cache_resource(max_entries=24, show_spinner="Scoring the cells …")
def _score_here(path: str, stamp: str, gene_column: str | None, store: str | None, genes: tuple[str, ...]) -> SetScore:
    from scfviz.analysis.gene_sets import score_set

    expression = describe.expression(path, gene_column, store)
    return score_set(expression, genes, means=_means(path, stamp, gene_column, store))


@st.cache_resource(max_entries=4, show_spinner=False)
def _means(path: str, stamp: str, gene_column: str | None, store: str | None) -> tuple[np.ndarray, np.ndarray]:
    from scfviz.analysis.gene_sets import mean_expression

    return mean_expression(describe.expression(path, gene_column, store))


@st.cache_resource(max_entries=24, show_spinner=False)
def _read_score(folder: str) -> SetScore:
    from scfviz.jobs.workspace import read_json

    about = read_json(Path(folder) / "report.json") or {}
    values = np.load(Path(folder) / "values.npy", allow_pickle=False)
    return SetScore(values, tuple(about["genes"]), tuple(about["left_out"]), about["n_controls"])


@st.cache_resource(max_entries=4, show_spinner="Reading the gene sets …")
def _read_gmt(path: str) -> tuple[GeneSet, ...]:
    from scfviz.analysis.gene_sets import read_gmt

    return read_gmt(path)


@st.cache_resource(max_entries=4, show_spinner=False)
def _by_name(ref: str) -> dict[str, GeneSet]:
    return {one.name: one for one in sorted(read(ref), key=lambda one: one.name.casefold())}


def _given(asked: str | None) -> list[str]:
    """The files that this visitor gave, and the one that is asked for, where it is there."""
    given = [file.ref for file in gene_set_files.list_files(state.visitor())]
    if asked and asked not in (*given, *TITLES):
        try:
            read(asked)
            given.append(asked)
        except AccessError as error:
            st.toast(f"{plain(error.found)} {plain(error.advice)}", icon=":material/lock:")
        except ScfvizError:  # gone
            pass
    return given


def _take_upload(key: str) -> None:
    """Keep a file that was just given, once; what is wrong with it is remembered, to be shown beside it."""
    given = st.session_state.get(f"{key}_file")
    seen = st.session_state.get(f"{key}.seen")
    if given is None or (seen is not None and seen[0] == given.file_id):
        return
    error = ref = None
    try:
        ref = gene_set_files.save(given.getvalue(), given.name, state.visitor())
        st.session_state[key] = ref
    except ScfvizError as caught:
        error = (caught.title, caught.found, caught.needed, caught.advice)
    st.session_state[f"{key}.seen"] = (given.file_id, error, ref)


def _show_uploader(key: str) -> None:
    st.file_uploader(
        "Add gene sets (GMT)",
        type=["gmt", "gz", "txt"],
        key=f"{key}_file",
        help="One set a line: name, description and genes, separated by tabs; plain or gzip. As from MSigDB.",
    )
    given, seen = st.session_state.get(f"{key}_file"), st.session_state.get(f"{key}.seen")
    if given is None or seen is None or seen[0] != given.file_id:
        return
    if seen[1] is not None:
        page.show_error(*seen[1])
    elif any(file.ref == seen[2] for file in gene_set_files.list_files(state.visitor())):  # not removed since
        st.caption(f":material/check: {plain(given.name)} is one of the choices above.")


def _show_given(key: str, address: str | None) -> None:
    """The files that this visitor gave, each removed with one click: it can be given again."""
    files = gene_set_files.list_files(state.visitor())
    if not files:
        return
    st.markdown("**Your files of gene sets**")
    for file in files:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(
                f"{plain(shorten(file.name, 40))} · {plural(file.n_sets, 'set')} · {size(file.n_bytes)}",
                width="content",
            )
            shared = f"{key}_share_{file.ref}"
            st.session_state[shared] = file.is_shared
            st.toggle(
                "Shared",
                key=shared,
                on_change=_share,
                args=(file.ref, shared),
                help="Who opens a link to a view that uses it can read it; else it is yours alone.",
            )
            st.button(
                "Remove",
                icon=":material/delete:",
                type="tertiary",
                key=f"{key}_remove_{file.ref}",
                help="Deletes the file from the workspace. What was computed with it stays.",
                on_click=_remove,
                args=(file.ref, key, address),
            )


def _share(ref: str, key: str) -> None:
    gene_set_files.share(ref, state.visitor(), st.session_state[key])


def _remove(ref: str, key: str, address: str | None) -> None:
    gene_set_files.remove(ref, state.visitor())
    if st.session_state.get(key) == ref:
        del st.session_state[key]
    if address is not None and st.query_params.get(address) == ref:
        del st.query_params[address]
