"""The view that lasts: in the address for somebody on the same server, in a small file for everybody else."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from scfviz.analysis.labels.labels import Annotation
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Rule, from_json, rule_id, to_json
from scfviz.errors import OptionError, ScfvizError
from scfviz.jobs import JobStatus, Workspace, access, result_dir
from scfviz.jobs.labels import free_column_name, labels_digest, list_labels, start_labels
from scfviz.jobs.workspace import read_json, write_json
from scfviz.reporting.session import COMPARISON, EMBEDDING, SavedSession, merge_named, read_session
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import fields_of
from scfviz.ui.explorer import address
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.panels import composition, gene_sets, plots
from scfviz.ui.explorer.reporting import shown
from scfviz.ui.explorer.selection import selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel, models, routes, sources, state
from scfviz.ui.frame.text import plain, plural, shorten
from scfviz.ui.tasks import embedding, request
from scfviz.ui.tasks.results import jobs_used, load_result

_RULE_ID = re.compile(r"[0-9a-f]{12}")
_MOST_RULES = 5_000  # of one dataset; the oldest links go first
_PENDING, _NOTES = "scfviz.session.pending", "scfviz.session.notes"
_PANELS = {"plots": plots, "composition": composition}
# Kinds of options of a task that a session leaves out: files, and what the session says for all tasks.
_NOT_ALONG = ("dataset", "checkpoint", "filters", "gene_column")


def follow_address(
    data: Explored, history: SelectionHistory, asked: str | None, *, is_complete: bool = True
) -> SelectionHistory:
    """Select what the address asks for; then let the address say what is on the screen.

    Parameters
    ----------
    asked
        What `address.restore` returned.
    is_complete
        See `address.write`.
    """
    if asked and (history.current is None or _id_of(data.key, history.current) != asked):
        history = _select(data, history, lambda: find_rule(data.key, asked))
    elif asked == "" and history.current is not None:
        selections.save(data.key, history.select(None))
        history = selections.load(data.key)
    rule = history.current
    address.write(data, None if rule is None else _id_of(data.key, rule), is_complete=is_complete)
    _show_notes(data, rule)
    return history


def link(view: View) -> str:
    """The address of this view, whole: dataset, result, maps, colours, panel and selection."""
    given = {name: st.query_params.get_all(name) for name in st.query_params}
    if address.VIEW in given:  # it says all that single parts of a link said
        given = {
            name: value for name, value in given.items() if not name.startswith("x_") or name[2:] not in address.FIELDS
        }
        given.pop(address.SELECTION, None)
    given |= {name: [value] for name, value in state.address().items()}
    return f"{st.context.url or ''}?{urlencode(sorted(given.items()), doseq=True)}"


def save_rule(key: str, rule: Rule) -> str:
    """Keep a rule in the workspace, so that its id in an address finds it again; returns the id."""
    name = rule_id(rule)
    path = _rules_folder(key) / f"{name}.json"
    if not path.exists():
        write_json(path, to_json(rule))
        kept = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for oldest in kept[:-_MOST_RULES]:
            oldest.unlink(missing_ok=True)
    return name


def find_rule(key: str, name: str) -> Rule:
    """The rule behind an id.

    Raises
    ------
    OptionError
        There is none, or its file is damaged.
    """
    content = None
    if _RULE_ID.fullmatch(name):
        try:
            content = read_json(_rules_folder(key) / f"{name}.json")
        except ValueError:  # half a disk, half a file: as good as none
            content = None
    if content is None:
        raise OptionError(
            "The selection of this link is not known on this server.",
            "A link finds a selection that was made here, on the same dataset.",
            "Ask for a session file instead: it holds the selection itself.",
        )
    return from_json(content)


def _id_of(key: str, rule: Rule) -> str:
    """The id of the current rule; worked out once for each, because a rule may be a long list."""
    seen = st.session_state.setdefault(f"scfviz.link.{key}", {})
    for name, known in seen.items():
        if known is rule:
            return name
    name = save_rule(key, rule)
    seen[name] = rule
    return name


def _select(data: Explored, history: SelectionHistory, find: Callable[[], Rule]) -> SelectionHistory:
    try:
        rule = find()
        data.mask(rule)  # a map may be missing here: then a selection from elsewhere must not close the page
    except ScfvizError as error:
        _note(data, f"{error.found} {error.advice}".strip())
        return history
    selections.save(data.key, history.select(rule))
    return selections.load(data.key)


def _note(data: Explored, text: str) -> None:
    st.session_state.setdefault(f"{_NOTES}.{data.dataset}", []).append(text)


def _show_notes(data: Explored, rule: Rule | None) -> None:
    """What could not be restored; shown until the visitor selects something else."""
    key = f"{_NOTES}.{data.dataset}"
    texts = st.session_state.get(key)
    if not texts:
        return
    if st.session_state.setdefault(f"{key}.rule", rule) is not rule:
        del st.session_state[key], st.session_state[f"{key}.rule"]
        return
    st.info("\n\n".join(map(plain, texts)), icon=":material/link_off:")


def _rules_folder(key: str) -> Path:
    folder = Workspace().root / "selections" / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


# --- the session file -------------------------------------------------------------------------------------------------


def save(view: View, comparison: JobStatus | None) -> SavedSession:
    """The session of this view, without the labels: see `with_labels`."""
    from scfviz.data.source import take_fingerprint

    data = view.data
    return SavedSession(
        dataset=data.dataset,
        title=view.source.title,
        n_obs=data.context.n_obs,
        size=take_fingerprint(view.source.path).size,
        view=address.collect(data),
        filters=state.filters(),
        gene_column=state.gene_column(),
        embedding=_embedding_of(view.embed_job),
        tasks=dict(map(_task_of, map(job_panel.status_of, view.task_jobs))),
        selections=view.history,
        comparison=None if comparison is None else {name: comparison.options.get(name) for name in COMPARISON},
        panels={name: choices for name in _PANELS if (choices := shown.recall(data, name)) is not None},
    )


def with_labels(saved: SavedSession, key: str) -> SavedSession:
    """The same session with all user-defined labels kept under a key, which can be many numbers."""
    found = list_labels(Workspace(), key).values()
    return replace(saved, labels=[{"name": e.name, "labels": list(e.labels), "codes": e.codes} for e in found])


def show_open(source: sources.Source | None, dataset: str | None) -> None:
    """Ask for a session file, say what it holds, and restore it.

    Parameters
    ----------
    source, dataset
        What is open now, and the identity of its content; `None` where nothing is.
    """
    number = st.session_state.get(f"{_PENDING}.n", 0)
    file = st.file_uploader("Open a session file", type="json", key=f"session-{number}", max_upload_size=50)
    if file is None:
        return
    saved = read_session(file.getvalue())
    when = f", saved {plain(saved.saved_at.replace('T', ' at ')[:19])} UTC" if saved.saved_at else ""
    holds = [plural(len(saved.selections.named), "named selection")]
    if saved.labels:
        holds.append(f"labels: {', '.join(plain(shorten(entry['name'], 40)) for entry in saved.labels)}")
    st.markdown(f"**{plain(saved.title)}**, {plural(saved.n_obs, 'cell')}{when}: {'; '.join(holds)}.")
    target = source
    if saved.dataset != dataset:
        found = sources.find_content(saved.dataset, saved.size, saved.title, state.visitor())
        if found is None:
            raise OptionError(
                f"The session belongs to '{saved.title}' ({saved.n_obs:,} cells, content {saved.dataset}), which is "
                "not among the datasets that you can open here.",
                "A session can be restored where a dataset with the same content is.",
                "Copy the file to this server or upload it, then open the session again.",
            )
        target = sources.resolve(found)
        st.caption(f"It belongs to another dataset than the one that is open; {plain(target.title)} will be opened.")
    missing = _missing_results(saved, target)
    if missing:
        st.warning(plain(missing), icon=":material/scatter_plot:")
    with st.container(horizontal=True):
        if st.button("Restore this view", type="primary", icon=":material/restore:", key="restore-session"):
            _begin(saved, target)
        if missing and _can_compute(saved) and st.button("Compute what is missing first", key="compute-session"):
            _begin(saved, target, compute=True)


def apply_pending(
    source: sources.Source, data: Explored, embed_job: str | None, store: str | None, task_jobs: tuple[str, ...] = ()
) -> None:
    """Apply what `show_open` restored, before the controls of the explorer are drawn."""
    saved = st.session_state.get(_PENDING)
    if saved is None or saved.dataset != data.dataset:
        return
    del st.session_state[_PENDING]
    choices = {"gene": data.genes, "genes": data.genes, "set_source": gene_sets.sources_here(), **address.options(data)}
    for name, value in saved.view.items():
        known = choices.get(name)
        kept = [part for part in value if part in known] if isinstance(value, list) else value
        if kept and (known is None or isinstance(kept, list) or kept in known):
            st.session_state[f"x_{name}"] = kept
        if value and kept != value or (known is not None and isinstance(kept, str) and kept not in known):
            _note(data, f"The session's choice '{name}' holds something that is not here and was left out.")
    selections.save(data.key, merge_named(selections.load(data.key), saved.selections))
    rule = saved.selections.current
    if rule is not None:
        _select(data, selections.load(data.key), lambda: rule)
    for name, choices in saved.panels.items():
        if not _PANELS[name].restore(data, choices):
            _note(
                data,
                f"What the session shows under '{address.PANELS[name]}' is not all here; what is missing was left out.",
            )
    _compare_counts(data, saved)
    if saved.comparison is not None:
        jobs = {"embed_job": embed_job, "task_jobs": list(task_jobs), "gene_store": store}
        _ask_comparison(saved.comparison, source, data, jobs)


def _begin(saved: SavedSession, target: sources.Source, *, compute: bool = False) -> None:
    if state.dataset() != target.ref:
        state.choose_dataset(target.ref)
    state.choose_gene_column(saved.gene_column)
    state.choose_filters(saved.filters)
    if (model := _model_of(saved)) is not None:
        state.choose_model(model)
    if saved.embedding is not None:
        done = _job_of(saved)
        if done is not None:
            state.choose_job(done.id)
        elif compute:
            request.start(embedding.TASK, target, **saved.embedding["options"])
    for name, entry in saved.tasks.items():
        if (found := _task_job(name, entry, target)) is not None:
            state.choose_job(found.id, name)
        elif compute and name in TASKS and entry["options"] is not None:
            request.start(TASKS[name], target, **_own_options(name, entry["options"]))
    if not compute:
        _restore_labels(saved, access.content_key(Workspace(), target.path))
        st.session_state[_PENDING] = saved
        st.session_state[f"{_PENDING}.n"] = st.session_state.get(f"{_PENDING}.n", 0) + 1
    routes.go("cell_embedding" if compute and saved.embedding is not None else "explorer")


def _restore_labels(saved: SavedSession, key: str) -> None:
    """Keep the session's labels here; those that are here already, cell for cell, are not kept twice."""
    workspace = Workspace()
    known = list_labels(workspace, key)
    digests = {labels_digest(labels) for labels in known.values()}
    for entry in saved.labels:
        labels = Annotation(entry["name"], tuple(entry["labels"]), entry["codes"], origin="a session file")
        if labels_digest(labels) not in digests:
            name = free_column_name(workspace, key, labels.name, ())
            start_labels(workspace, key, replace(labels, name=name), ())


def _embedding_of(embed_job: str | None) -> dict[str, Any] | None:
    if embed_job is None:
        return None
    job = job_panel.status_of(embed_job)
    report = read_json(result_dir(Workspace(), embed_job) / "report.json") or {}
    options = {name: job.options[name] for name in EMBEDDING if job.options.get(name) is not None}
    return {"job": job.id, "options": options, "checkpoint": {k: report["checkpoint"][k] for k in ("name", "hash")}}


def _job_of(saved: SavedSession) -> JobStatus | None:
    """The finished computation of the session's maps, where this server has it."""
    if saved.embedding is None:
        return None
    done = [job for job in job_panel.visible_jobs() if job.state == "done"]
    same = (job for job in done if job.id == saved.embedding["job"] or _is_same(job, saved))
    return next(same, None)


def _is_same(job: JobStatus, saved: SavedSession) -> bool:
    """Whether a computation is the session's under another id: that on an upload has one of its owner's own."""
    about, options = saved.embedding or {}, job.options
    wanted = dict.fromkeys(EMBEDDING) | about["options"]
    return (
        job.kind == "embedding"
        and (job.identity.get("dataset"), job.identity.get("checkpoint"))
        == (saved.dataset, about["checkpoint"]["hash"])
        and all(options.get(name) == value for name, value in wanted.items())
        and (options.get("filters") or {}, options.get("gene_column")) == (saved.filters, saved.gene_column)
    )


def _own_options(task: str, options: dict[str, Any]) -> dict[str, Any]:
    """Of a session's options those that a session may hold: anybody can write a file that names other data."""
    mine = {field.name for field in fields_of(TASKS[task].options_type) if field.metadata["kind"] not in _NOT_ALONG}
    return {name: value for name, value in options.items() if name in mine}


def _task_of(job: JobStatus) -> tuple[str, dict[str, Any]]:
    """A finished task as a session holds it: files beside the dataset itself cannot go along."""
    chosen, needs_files = {}, False
    for field in fields_of(TASKS[job.kind].options_type):
        value = job.options.get(field.name)
        if field.metadata["kind"] == "dataset":
            needs_files |= field.name != "dataset" and value is not None
        elif field.metadata["kind"] not in _NOT_ALONG and value is not None:
            chosen[field.name] = value
    checkpoint = load_result(job.id).report["checkpoint"]
    kept = None if checkpoint is None else {name: checkpoint[name] for name in ("name", "hash")}
    return job.kind, {"job": job.id, "options": None if needs_files else chosen, "checkpoint": kept}


def _task_job(name: str, entry: dict[str, Any], target: sources.Source) -> JobStatus | None:
    """The finished computation of a session's task: the same one, or one on the same content with the same options."""
    same = {"dataset": str(target.path.resolve()), **(entry["options"] or {})}
    done = [job for job in job_panel.visible_jobs() if job.state == "done" and job.kind == name and name in TASKS]
    by_id = next((job for job in done if job.id == entry["job"]), None)
    if by_id is not None or entry["options"] is None:
        return by_id
    found = job_panel.newest(name, same)
    return found if found is not None and found.state == "done" and name in TASKS else None


def _missing_results(saved: SavedSession, target: sources.Source) -> str:
    """What of the session is not computed here, in sentences."""
    missing = [name for name, entry in saved.tasks.items() if _task_job(name, entry, target) is None]
    titles = [TASKS[name].title if name in TASKS else f"{name} (not known here)" for name in missing]
    texts = [_missing_maps(saved)]
    if titles:
        texts.append(f"Not computed here yet: {', '.join(titles)}; without it, its columns are left out.")
    return " ".join(text for text in texts if text)


def _can_compute(saved: SavedSession) -> bool:
    """Whether the models and options that the missing results need are here."""
    needs_model = saved.embedding is not None or any(entry["checkpoint"] for entry in saved.tasks.values())
    return not needs_model or _model_of(saved) is not None


def _model_of(saved: SavedSession) -> str | None:
    checkpoints = [entry["checkpoint"] for entry in (saved.embedding, *saved.tasks.values()) if entry]
    wanted = next((checkpoint["hash"] for checkpoint in checkpoints if checkpoint), None)
    for ref in models.references():
        try:
            if models.info_of(ref).hash == wanted:
                return ref
        except ScfvizError:  # a broken checkpoint beside the right one
            continue
    return None


def _missing_maps(saved: SavedSession) -> str:
    if saved.embedding is None or _job_of(saved) is not None:
        return ""
    model = saved.embedding["checkpoint"]
    if _model_of(saved) is None:
        return (
            f"The maps of this session were made with the model '{model['name']}' (content {model['hash']}), which is "
            "not on this server. Import it on the Model page; without it, selections on these maps are left out."
        )
    return "The maps of this session are not computed here yet; without them, selections on these maps are left out."


def _compare_counts(data: Explored, saved: SavedSession) -> None:
    """Say which selections hold other cells here than where they were saved: maps differ between computers."""
    differ = []
    for kept in saved.selections.named:
        try:
            n_cells = int(data.mask(kept.rule).sum())
        except ScfvizError:
            differ.append(f"'{kept.name}' cannot be evaluated here")
            continue
        if n_cells != kept.n_cells:
            differ.append(f"'{kept.name}' holds {n_cells:,} cells here, {kept.n_cells:,} where it was made")
    if differ:
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        _note(data, f"Selections that differ: {'; '.join(differ[:5])}{more}.")


def _ask_comparison(saved: dict[str, Any], source: sources.Source, data: Explored, jobs: dict[str, Any]) -> None:
    """Ask for the session's comparison; where it was computed before, its result is found again."""
    options = {name: saved[name] for name in COMPARISON if saved[name] is not None}
    rules = [from_json(saved[side]) for side in ("group", "reference") if saved[side] is not None]
    options |= {"dataset": str(source.path.resolve()), **jobs}
    options["task_jobs"] = jobs_used(jobs["task_jobs"], rules)
    try:
        job_id = job_panel.ask("differential_expression", options | {"gene_column": state.gene_column()})
    except ScfvizError as error:
        _note(data, f"The session's comparison was left out: {error.found}")
        return
    st.session_state[f"scfviz.comparison.{data.dataset}"] = job_id
