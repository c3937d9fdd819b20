"""A list of genes that several pictures share: chosen with completion, pasted, or taken from a comparison."""

import re

import streamlit as st

from scfviz.errors import GeneError
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.panels import comparison
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe
from scfviz.ui.frame.text import plain, plural

KEY = "x_plot_genes"
_SEPARATORS = re.compile(r"[\s,;]+")
_MAX_PASTED = 100_000  # letters
_NAMED_AT_MOST = 12
# Without the counts ordered by genes each gene costs a reading of the whole file.
MAX_CELLS_WITHOUT_STORE = 30_000


def choose_genes(view: View) -> list[str]:
    """Ask for genes; what is not a measured gene is said by name and left out."""
    data = view.data
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.multiselect(
            "Genes", data.genes, key=KEY, accept_new_options=True, bind="query-params",
            placeholder="Symbol, alias or Ensembl ID",
        )  # fmt: skip
        with st.popover("Paste a list", icon=":material/content_paste:"):
            _ask_for_list()
        _offer_comparison(view)
    genes, unknown = find_genes(asked, set(data.genes))
    if unknown:
        _say_unknown(unknown)
    return genes


def find_genes(names: list[str], measured: set[str]) -> tuple[list[str], dict[str, str]]:
    """(measured genes that names stand for, each once, in their order; why each other name is none)."""
    genes, unknown = [], {}
    for name in names:
        try:
            genes.append(describe.find_gene(name, measured))
        except GeneError as error:
            unknown[name] = "not measured" if "not measured" in error.found else "not known"
    return list(dict.fromkeys(genes)), unknown


def split_names(text: str) -> list[str]:
    """Names in a text, between spaces, lines, commas, semicolons and quotation marks."""
    return [name for name in (part.strip("\"'`") for part in _SEPARATORS.split(text[:_MAX_PASTED])) if name]


def add_genes(names: list[str]) -> None:
    """Put names at the end of the list; for callbacks, which run before the page."""
    st.session_state[KEY] = list(dict.fromkeys([*(st.session_state.get(KEY) or []), *names]))


def waits_for_store(view: View) -> bool:
    """Whether genes cannot be read yet, which is then said."""
    if view.store is not None or view.data.context.n_obs <= MAX_CELLS_WITHOUT_STORE:
        return False
    job = explorer_data.store_job(view.source)
    done = f" ({job.fraction:.0%} so far)" if job.is_active else ""
    st.info(
        "The genes of this dataset are being put in an order in which each can be read at once. Their pictures appear "
        f"when that is done{done}.",
        icon=":material/bolt:",
    )
    if st.button("Look again", icon=":material/refresh:", key="x_look_again"):
        st.rerun()
    return True


def _ask_for_list() -> None:
    with st.form("x_paste", border=False, clear_on_submit=True):
        st.text_area(
            "Genes, one after another", key="x_paste_text", height=140,
            help="Between them spaces, commas, semicolons or new lines: symbols, aliases or Ensembl IDs.",
        )  # fmt: skip
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
    result = comparison.read_result(job, view.history)
    with st.popover("From the comparison", icon=":material/compare_arrows:"):
        st.caption(f"Genes higher in {plain(result.first)} than in {plain(result.second)}, the highest scores first.")
        n = st.number_input("How many", 1, 50, 10, key="x_top_n", persist_state="page")
        names = [str(name) for name in result.table["names"].head(n)]
        st.button(f"Add the top {n}", key="x_top_genes", type="primary", on_click=add_genes, args=(names,))


def _say_unknown(unknown: dict[str, str]) -> None:
    for why, text in (("not known", "no gene of the model"), ("not measured", "not measured in this dataset")):
        names = [name for name, reason in unknown.items() if reason == why]
        if names:
            shown = ", ".join(plain(name[:40]) for name in names[:_NAMED_AT_MOST])
            more = f" and {len(names) - _NAMED_AT_MOST:,} more" if len(names) > _NAMED_AT_MOST else ""
            st.caption(f":material/warning: Left out, {plural(len(names), 'name')} {text}: {shown}{more}.")
