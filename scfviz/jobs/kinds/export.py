"""The job `export`: a dataset, or the selected cells of it, as one .h5ad that scanpy and cellxgene open.

What is known of the cells goes with them: labels, named selections, clusters, the model's embedding, its maps, the
colours on screen, and in `uns["scfviz"]` how all of it was made. Result files: `NAME.h5ad`, `report.json`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import JobError, OptionError, ScfvizError, Stopped
from scfviz.jobs.options import Report, ShouldStop, check_job_ids, fill_options, named_data
from scfviz.jobs.workspace import Workspace, read_json, write_json
from scfviz.tasks.additions import additions
from scfviz.tasks.names import describe as describe_rule
from scfviz.tasks.names import inherited_key, public_rule
from scfviz.tasks.registry import get_task, written
from scfviz.tasks.result import Result, read_result

if TYPE_CHECKING:
    from anndata import AnnData

    from scfviz.analysis.labels.labels import Annotation
    from scfviz.analysis.selection.rules import Rule, SelectionContext

TITLE = "Export"
VERSION = 3  # part of the identity: raise it when the same options give other results
DEFAULTS: dict[str, Any] = {
    "dataset": None,
    "title": "",
    "ref": "",
    "name": "cells",
    "rule": None,
    "selections": [],
    "colors": None,
    "embed_job": None,
    "task_jobs": [],
    "gene_column": None,
    "gene_store": None,
}
MAX_ANCESTORS = 50


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options of an export; see `DEFAULTS` for their names.

    `dataset` is a path; `title` and `ref` say what it is called here. `rule` chooses cells, as `to_json` of
    `analysis.selection.rules` writes it (none: all cells); `selections` holds name and rule of each named selection;
    `colors` the colour of each group by column. `embed_job` is the id of an embedding whose results go along; cells
    that it filtered out are not in a selection. `task_jobs` are the ids of other finished tasks, likewise.
    """
    from scfviz.analysis.selection.rules import from_json, to_json
    from scfviz.data.source import dataset_id
    from scfviz.jobs.access import content_key
    from scfviz.jobs.labels import labels_version

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "Cells are needed.", "Choose a dataset.")
    check_job_ids(options)
    if options["rule"] is not None:
        options["rule"] = to_json(from_json(options["rule"]))
    for kept in options["selections"]:
        kept["rule"] = to_json(from_json(kept["rule"]))
    options["name"] = file_name(options["name"])
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    dataset = dataset_id(options["dataset"])
    identity = {name: value for name, value in options.items() if name != "gene_store"}
    labels = labels_version(workspace, content_key(workspace, options["dataset"]))
    about = {"dataset": dataset, "labels": labels, "version": VERSION}
    return options, identity | about


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset, its counts by genes, and the embedding."""
    return named_data(options, "dataset", "gene_store", jobs=("embed_job", "task_jobs"))


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Write the file; see the module's text for the result files."""
    path = folder / "result.partial" / f"{options['name']}.h5ad"
    about = write_dataset(folder, options, path, report, should_stop)
    write_json(folder / "result.partial" / "report.json", about)


def write_dataset(
    folder: Path, options: dict[str, Any], path: Path, report: Report, should_stop: ShouldStop, *, inherit: bool = False
) -> dict[str, Any]:
    """Write the cells that a job asks for to a new file, and say what is in it.

    Parameters
    ----------
    folder
        Of the job.
    inherit
        Whether the file is a dataset to go on with: results go along as those of its parent, named selections stay
        behind. Else both go along under their own names. Labels always do.
    """
    from scfviz.analysis.selection.rules import evaluate, from_json
    from scfviz.data.disk import refuse_small_disk
    from scfviz.data.read import read_dataset
    from scfviz.data.source import dataset_id, take_fingerprint
    from scfviz.jobs.access import content_key
    from scfviz.jobs.context import open_expression, open_file, read_context, result_folders
    from scfviz.jobs.labels import labels_version, list_labels

    def progress(part: float) -> None:
        if should_stop():
            raise Stopped
        report(0.1 + 0.85 * part, "Writing the cells")

    workspace = Workspace(folder.parents[1])
    report(0.0, "Reading the dataset")
    identity = (read_json(folder / "job.json") or {})["identity"]
    dataset, key = dataset_id(options["dataset"]), content_key(workspace, options["dataset"])
    if (dataset, labels_version(workspace, key)) != (identity["dataset"], identity["labels"]):
        raise JobError(
            "The dataset or its labels have changed since this file was asked for.",
            "A file must belong to one content.",
            "Ask for it again; it will hold the content of now.",
        )
    adata = read_dataset(options["dataset"])
    rule = from_json(options["rule"]) if options["rule"] else None
    named = [(kept["name"], from_json(kept["rule"])) for kept in options["selections"] if not inherit]
    found = result_folders(workspace, [options["embed_job"], *options["task_jobs"]])
    cells = context = None
    if rule is not None or named:

        def expression():
            opened = open_file(options["dataset"], workspace, options["gene_column"], adata=adata)
            return open_expression(opened.counts, options["gene_store"])

        context, takes_part = read_context(adata, expression, found, workspace=workspace)
        cells = None if rule is None else np.flatnonzero(evaluate(rule, context) & takes_part)
    needed = 1.2 * take_fingerprint(Path(options["dataset"])).size  # the new file can become as large as the old one
    needed += sum(path.stat().st_size for one in found for path in (one / "arrays").rglob("*") if path.is_file())
    refuse_small_disk(path.parent, int(needed), "the new file")
    source = {"dataset": dataset, "title": options["title"], "ref": options["ref"], "embed_job": options["embed_job"]}
    write_file(
        adata,
        path,
        source,
        labels=list_labels(workspace, key),
        named=named,
        context=context,
        rule=rule,
        cells=cells,
        results=found,
        inherit=inherit,
        colors=options["colors"],
        progress=progress,
    )
    n_cells = adata.n_obs if cells is None else len(cells)
    return {"n_cells": n_cells, "n_obs": adata.n_obs, "file": path.name, "size": path.stat().st_size}


def write_file(
    adata: "AnnData",
    path: Path,
    source: Mapping[str, Any],
    *,
    labels: Mapping[str, "Annotation"],
    named: Sequence[tuple[str, Any]] = (),
    context: "SelectionContext | None" = None,
    rule: "Rule | None" = None,
    cells: np.ndarray | None = None,
    results: Sequence[Path] = (),
    inherit: bool = False,
    colors: Mapping[str, Mapping[str, str]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a dataset, or some cells of it, with everything that is known of them.

    Parameters
    ----------
    adata
        From `read_dataset`: what the file holds.
    source
        `dataset` (its identity), `title`, `ref`, `embed_job`.
    labels, named, context
        Columns of labels; (name, rule) of selections, and what they are evaluated on.
    rule, cells
        What chose the cells, and their positions; None for all.
    results
        Result folders of the tasks that go along.
    inherit
        Whether they are written as results of the parent, see `scfviz.tasks.names.inherited_key`.
    colors, progress
        As in `scfviz.data.write.write_h5ad_with`.
    """
    from scfviz.analysis.selection.rules import evaluate
    from scfviz.data.write import write_h5ad_with

    parts: dict[str, dict[str, Any]] = {"obs": {}, "obsm": {}, "layers": {}, "uns": {}}
    for folder in results:
        for part, values in result_parts(read_result(folder), adata.n_obs).items():
            parts[part] |= values
    if inherit:
        level = len(read_lineage(adata.uns)) + 1
        parts = {
            part: {inherited_key(key, level): value for key, value in values.items()} for part, values in parts.items()
        }
    parts["obs"] |= {name: annotation.column(range(adata.n_obs)).array for name, annotation in labels.items()}
    for name, kept in named:
        try:
            parts["obs"][f"selection: {name}"] = evaluate(kept, context)
        except ScfvizError:  # it speaks of a map or of labels that are not there now; its rule is written all the same
            continue
    lineage = None if rule is None else extend_lineage(read_lineage(adata.uns), source, rule, cells, adata.n_obs)
    about = provenance(source, labels, named, parts.pop("uns"), lineage)
    stored = {entry.name: entry.key for entry in written("obs") if entry.key and entry.name not in adata.obs}
    colors = {stored.get(column, column): of_group for column, of_group in (colors or {}).items()}
    write_h5ad_with(
        adata.uns["scfviz_source"]["path"],
        path,
        content=source["dataset"],
        cells=cells,
        **parts,
        uns={"scfviz": about},
        colors=colors,
        progress=progress,
    )


def result_parts(result: Result, n_obs: int) -> dict[str, dict[str, Any]]:
    """A task's result as additions to its file; see `scfviz.tasks.additions`."""
    return additions(get_task(result.report["task"]), result, n_obs)


def provenance(
    source: Mapping[str, Any],
    labels: Mapping[str, "Annotation"],
    named: Sequence[tuple[str, Any]],
    about: Mapping[str, Any],
    lineage: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """What goes into `uns["scfviz"]`, as texts of JSON: how everything in the file was made."""
    from scfviz.analysis.selection.rules import to_json

    found = dict(about)
    found["export"] = json.dumps({**source, "at": _now(), "versions": versions()})
    if named:
        rules = [
            {"name": name, "words": describe_rule(rule), "rule": to_json(public_rule(rule))} for name, rule in named
        ]
        found["selections"] = json.dumps(rules)
    if labels:
        told = {name: {"origin": a.origin, "history": a.history()} for name, a in labels.items()}
        found["labels"] = json.dumps(told)
    if lineage is not None:
        found["lineage"] = json.dumps(lineage)
    return found


def read_lineage(uns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where the cells of a file came from, as `uns["scfviz"]` says: the first dataset first; empty when it is none.

    Anyone may have written the file: texts are cut, and whatever is not as it should be is no lineage.
    """
    ours = uns.get("scfviz")
    text = ours.get("lineage") if isinstance(ours, Mapping) else None
    try:
        entries = json.loads(str(text)) if text is not None else []
        return [
            {name: str(entry[name])[:500] for name in ("dataset", "title", "ref", "words", "at", "version")}
            | {"n_cells": int(entry["n_cells"]), "n_obs": int(entry["n_obs"])}
            | {name: entry.get(name) for name in ("rule", "embed_job")}
            for entry in entries[-MAX_ANCESTORS:]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def extend_lineage(
    lineage: list[dict[str, Any]], source: Mapping[str, Any], rule: "Rule", cells: np.ndarray, n_obs: int
) -> list[dict[str, Any]]:
    """The lineage of some cells of a dataset whose own lineage is known."""
    import scfviz
    from scfviz.analysis.selection.rules import to_json

    step = {"rule": to_json(rule), "words": describe_rule(rule), "n_cells": len(cells), "n_obs": n_obs}
    return [*lineage, {**source, **step, "at": _now(), "version": scfviz.__version__}][-MAX_ANCESTORS:]


def versions() -> dict[str, str]:
    """Versions of what made a file."""
    import platform
    from importlib.metadata import version

    import scfviz

    found = {name: version(name) for name in ("anndata", "numpy", "pandas", "scipy", "h5py")}
    return {"scfviz": scfviz.__version__, "python": platform.python_version(), **found}


def file_name(text: str) -> str:
    """A name of a file from a text that anyone may have written."""
    return re.sub(r"([^\w.\-+ ]|_)+", "_", " ".join(str(text).split())).strip("._ ")[:80] or "cells"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
