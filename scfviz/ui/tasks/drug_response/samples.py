"""Drug response of bulk samples: read a table, predict, and show what is certain of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.errors import ScfvizError
from scfviz.jobs import uploads
from scfviz.tasks.drug_response.card import CAVEATS, say_domain, say_worth
from scfviz.tasks.drug_response.compute import predict_ic50, responses_table, samples_table
from scfviz.tasks.drug_response.predictor import DrugPredictor, DrugResponses
from scfviz.tasks.drug_response.samples import KIND_TITLES, MOST_SUMS, Samples
from scfviz.tasks.drug_response.scale import SCALE_TITLES, SCALES
from scfviz.tasks.drug_response.store import DEFAULT, PREDICTORS, find_drug_predictor, read_drug_predictor
from scfviz.tasks.drug_response.tables import MOST_LN_IC50
from scfviz.tasks.parameters import README
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import fitted, page, routes, sources, state, upload_field
from scfviz.ui.frame.text import plain, plural, shorten
from scfviz.ui.tasks.drug_response import details, figures

_AUTO = "auto"


def show() -> None:
    """The tab: choose a table, then everything that is predicted."""
    ref = state.dataset()
    samples = _choose(None if ref is None else sources.resolve(ref))
    if samples is None:
        return
    with page.guard():
        folder = _ask_predictor()
        _show_answers(samples, ref, folder, read_drug_predictor(folder))


def _show_answers(samples: Samples, ref: str | None, folder: Path, predictor: DrugPredictor) -> None:
    scale, measured = _ask(samples, predictor)
    found = predict_ic50(samples, predictor=predictor, measured=measured, scale=scale)
    _show_facts(samples, found, predictor)
    _show_heatmap(found, predictor)
    details.show(samples, found, predictor)
    _show_downloads(samples, found, predictor, ref, folder, measured)
    details.show_measured()
    with st.expander("Card of the predictor", icon=":material/badge:"):
        st.markdown(fitted.plain_card(folder / README))


def _ask_predictor() -> Path:
    """The folder of the predictor that answers: the one that ships, or one in the server's data folder."""
    own = {name: path for name, path in fitted.list_folders(PREDICTORS).items() if name != DEFAULT}
    if not own:
        return find_drug_predictor()
    name = st.selectbox(
        "Predictor",
        [DEFAULT, *own],
        key="drug-predictor",
        help="the one that ships, and folders that `scfviz drugs fit` wrote into the server's data folder",
    )
    return own.get(name) or find_drug_predictor()


def _choose(source: sources.Source | None) -> Samples | None:
    """The samples in use: those of the dataset in use, or sums of its cells; with a field for another table."""
    samples, error = None, None
    if source is not None:
        try:
            samples = read_table(source)
        except ScfvizError as found:
            error = found
    with st.container(border=True, key="card-table"):
        if samples is not None:
            st.markdown(f"#### {plain(shorten(sources.display_title(source.ref), 70))}")
            st.caption(
                f"{plural(samples.n_samples, 'sample')}, {len(samples.genes):,} genes known to the model; values are "
                f"{KIND_TITLES[samples.kind]}."
            )
            with st.expander("Another table", icon=":material/upload_file:"):
                _upload()
            return samples
        page.show_empty(
            "A table of tumour samples or lines",
            "Expression of whole samples, genes by samples or samples by genes: csv, tsv or h5ad with counts, TPM, "
            "FPKM or their logarithms. One sample is enough.",
        )
        _upload()
        if source is None:
            if st.button("Choose a dataset", icon=":material/database:", key="drug-choose"):
                routes.go("dataset")
            return None
        st.caption(f":material/info: The dataset in use is no such table. {plain(str(error))}")
        return _sum_cells(source)


def _upload() -> None:
    n_uploads = st.session_state.get("scfviz.n_uploads", 0)
    file = upload_field.show(f"drug-upload-{n_uploads}")
    if file is not None:
        ref = uploads.save_upload(file, file.name, state.visitor())
        st.session_state["scfviz.n_uploads"] = n_uploads + 1
        state.choose_dataset(ref)
        st.rerun()


def _sum_cells(source: sources.Source) -> Samples | None:
    """Samples made of the cells in use: their counts added up by a column."""
    from scfviz.ui.frame import describe

    try:
        opened = describe.open_dataset(source, state.gene_column())
    except ScfvizError:
        return None
    obs = opened.counts.obs
    columns = [str(name) for name in obs if 2 <= obs[name].astype(str).nunique() <= MOST_SUMS]
    if not columns:
        return None
    column = st.selectbox(
        "Or add the counts of the cells in use up, by",
        columns,
        index=None,
        key="drug-sum",
        placeholder="a column of the cells, such as donor or cluster",
    )
    if column is None:
        return None
    return summed(str(source.path), sources.stamp(source.path), state.gene_column(), column)


def read_table(source: sources.Source) -> Samples:
    """The table of samples in a file, read once; shared by all who may open it, never changed."""
    return _read(str(source.path), sources.stamp(source.path), state.gene_column())


@st.cache_resource(max_entries=4, show_spinner="Reading the table …")
def _read(path: str, stamp: str, gene_column: str | None) -> Samples:
    from scfviz.tasks.drug_response.samples import open_samples

    return open_samples(path, column=gene_column, folders=sources.allowed_folders())


@st.cache_resource(max_entries=4, show_spinner="Adding the cells up …")
def summed(path: str, stamp: str, gene_column: str | None, column: str) -> Samples:
    """Counts of cells added up by a column of theirs."""
    from scfviz.tasks.drug_response.samples import add_cells
    from scfviz.ui.frame import describe

    return add_cells(describe.open_path(path, gene_column).align(), column)


def _ask(samples: Samples, predictor: DrugPredictor) -> tuple[str | None, dict[tuple[str, str], float] | None]:
    """Scale of the comparison, and what was measured on the samples."""
    with st.expander("Options", icon=":material/tune:"):
        scale = st.radio(
            "How samples are compared with the training lines",
            [_AUTO, *SCALES],
            format_func=lambda one: "Found by the values" if one == _AUTO else SCALE_TITLES[one],
            key="drug-scale",
            horizontal=True,
        )
        st.markdown("**Drugs that you measured on these samples** (ln of IC50 in uM): the other drugs follow them.")
        given = st.data_editor(
            pd.DataFrame(
                {"Sample": pd.Series(dtype=str), "Drug": pd.Series(dtype=str), "ln IC50": pd.Series(dtype=float)}
            ),
            num_rows="dynamic",
            hide_index=True,
            key="drug-measured",
            column_config={
                "Sample": st.column_config.SelectboxColumn(options=list(samples.names[:1000]), required=True),
                "Drug": st.column_config.SelectboxColumn(options=sorted(predictor.names), required=True),
                "ln IC50": st.column_config.NumberColumn(
                    min_value=-MOST_LN_IC50, max_value=MOST_LN_IC50, format="%.3f", required=True
                ),
            },
        )
    rows = given.dropna()
    measured = {(str(row[0]), str(row[1])): float(row[2]) for row in rows.itertuples(index=False)}
    return None if scale == _AUTO else scale, measured or None


def _show_facts(samples: Samples, found: DrugResponses, predictor: DrugPredictor) -> None:
    with st.container(border=True, key="card-verdict"):
        st.markdown("#### What can be said of these samples")
        st.markdown(say_worth(predictor))
        if found.is_far.any():
            st.warning(plain(say_domain(found)), icon=":material/wrong_location:")
        else:
            st.markdown(plain(say_domain(found)))
        for note in found.notes:
            st.caption(f":material/info: {plain(note)}")
        st.caption(f":material/warning: {CAVEATS[0]}")


def _show_heatmap(found: DrugResponses, predictor: DrugPredictor) -> None:
    st.markdown("##### Samples by drugs")
    pathways = sorted({drug.pathway for drug in predictor.drugs if drug.pathway})
    chosen = st.multiselect(
        "Pathways",
        pathways,
        select_all=False,
        key="drug-pathways",
        placeholder=f"The {figures.MOST_DRUGS} drugs that "
        + ("tell these samples apart best" if len(found.samples) > 1 else "differ most from a typical line"),
    )
    samples = np.arange(len(found.samples))
    if len(samples) > figures.MOST_SAMPLES:
        order = np.argsort(found.general, kind="stable")
        samples = np.sort(order[np.linspace(0, len(order) - 1, figures.MOST_SAMPLES).astype(int)])
        st.caption(f"{figures.MOST_SAMPLES} of {len(found.samples):,} samples, evenly by their general sensitivity.")
    if chosen:
        drugs = np.array([i for i, drug in enumerate(predictor.drugs) if drug.pathway in chosen])
    else:
        spread = found.specific.std(axis=0) if len(found.samples) > 1 else np.abs(found.percentile[0] - 50)
        drugs = np.argsort(-spread, kind="stable")[: figures.MOST_DRUGS]
    figure = figures.draw_heatmap(found, predictor, samples, drugs)
    st.plotly_chart(figure, config=toolbar("drug_response_heatmap"), key="drug-heatmap")
    st.caption(
        "Expected percentile among the training lines: blue needs less of the drug than most lines, orange more. Drugs "
        "are grouped by the pathway of their targets."
    )


def _show_downloads(
    samples: Samples,
    found: DrugResponses,
    predictor: DrugPredictor,
    ref: str | None,
    folder: Path,
    measured: dict[tuple[str, str], float] | None,
) -> None:
    name = "samples" if ref is None else sources.title_of(ref)
    stem = name.split(".")[0] or "samples"
    own, column = None if folder == find_drug_predictor() else str(folder), state.gene_column()
    files: dict[str, tuple[Any, str, str, str]] = {
        "Predictions (CSV)": (
            lambda: responses_table(found, predictor).to_csv(index=False, float_format="%.6g"),
            f"{stem}_drug_response.csv",
            "text/csv",
            ":material/table:",
        ),
        "Samples (CSV)": (
            lambda: samples_table(found).to_csv(index=False, float_format="%.6g"),
            f"{stem}_samples.csv",
            "text/csv",
            ":material/table:",
        ),
        "Report (Markdown)": (
            lambda: details.report_text(name, samples, found, predictor),
            f"{stem}_drug_response.md",
            "text/markdown",
            ":material/description:",
        ),
        "Script (Python)": (
            lambda: details.script_text(name, found, own, measured, column, samples.added_by),
            f"{stem}_drug_response.py",
            "text/x-python",
            ":material/code:",
        ),
    }
    if measured:
        rows = [(*pair, value) for pair, value in measured.items()]
        files["Measured (CSV)"] = (
            lambda: pd.DataFrame(rows, columns=["sample", "drug", "ln_ic50"]).to_csv(index=False),
            "measured.csv",
            "text/csv",
            ":material/table:",
        )
    with st.container(border=True, key="card-downloads"):
        st.markdown("#### Download")
        with st.container(horizontal=True):
            for title, (content, file, mime, icon) in files.items():
                key = f"download-drug-{title.split()[0].lower()}"
                st.download_button(title, content, file, mime, on_click="ignore", icon=icon, key=key)
        st.caption("The same as a command:")
        command = details.command_text(name, found, own, measured, column, samples.added_by)
        st.code(command, language="bash", wrap_lines=True)
        st.caption("Figures: the camera above each.")
