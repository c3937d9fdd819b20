"""What the genes of a comparison have in common: gene sets that its top genes, or its whole ranking, are rich in."""

from typing import Any

import pandas as pd
import streamlit as st

from scfviz.analysis.enrichment import LARGEST, SMALLEST, SMALLEST_RANKED, top_genes
from scfviz.errors import JobError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.ui.drawing import charts
from scfviz.ui.explorer.maps import colors
from scfviz.ui.explorer.panels import compare, comparison, gene_sets, result_downloads, result_figures
from scfviz.ui.explorer.panels.comparison import Result
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel, page
from scfviz.ui.frame.text import plain, plural

KIND, _ADDRESS = "enrichment", "enrichment"
_WAYS = {"list": "The top genes", "ranking": "The whole ranking"}
_DIRECTIONS = {"higher": "higher in the first", "lower": "lower in the first"}
_SHOWN_BARS, _SHOWN_ROWS = 20, 200
_NO_COMPARISON = (
    "Gene sets are tested on the result of a comparison. Compare two groups of cells first, for example one cell type "
    "with all others."
)


def show(view: View) -> None:
    """Ask which sets the last comparison is rich in, and show the answer."""
    result = _last_result(view)
    if result is None:
        page.show_empty("No comparison yet", _NO_COMPARISON)
        st.button("Compare two groups", icon=":material/compare_arrows:", key="x_go_compare", on_click=_go_to_compare)
        return
    st.markdown(f"**{plain(result.title)}** · {len(result.table):,} tested genes")
    options = _choose(result)
    key = f"scfviz.enrichment.{view.data.dataset}"
    if st.button("Find gene sets", type="primary", icon=":material/hub:", key="x_enrich", disabled=options is None):
        st.session_state[key] = job_panel.ask(KIND, options)
    job = current(view)
    if job is None:
        _forget(key)
        return
    st.session_state[key] = st.query_params[_ADDRESS] = job.id
    if job.state != "done":
        job_panel.show_progress(job.id, "Comparing with the gene sets", place="-enrich", on_leave=lambda: _forget(key))
        return
    of = comparison.read_result(job_panel.status_of(job.options["comparison"]), view)
    _show_result(view, of, job.id, job.options)


def current(view: View) -> JobStatus | None:
    """The enrichment that was asked for last, or by the one who sent the address, of the last comparison."""
    return _find(st.session_state.get(f"scfviz.enrichment.{view.data.dataset}") or st.query_params.get(_ADDRESS), view)


def _find(job_id: str | None, view: View) -> JobStatus | None:
    """An enrichment of the last comparison; an address may name anything."""
    try:
        job = None if job_id is None else job_panel.status_of(job_id)
    except JobError:
        return None
    return job if job is not None and job.kind == KIND and job.options["comparison"] in _jobs_of(view) else None


def _forget(key: str) -> None:
    st.session_state.pop(key, None)
    if _ADDRESS in st.query_params:
        del st.query_params[_ADDRESS]


def _go_to_compare() -> None:
    st.session_state["x_panel"] = "compare"


def _jobs_of(view: View) -> list[str]:
    """The comparison of cells and the same one of donors, where they are done."""
    job = comparison.current(view)
    if job is None or job.state != "done":
        return []
    donors = comparison.newest_of_donors(view, job)
    return [job.id] if donors is None else [donors.id, job.id]


def _last_result(view: View) -> Result | None:
    """The result to ask about: between donors where it is there, because it is the one to trust."""
    jobs = _jobs_of(view)
    if not jobs:
        return None
    chosen = jobs[0]
    if len(jobs) > 1:
        names = dict(zip(jobs, ("between donors", "between cells"), strict=True))
        chosen = st.segmented_control(
            "Result",
            jobs,
            format_func=names.get,
            default=jobs[0],
            required=True,
            key=f"x_enrich_of_{jobs[0]}",
            label_visibility="collapsed",
        )
    return comparison.read_result(job_panel.status_of(chosen), view)


def _choose(result: Result) -> dict[str, Any] | None:
    """The options of a computation; None where there is nothing to compute."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "Test",
            list(_WAYS),
            format_func=_WAYS.get,
            default="list",
            required=True,
            key="x_enrich_way",
            bind="query-params",
            width="content",
            help="The top genes: are more of them in a set than chance gives? The whole ranking: do a set's genes "
            "gather at one end of it? It needs no thresholds.",
        )
        with st.popover("Gene sets", icon=":material/library_books:", width="content"):
            origin = gene_sets.choose_source("x_enrich_sets", "enrichment_sets")
        with st.popover("Sizes of sets", icon=":material/tune:", width="content"):
            fewest = SMALLEST if way == "list" else SMALLEST_RANKED
            smallest = st.number_input("Fewest tested genes in a set", 1, 5_000, fewest, key=f"x_enrich_small_{way}")
            largest = st.number_input("Most tested genes in a set", 1, 5_000, LARGEST, key="x_enrich_large")
            shuffles = st.number_input("Shuffles (whole ranking)", 100, 10_000, 1_000, 100, key="x_enrich_shuffles")
    sets = f"{plain(gene_sets.title_of(origin))}, {plural(len(gene_sets.read(origin)), 'set')}"
    path = gene_sets.path_of(origin)
    options: dict[str, Any] = {
        "comparison": result.job.id,
        "way": way,
        "gmt": None if path is None else str(path),
        "smallest": smallest,
        "largest": largest,
    }
    if way == "ranking":
        st.caption(f"All {len(result.table):,} tested genes, by the score of the comparison · {sets}")
        return options | {"n_permutations": shuffles}
    columns = st.columns([1.4, 1, 1, 1], gap="medium", vertical_alignment="bottom")
    direction = columns[0].selectbox("Genes", list(_DIRECTIONS), format_func=_DIRECTIONS.get, key="x_enrich_side")
    limits = {
        "direction": direction,
        "max_padj": columns[1].number_input("Adjusted p at most", 0.0001, 1.0, 0.05, format="%.4g", key="x_enrich_p"),
        "min_change": columns[2].number_input("log2 fold change from", 0.0, 20.0, 1.0, 0.25, key="x_enrich_change"),
        "most": columns[3].number_input("At most genes", 1, 20_000, 500, 50, key="x_enrich_most"),
    }
    genes = top_genes(result.table, **limits)
    if not genes:
        st.caption("No gene is beyond these thresholds: loosen them, or test the whole ranking.")
        return None
    first = ", ".join(genes[:8]) + (" …" if len(genes) > 8 else "")
    st.caption(f"{plural(len(genes), 'gene')} of {len(result.table):,} tested ones (the background): {first} · {sets}")
    return options | limits


def _show_result(view: View, of: Result, job_id: str, options: dict[str, Any]) -> None:
    folder = result_dir(Workspace(), job_id)
    table, report = _read(str(folder)), read_json(folder / "report.json") or {}
    way, origin = report["way"], origin_of(options)
    p = "pvals_adj" if way == "list" else "fdr"
    n_clear = int((table[p] < 0.05).sum())
    word = "an adjusted p" if way == "list" else "a false discovery rate"
    genes = f"{report['n_list']:,} of {report['n_genes']:,}" if way == "list" else f"{report['n_genes']:,}"
    st.markdown(
        f"**{n_clear:,} of {plural(len(table), 'set')}** have {word} below 0.05 · {plain(of.title)} · {genes} genes · "
        f"{plain(gene_sets.title_of(origin))}"
    )
    left, right = st.columns([1.4, 1], gap="large")
    chosen = None
    stem = f"{result_downloads.file_name(of)}_gene_sets"
    with left:
        bars = result_figures.lay_out_bars(table, way, _SHOWN_BARS)
        if bars.names:
            event = st.plotly_chart(
                result_figures.draw_bars(table, way, _SHOWN_BARS),
                key=f"x_bars_{job_id}",
                on_select="rerun",
                selection_mode="points",
                config=charts.toolbar(stem),
                alt="The best gene sets as bars.",
            )
            points = event.selection.points
            chosen = int(bars.rows[points[0]["point_index"]]) if points else None
            st.caption(f"The best {len(bars.names)} sets; grey is not beyond chance. Click a bar to see its genes.")
        else:
            st.caption("No set shares a gene with the list.")
    with right:
        shown = _best(table, way)
        picked = st.dataframe(
            shown.drop(columns=["genes"]),
            hide_index=True,
            height=430,
            key=f"x_sets_{job_id}",
            on_select="rerun",
            selection_mode="single-row",
            column_config=_columns(),
            column_order=_ORDER[way],
        )
        rows = picked.selection.rows
        chosen = int(shown.index[rows[0]]) if rows else chosen
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(f"{len(shown):,} of {plural(len(table), 'set')} shown. Choose a row to see its genes.")
            with st.popover("Download", icon=":material/download:"):
                _show_downloads(view, of, table, way, stem)
    if chosen is not None:
        _show_set(table.iloc[chosen], way, origin)
    with st.expander("How this was computed", icon=":material/help:"):
        st.markdown(_HOW[way])


def origin_of(options: dict[str, Any]) -> str:
    """The reference of the sets that a computation used."""
    path = options["gmt"]
    return gene_sets.ONTOLOGY if path is None else "/".join(path.rsplit("/", 2)[1:])


def _best(table: pd.DataFrame, way: str) -> pd.DataFrame:
    if way == "list" or len(table) <= _SHOWN_ROWS:
        return table.head(_SHOWN_ROWS)
    return pd.concat([table.head(_SHOWN_ROWS // 2), table.tail(_SHOWN_ROWS // 2)])


def _show_set(row: pd.Series, way: str, origin: str) -> None:
    word = "genes of the list in it" if way == "list" else "leading genes"
    genes = [gene for gene in str(row["genes"]).split(", ") if gene]
    with st.container(border=True, key="card-set"):
        st.markdown(f"**{plain(row['name'])}** {plain(row['description'])} · {len(genes):,} {word}")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.button(
                "Colour the maps by its score",
                icon=":material/palette:",
                key="x_color_set",
                on_click=colors.choose_set,
                args=(origin, str(row["name"])),
            )
            gene = st.selectbox(
                "Colour by one of its genes",
                genes,
                index=None,
                key=f"x_set_gene_{hash(row['name'])}",
                placeholder=", ".join(genes[:6]),
            )
            st.button("Show it", disabled=gene is None, key="x_show_gene", on_click=compare.choose_gene, args=(gene,))
        st.caption(plain(", ".join(genes[:60]) + (f" and {len(genes) - 60} more" if len(genes) > 60 else "")))


def _show_downloads(view: View, of: Result, table: pd.DataFrame, way: str, stem: str) -> None:
    st.download_button(
        "All sets (CSV)",
        lambda: table.to_csv(index=False),
        f"{stem}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="x_sets_csv",
    )
    caption = f"{view.source.title}: {of.title}; gene sets, {_WAYS[way].lower()}"
    for kind, mime in result_downloads.MIME.items():
        st.download_button(
            f"Figure ({kind.upper()})",
            lambda kind=kind: result_figures.print_bars(table, way, _SHOWN_BARS, kind, caption),
            f"{stem}.{kind}",
            mime,
            on_click="ignore",
            icon=":material/imagesmode:",
            key=f"x_sets_{kind}",
        )


def _columns() -> dict:
    texts = {
        "name": ("Gene set", None, "Its name in the file"),
        "description": ("About", None, "Identifier or description in the file"),
        "n_overlap": ("In the list", "%d", "genes of the list that are in the set"),
        "n_set": ("Genes", "%d", "tested genes in the set"),
        "fold": ("Fold", "%.1f", "genes in the list over the number that chance gives"),
        "nes": ("Score", "%.2f", "normalised enrichment score: positive at the top of the ranking"),
        "pvals": ("p", "%.2e", "of one set alone"),
        "pvals_adj": ("Adjusted p", "%.2e", "Benjamini-Hochberg over all sets that were tested"),
        "fdr": ("FDR", "%.3f", "false discovery rate"),
        "n_leading": ("Leading", "%d", "genes of the set before the running sum's peak"),
    }
    columns: dict[str, Any] = {}
    for name, about in texts.items():
        if about[1] is None:
            columns[name] = st.column_config.TextColumn(about[0], help=about[2], width="medium")
        else:
            columns[name] = st.column_config.NumberColumn(about[0], format=about[1], help=about[2])
    return columns


_ORDER = {
    "list": ("name", "pvals_adj", "n_overlap", "n_set", "fold", "pvals", "description"),
    "ranking": ("name", "nes", "fdr", "n_leading", "n_set", "pvals", "description"),
}
_HOW = {
    "list": "Over-representation: for each set, the hypergeometric test of how many of its genes are on the list, "
    "among all genes that the comparison tested (the background). p values are adjusted over all sets (Benjamini and "
    "Hochberg). Sets overlap, so neighbouring results often say the same thing. The result depends on the thresholds.",
    "ranking": "Gene set enrichment analysis (Subramanian et al. 2005) of the genes ranked by the score of the "
    "comparison: a running sum goes up at the genes of the set and down at all others, and its peak is compared with "
    "that of random sets of the same size. Genes are shuffled, not cells or donors: genes that vary together make "
    "sets look surer than they are.",
}


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(folder: str) -> pd.DataFrame:
    return pd.read_parquet(f"{folder}/table.parquet")
