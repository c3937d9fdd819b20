"""The start page: the dataset in use with its map, what was computed for it, and the next steps."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.reporting.numbers import median_text
from scfviz.tasks.registry import TASKS
from scfviz.ui.frame import describe, job_panel, lineage, opening, page, routes, sources, state
from scfviz.ui.frame.text import number, plain, plural, shorten, size
from scfviz.ui.tasks import embedding, request

if TYPE_CHECKING:
    from scfviz.ui.explorer.data import Explored

_STEPS = {
    "dataset": (
        "Check the dataset",
        "What was found in the file, how its genes were matched, and which cells to leave out.",
    ),
    "explorer": (
        "Explore the cells",
        "Select cells with a lasso, name them, and find the genes that set them apart.",
    ),
    "model": ("Know the model", "What the weights in use are good for, and how to import the official ones."),
    "adapt": ("Adapt the model", "Let it learn from your own cells, and see what it gained and what it forgot."),
}
_WIDTH, _HEIGHT = 760, 470  # of the map, in pixels
_IN_A_ROW = 4  # cards: narrower ones cannot be read
# Kinds of computations that answer a question, with what one of them is called.
_ANSWERS = {
    "differential_expression": ("comparison", "comparisons"),
    "markers": ("table of markers", "tables of markers"),
    "enrichment": ("gene-set analysis", "gene-set analyses"),
    "set_score": ("gene-set score", "gene-set scores"),
    "subset": ("subset opened as a dataset", "subsets opened as datasets"),
}


def show_dataset() -> None:
    """The dataset in use, or how to get one."""
    if state.dataset() is None:
        _show_welcome()
    else:
        with st.container(border=True, key="card-dataset"):
            _show_card(state.dataset())


def show_steps() -> None:
    """A card for each page with what it is for."""
    cards = list(_cards().items())
    for start in range(0, len(cards), _IN_A_ROW):
        row = cards[start : start + _IN_A_ROW]
        for column, (name, (title, text)) in zip(st.columns(_IN_A_ROW, gap="small"), row, strict=False):
            with column.container(border=True, height="stretch", key=f"card-next-{name}"):
                st.markdown(f"{routes.all_routes()[name].icon} **{title}**")
                st.markdown(text)
                routes.link(name)


def _cards() -> dict[str, tuple[str, str]]:
    """Title and text of each page that is a next step; those of tasks follow from their lines."""
    of_tasks = {task.page: (task.verb, task.question) for task in TASKS.values() if task.page}
    return {name: (_STEPS | of_tasks)[name] for name in routes.all_routes() if name in _STEPS | of_tasks}


def _show_welcome() -> None:
    with st.container(border=True, key="card-welcome"):
        page.show_empty(
            "Begin with the demo",
            "559 immune cells with all genes measured, the sample that comes with CellTypist. It opens in a moment, "
            "needs no network, and shows every page.",
        )
        with st.container(horizontal=True):
            if st.button("Open the demo", type="primary", icon=":material/play_arrow:"):
                state.choose_dataset(sources.FIRST_DEMO)
                st.rerun()
            if st.button("Choose my own dataset", icon=":material/folder_open:"):
                routes.go("dataset")


@st.fragment(parallel=True)
def _show_card(ref: str) -> None:
    """Runs beside the page, so that the page is there at once while a new file is still being read."""
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.maps import quick

    with page.guard():
        waiting = st.skeleton(height=_HEIGHT)
        try:
            source = sources.resolve(ref)
            opening.wait(source)
            about = describe.describe(source, state.gene_column())
            job = embedding.known_job(source)
            is_done = job is not None and job.state == "done"
            embed_job = job.id if is_done else None
            data = explorer_data.explore(source, embed_job, None, request.finished_jobs(source))
            if job is None and quick.has_picture(data, embed_job):  # a demo's own maps come after the first one
                job = embedding.find_job(source)
        finally:
            waiting.empty()
        left, right = st.columns([1.25, 1], gap="large")
        with right:
            _show_facts(source, about)
            _show_computed(source, about, job, "umap_quick" in data.maps)
            _show_next(job, bool(data.maps), bool(about["refusal"]))
        with left:
            if data.maps:
                _draw_map(data)
            quick.offer(source, data, embed_job)
            if job is not None and not is_done:
                is_demo = source.ref.startswith("demo:")
                job_panel.show_progress(job.id, "Computing the model's map" + " of the demo" * is_demo)


def _show_facts(source: sources.Source, about: dict[str, Any]) -> None:
    st.markdown(f"### {plain(shorten(sources.display_title(source.ref), 70))}")
    facts = [source.origin, plain(about["source"]["format"]), size(about["source"]["size"])]
    st.caption(" · ".join(part for part in facts if part))
    lineage.show(about.get("lineage", ()))
    genes = about["genes"]
    first, second = st.columns(2)
    first.metric("Cells", number(about["n_obs"]))
    second.metric("Genes in the file", number(about["n_vars"]))
    first.metric("Median counts per cell", median_text(about["median_depth"]))
    second.metric(
        "Of the model's genes",
        f"{genes['model_coverage']:.1f} %",
        help=f"{genes['n_measured']:,} of the model's {genes['n_model']:,} genes were measured in this dataset.",
    )


def _show_computed(source: sources.Source, about: dict[str, Any], job: JobStatus | None, has_quick: bool) -> None:
    """What is there for this dataset, a line each."""
    lines = [f":material/check_circle: Checked: {plural(about['n_obs'], 'cell')}, counts and genes found"]
    if about["n_obs"] and state.filters():
        lines.append(":material/filter_alt: Limits of quality are in use; see the Dataset page")
    if job is not None and job.state == "done":
        lines.append(":material/check_circle: Maps computed: model, baseline and both together")
    elif has_quick:
        lines.append(":material/check_circle: Quick map drawn from variable genes, without the model")
    if job is not None and job.is_active:
        lines.append(":material/pending: The model's map is being computed")
    counted = Counter(
        other.kind
        for other in job_panel.visible_jobs()
        if other.kind in _ANSWERS and other.state == "done" and job_panel.is_of(other, source.path)
    )
    lines += [
        f":material/check_circle: {plural(counted[kind], *names)}" for kind, names in _ANSWERS.items() if counted[kind]
    ]
    st.markdown("**What has been computed**")
    st.markdown("  \n".join(lines))


def _draw_map(data: "Explored") -> None:
    from scfviz.ui.drawing import coloring
    from scfviz.ui.drawing.thumbnail import draw_thumbnail
    from scfviz.ui.explorer.data import title_of

    name, points = next(iter(data.maps.items()))
    column = data.labels[0] if data.labels else data.values[0] if data.values else None
    if column is None:
        chosen: Any = coloring.Values("nothing", "", points[:, 0] * float("nan"), 0.0, 1.0)
    elif column in data.labels:
        chosen = coloring.color_by_labels(title_of(column), data.column(column), stored=data.colors.get(column))
    else:
        chosen = coloring.color_by_values(title_of(column), "", data.column(column).to_numpy(float))
    words = f"{data.titles[name]}, coloured by {chosen.title}"
    dark = st.context.theme.type == "dark"
    st.image(
        draw_thumbnail(points, chosen, width=_WIDTH, height=_HEIGHT, dark=dark), width="stretch", alt=f"Map: {words}."
    )
    st.caption(f"{plain(words)} · {plural(len(points), 'cell')}")


def _show_next(job: JobStatus | None, has_map: bool, is_refused: bool) -> None:
    """Two next steps; the model is none of them where it cannot read the genes."""
    steps = ["explorer", "cell_embedding"] if has_map else ["cell_embedding", "dataset"]
    if is_refused:
        steps = ["explorer", "dataset"]
    elif job is None:
        steps = ["cell_embedding", "explorer" if has_map else "dataset"]
    with st.container(horizontal=True):
        for number_of, name in enumerate(steps):
            title = "Compute the model's map" if name == "cell_embedding" and job is None else _cards()[name][0]
            kind = "secondary" if number_of else "primary"
            if st.button(title, type=kind, icon=routes.all_routes()[name].icon, key=f"home-{name}"):
                routes.go(name)
