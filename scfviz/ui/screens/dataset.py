"""Choosing a dataset, what the check says about it, and filters for its cells."""

from typing import Any

import streamlit as st

from scfviz.jobs import uploads
from scfviz.reporting.numbers import median_text
from scfviz.ui.frame import describe, lineage, page, routes, sources, state, upload_field
from scfviz.ui.frame.text import number, plain, plural, shorten, size

_WAYS = {"demo": "Demo", "folder": "Server folder", "upload": "Upload", "gallery": "Gallery"}
_ICONS = {"info": ":material/check_circle:", "warning": ":material/warning:"}


def show_chooser() -> None:
    """Four places that a dataset can come from; choosing one makes it the dataset in use."""
    with st.container(border=True, key="card-choose"):
        way = st.segmented_control(
            "Where is your dataset?",
            list(_WAYS),
            format_func=_WAYS.get,
            default="demo",
            required=True,
            key="way",
            persist_state="session",
        )
        {"demo": _choose_demo, "folder": _choose_file, "upload": _choose_upload, "gallery": _choose_gallery}[way]()


def use(ref: str) -> None:
    """Make a dataset the one in use and show it."""
    state.choose_dataset(ref)
    st.rerun()


def _choose_demo() -> None:
    from scfviz.data.catalog import DEMOS

    st.markdown("Real datasets that came with the installation; nothing is downloaded.")
    for column, demo in zip(st.columns(len(DEMOS), gap="medium"), DEMOS, strict=True):
        with column.container(border=True, height="stretch", key=f"card-demo-{demo.name}"):
            st.markdown(f"**{plain(demo.title)}**")
            st.caption(plain(demo.description))
            ref = f"demo:{demo.name}"
            if state.dataset() == ref:
                st.badge("in use", icon=":material/check:", color="green")
            elif st.button("Open", key=f"open-{demo.name}", icon=":material/play_arrow:"):
                use(ref)


def _choose_file() -> None:
    folders = sources.data_folders()
    number_of = 0
    if len(folders) > 1:
        number_of = st.selectbox("Folder", range(len(folders)), format_func=lambda i: str(folders[i]))
    files, is_cut = sources.list_files(number_of)
    st.markdown("Files below a data folder of this server are read where they lie, however large they are.")
    if not files:
        st.info(
            f"There is no dataset in {plain(folders[number_of])}. Copy one there, or start the app with "
            "`scfviz app --data FOLDER`.",
            icon=":material/folder_open:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            f"File in {shorten(folders[number_of], 60)}", files, index=None, placeholder="Type a part of the name"
        )
        if st.button("Open", key="open-file", disabled=name is None, icon=":material/play_arrow:"):
            use(f"folder:{number_of}/{name}")
    if is_cut:
        st.caption(f"Only the first {len(files):,} files are listed.")


def _choose_upload() -> None:
    st.markdown(
        "For files up to about 1 GB: h5ad, h5mu, 10x h5, loom, csv or tsv, or a zip with matrix.mtx or a .zarr."
    )
    # A new key lets the uploaded bytes go once they are on disk; the browser's copy would stay in memory otherwise.
    n_uploads = st.session_state.get("scfviz.n_uploads", 0)
    file = upload_field.show(f"upload-{n_uploads}")
    if file is not None:
        bar = st.progress(0.0, text="Keeping a copy in the workspace …")
        ref = uploads.save_upload(
            file, file.name, state.visitor(), progress=lambda done: bar.progress(min(1.0, done / max(1, file.size)))
        )
        st.session_state["scfviz.n_uploads"] = n_uploads + 1
        use(ref)
    st.caption(
        "A copy stays in the workspace of this server, and only you can open it there, unless you share it on the "
        "Workspace page. Larger files: put them into a data folder of the server."
    )
    _list_uploads()


def _list_uploads() -> None:
    """Earlier uploads of this visitor, and those that others share."""
    known = {upload.ref: upload for upload in uploads.list_uploads(state.visitor())}
    if not known:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ref = st.selectbox(
            "Earlier uploads",
            list(known),
            index=None,
            format_func=lambda ref: known[ref].name + ("" if known[ref].is_own else " (shared by another visitor)"),
            placeholder="Choose one",
        )
        if st.button("Open", key="open-upload", disabled=ref is None, icon=":material/play_arrow:"):
            use(ref)


def _choose_gallery() -> None:
    from scfviz.data.catalog import fetch, gallery
    from scfviz.jobs import Workspace

    entries = {entry.name: entry for entry in gallery()}
    st.markdown("Public datasets, downloaded once into the workspace. This needs a network.")
    name = st.selectbox(
        "Dataset", list(entries), format_func=lambda key: entries[key].title, label_visibility="collapsed"
    )
    entry = entries[name]
    st.caption(f"{plain(entry.description)} · Licence: {plain(entry.licence)}")
    if st.button("Get and open", icon=":material/download:", key="open-gallery"):
        bar = st.progress(0.0, text="Connecting …")

        def show(done: int, total: int) -> None:
            share = done / total if total else 0.0
            bar.progress(min(share, 1.0), text=f"{size(done)} of {size(total)}" if total else size(done))

        path = fetch(entry, Workspace().gallery, progress=show)
        use(f"gallery:{path.relative_to(Workspace().gallery).as_posix()}")


def show_card(source: sources.Source, about: dict[str, Any]) -> None:
    """The dataset in four numbers."""
    st.markdown(f"#### {plain(shorten(sources.display_title(source.ref), 70))}")
    facts = [source.origin, plain(about["source"]["format"]), size(about["source"]["size"])]
    st.caption(" · ".join(part for part in facts if part))
    lineage.show(about.get("lineage", ()))
    columns = st.columns(4)
    genes = about["genes"]
    columns[0].metric("Cells", number(about["n_obs"]))
    columns[1].metric("Genes in the file", number(about["n_vars"]))
    columns[2].metric(
        "Median counts per cell",
        median_text(about["median_depth"]),
        help=f"Over all {genes['n_genes']:,} genes of the file.",
    )
    columns[3].metric(
        "Of the model's genes",
        f"{genes['model_coverage']:.1f} %",
        help=f"{genes['n_measured']:,} of the model's {genes['n_model']:,} genes were measured in this dataset.",
    )


def show_report(source: sources.Source, about: dict[str, Any]) -> None:
    """Every decision of the check in plain words."""
    counts, genes = about["counts"], about["genes"]
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Counts")
        for notice in counts["notices"]:
            st.markdown(f"{_ICONS[notice['level']]} {plain(notice['text'])}")
        said = {notice["text"] for notice in counts["notices"]}
        for note in (note for note in about["source"]["notes"] if note not in said):
            st.markdown(f":material/info: {plain(note)}")
        if words := _explain_matrix(counts["location"]):
            st.caption(words)
        _choose_gene_column(source)
    with right:
        st.markdown("##### Genes")
        if refusal := about["refusal"]:
            page.show_error("The model cannot read these genes", refusal["found"], refusal["needed"], refusal["advice"])
            st.markdown("The Explorer works all the same: it uses every gene of the file and needs no model.")
        known = genes["n_file"] - genes["n_unknown"]
        coverage = "" if genes["counts_coverage"] is None else f", with {genes['counts_coverage']:.1f} % of its counts"
        st.markdown(
            f":material/check_circle: {known:,} of the {plural(genes['n_file'], 'gene')} in the file "
            f"are genes of the model{coverage}."
        )
        for notice in genes["notices"]:
            st.markdown(f":material/info: {plain(notice)}")
        _show_genes_table(genes)


def _explain_matrix(location: str) -> str:
    """What the place of the counts is, for those who know a file by what it shows."""
    if location == "X":
        return "`X` is the file's main matrix, cells by genes."
    if location == "raw.X":
        return "`raw.X` is the matrix that was set aside in the file before genes were filtered or values scaled."
    return "A layer is a further matrix of the file, with the same cells and genes." if "layers" in location else ""


def _show_genes_table(genes: dict[str, Any]) -> None:
    rows = {
        "By the model's own symbol or Ensembl ID": genes["n_matched"],
        "By an earlier symbol or alias": genes["n_alias"],
        "Mouse genes, by ortholog": genes["n_ortholog"],
        "Added to another row of the same gene": genes["n_summed"],
        "Unknown to the model, used by the Explorer alone": genes["n_unknown"],
        "Genes of the model not in the file": genes["n_not_measured"],
    }
    with st.expander("How the names were matched", icon=":material/rule:"):
        st.dataframe(
            {"": list(rows), "Genes": list(rows.values())},
            hide_index=True,
            column_config={"Genes": st.column_config.NumberColumn(format="localized", width="small")},
        )
        if genes["unknown"]:
            st.caption(
                "Unknown names, for example: " + ", ".join(plain(shorten(name, 30)) for name in genes["unknown"])
            )


def _choose_gene_column(source: sources.Source) -> None:
    """Lets the visitor say where the names of the genes are, when the content misled the check."""
    automatic = "found by content"
    options = [automatic, "(row names)", *describe.gene_columns(source)]
    current = state.gene_column() or automatic
    chosen = st.selectbox(
        "Names of the genes",
        options,
        index=options.index(current) if current in options else 0,
        width=320,
        key="gene_column",
    )
    if chosen != current:
        state.choose_gene_column(None if chosen == automatic else chosen)
        st.rerun()


def describe_or_ask(source: sources.Source) -> dict[str, Any]:
    """The description of the dataset; where its genes cannot be matched, the choice of their column stays open."""
    from scfviz.errors import GeneError

    with st.spinner("Reading and checking the file …", show_time=True):
        try:
            return describe.describe(source, state.gene_column())
        except GeneError as error:
            failure = error
    page.show_error(failure.title, failure.found, failure.needed, failure.advice)
    _choose_gene_column(source)
    st.stop()


def link_to_map(about: dict[str, Any]) -> None:
    """Where to go when the dataset is fine: to the Explorer where the model cannot read it."""
    name = "explorer" if about["refusal"] else "cell_embedding"
    if st.button("See its map", type="primary", icon=routes.all_routes()[name].icon):
        routes.go(name)
