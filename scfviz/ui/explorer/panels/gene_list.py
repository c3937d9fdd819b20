"""A list of genes that several pictures share: chosen with completion, pasted, or taken from a comparison."""

import re

import streamlit as st

from scfviz.data.gene_index import GeneIndex
from scfviz.errors import GeneNameError
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.panels import comparison
from scfviz.ui.explorer.view import View
from scfviz.ui.frame.text import plain, plural

KEY = "x_plot_genes"
_SEPARATORS = re.compile(r"[\s,;]+")
_MAX_PASTED = 100_000  # letters
_NAMED_AT_MOST = 12
_OFFERED_AT_MOST = 3


def choose_genes(view: View) -> list[str]:
    """Ask for genes; what is not a measured gene is reported by name and left out."""
    data = view.data
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.multiselect(
            "Genes",
            data.genes,
            key=KEY,
            accept_new_options=True,
            select_all=False,
            bind="query-params",
            placeholder="Symbol, alias or Ensembl ID",
            help="Enter takes the first gene of the list. For an alias that other names begin with (CD20), choose Add.",
        )
        with st.popover("Paste a list", icon=":material/content_paste:"):
            _ask_for_list()
        _offer_comparison(view)
    genes, errors = find_genes(asked, data.index)
    if errors:
        _say_unknown(errors)
    return genes


def find_genes(names: list[str], index: GeneIndex) -> tuple[list[str], dict[str, GeneNameError]]:
    """(genes of the file that names stand for, each once, in their order; why each other name is none)."""
    genes, errors = [], {}
    for name in names:
        try:
            genes.append(index.names[index.find(name)])
        except GeneNameError as error:
            errors[name] = error
    return list(dict.fromkeys(genes)), errors


def split_names(text: str) -> list[str]:
    """Names in a text, between spaces, lines, commas, semicolons and quotation marks."""
    return [name for name in (part.strip("\"'`") for part in _SEPARATORS.split(text[:_MAX_PASTED])) if name]


def add_genes(names: list[str]) -> None:
    """Put names at the end of the list; for callbacks, which run before the page."""
    st.session_state[KEY] = list(dict.fromkeys([*(st.session_state.get(KEY) or []), *names]))


def waits_for_store(view: View) -> bool:
    """Whether genes cannot be read yet, which is then said."""
    if not explorer_data.must_wait(view.data, view.store):
        return False
    explorer_data.show_waiting(view.source)
    return True


def _ask_for_list() -> None:
    with st.form("x_paste", border=False, clear_on_submit=True):
        st.text_area(
            "Genes, one after another",
            key="x_paste_text",
            height=140,
            help="Between them spaces, commas, semicolons or new lines: symbols, aliases or Ensembl IDs.",
        )
        with st.container(horizontal=True):
            st.form_submit_button("Add", type="primary", on_click=_paste)
            st.form_submit_button("Replace", on_click=_paste, args=(True,))


def _paste(replace: bool = False) -> None:
    names = split_names(st.session_state.get("x_paste_text") or "")
    if replace and names:
        st.session_state[KEY] = []
    add_genes(names)


def _offer_comparison(view: View) -> None:
    """The genes of the last comparison, once there is one."""
    job = comparison.current(view)
    if job is None or job.state != "done":
        return
    result = comparison.read_result(job, view)
    with st.popover("From the comparison", icon=":material/compare_arrows:"):
        st.caption(f"Genes higher in {plain(result.first)} than in {plain(result.second)}, the highest scores first.")
        n = st.number_input("How many", 1, 50, 10, key="x_top_n", persist_state="page")
        names = [str(name) for name in result.table["names"].head(n)]
        st.button(f"Add the top {n}", key="x_top_genes", type="primary", on_click=add_genes, args=(names,))


def _say_unknown(errors: dict[str, GeneNameError]) -> None:
    """Names that are none, in one line; the first few with the genes that may be meant, each a click away."""
    absent = [name for name, error in errors.items() if "not measured" in error.found]
    offered = [name for name, error in errors.items() if error.candidates]
    unknown = [name for name in errors if name not in absent]
    for names, text in ((unknown, "without a gene here"), (absent, "not measured in this dataset")):
        if names:
            shown = ", ".join(plain(name[:40]) for name in names[:_NAMED_AT_MOST])
            more = f" and {len(names) - _NAMED_AT_MOST:,} more" if len(names) > _NAMED_AT_MOST else ""
            st.caption(f":material/warning: Left out, {plural(len(names), 'name')} {text}: {shown}{more}.")
    for name in offered[:_OFFERED_AT_MOST]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(plain(errors[name].found), width="content")
            for gene in errors[name].candidates:
                st.button(plain(gene), key=f"x_instead_{name}_{gene}", on_click=_replace, args=(name, gene))


def _replace(name: str, gene: str) -> None:
    genes = [gene if one == name else one for one in st.session_state.get(KEY) or []]
    st.session_state[KEY] = list(dict.fromkeys(genes))
