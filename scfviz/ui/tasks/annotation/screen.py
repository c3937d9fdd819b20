"""Asking for an annotation: what the types are learned from. Light to import."""

from pathlib import Path
from typing import Any

import streamlit as st

from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus, Workspace
from scfviz.jobs.access import content_key
from scfviz.jobs.labels import labels_path, list_labels
from scfviz.tasks.annotation.options import FINE_TUNED, METHODS
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import describe, fitted, job_panel, page, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks import request

TASK = get_task("annotation")
_SHIPPED, _FILE, _OWN = "A fitted classifier", "A labelled dataset", "Labels of some of these cells"


def show_request(source: sources.Source) -> None:
    """The form: what to learn from, and how.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    if source.ref.startswith("demo:") and not state.wants_again(TASK.name) and _answers_at_once():
        request.start(TASK, source)
        st.rerun()
    about = request.describe_cells(source)
    with st.container(border=True, key="card-request"):
        st.markdown("#### What the types are learned from")
        kind = st.radio(
            "Learn from", (_SHIPPED, _FILE, _OWN), key="annotation-kind", horizontal=True, label_visibility="collapsed"
        )
        ask = {_SHIPPED: _ask_classifier, _FILE: _ask_reference, _OWN: _ask_own}[kind]
        with page.guard():
            given = ask(source)
            if given is None:
                return
            given |= _ask_options(can_choose_method=kind != _SHIPPED)
            _show_cost(given.get("method"), about)
            job_panel.show_memory(TASK.name, request.options_of(TASK, source) | given, about["n_obs"])
            if st.button(TASK.verb, type="primary", icon=":material/play_arrow:", key=f"start-{TASK.name}"):
                request.start(TASK, source, **given)
                st.rerun()


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Verdict, map, clusters, what was measured."""
    from scfviz.ui.tasks.annotation import result

    result.show(TASK, job, source)


def _answers_at_once() -> bool:
    """Whether the classifier that is taken by itself reads genes alone: seconds for a demo, and no embedding."""
    from scfviz.tasks.annotation.classifier import CLASSIFIERS, DEFAULT, read_classifier

    folder = CLASSIFIERS.shipped().get(DEFAULT)
    return folder is not None and not read_classifier(folder).needs_model


def list_classifiers() -> dict[str, Path]:
    """Folders of the classifiers that ship, and of those in the server's data folders, by their names."""
    from scfviz.tasks.annotation.classifier import CLASSIFIERS

    return fitted.list_folders(CLASSIFIERS)


def _ask_classifier(source: sources.Source) -> dict[str, Any] | None:
    from scfviz.tasks.annotation.classifier import read_classifier
    from scfviz.tasks.parameters import README

    found = list_classifiers()
    if not found:
        page.show_empty("No classifier", "This installation ships none: choose a labelled dataset.")
        return None
    name = st.selectbox(
        "Classifier",
        list(found),
        key="annotation-classifier",
        help="those that ship, and folders that `scfviz annotate fit` wrote into the server's data folder",
    )
    classifier = read_classifier(found[name])
    st.markdown(f"It knows {plural(len(classifier.labels), 'type')}: {plain(', '.join(classifier.labels))}.")
    how = "it reads the model's embedding, as long to compute as a map" if classifier.needs_model else "it reads genes"
    st.caption(f"A cell of any other type has no right label here; {how}. What was measured stands in its card:")
    with st.expander("Card of the classifier", icon=":material/badge:"):
        st.markdown(fitted.plain_card(found[name] / README))
    return {"reference": str(found[name].resolve())}


def _ask_reference(source: sources.Source) -> dict[str, Any] | None:
    from scfviz.tasks.annotation.reference import MOST_TYPES, choose_cells, find_label_column

    refs = [ref for ref in sources.list_references(state.visitor()) if ref != source.ref]
    ref = st.selectbox(
        "Labelled dataset",
        refs,
        index=None,
        key="annotation-reference",
        format_func=sources.display_title,
        placeholder="Choose a dataset with cell types",
    )
    if ref is None:
        page.show_empty(
            "No reference yet",
            "Any dataset with counts and a column of cell types: a file of the server's folder, an upload, or a demo.",
        )
        return None
    reference = sources.resolve(ref)
    with st.spinner("Opening the reference …"):
        obs = describe.open_path(str(reference.path), None).align().obs
    columns = list(map(str, obs))
    try:
        first = columns.index(find_label_column(obs, None))
    except ScfvizError:
        first = None
    column = st.selectbox("Column of cell types", columns, index=first, key=f"annotation-label-{ref}")
    if column is None:
        return None
    labelled = choose_cells(obs, column)
    n_types = min(len(labelled.labels), MOST_TYPES)
    held = f"parts of {plain(labelled.unit)}" if labelled.unit else "single cells"
    st.markdown(
        f"{plural(len(labelled.rows), 'labelled cell')} of {plural(n_types, 'type')} are learned from; for the scores "
        f"{held} are held out."
    )
    for note in labelled.notes:
        st.caption(f":material/info: {plain(note)}")
    return {"reference": str(reference.path.resolve()), "label": column}


def _ask_own(source: sources.Source) -> dict[str, Any] | None:
    from scfviz.analysis.metrics import choose_labels

    workspace = Workspace()
    key = content_key(workspace, source.path)
    own = list_labels(workspace, key)
    obs = describe.open_dataset(source, state.gene_column()).counts.obs
    named = {f"Your labels '{name}'": {"labels_file": str(labels_path(workspace, key, name))} for name in own}
    named |= {f"Column '{name}' of the file": {"label": name} for name in choose_labels(obs)[0]}
    if not named:
        page.show_empty(
            "No labels yet",
            "Label some cells of each type on the Explorer page (panel Labels); the others are annotated after them.",
        )
        return None
    chosen = st.selectbox("Labels", list(named), key="annotation-own")
    st.caption("Cells that have a label keep it; those without get one.")
    return dict(named[chosen])


def _show_cost(method: str | None, about: dict[str, Any]) -> None:
    """What a method costs that reads the model's embedding, or changes the model."""
    from scfviz.tasks.annotation.compute import reads_model
    from scfviz.ui.tasks.embedding import describe_time

    if method == "auto":
        st.caption(":material/schedule: Seconds where logistic regression on genes is taken; the combination embeds.")
    elif method is not None and reads_model(method):
        text = "The cells are embedded, if they are not yet. " + describe_time(about)
        if method == FINE_TUNED:
            text += " Fine-tuning takes longer: up to eight times through the labelled cells, once back each time."
        st.caption(f":material/schedule: {plain(text)}")


def _ask_options(*, can_choose_method: bool) -> dict[str, Any]:
    with st.expander("Options", icon=":material/tune:"):
        left, right = st.columns(2, gap="large")
        coverage = right.slider(
            "Coverage of the sets of possible types",
            0.5,
            0.99,
            0.9,
            0.01,
            key="annotation-coverage",
            help=TASK.options_type.__dataclass_fields__["coverage"].metadata["help"],
        )
        scores = right.toggle("Probability of every type, as a table", key="annotation-scores")
        if not can_choose_method:
            left.caption("A fitted classifier keeps the method that it was fitted with.")
            return {"coverage": coverage, "all_scores": scores}
        method = left.radio("Method", list(METHODS), format_func=METHODS.get, key="annotation-method")
    return {"coverage": coverage, "all_scores": scores, "method": method}
