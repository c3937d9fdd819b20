"""The job `adapt`: a checkpoint goes on with pretraining on a dataset, and is compared with what it was.

Result files: `report.json` (`verdict`, see `scfviz.training.judge`; `types`, see
`scfviz.benchmark.adapted`; `corpus`), `log.csv`, the folder `checkpoint/` and, with a rank, `adapter.safetensors`.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.errors import DatasetError, OptionError, Stopped
from scfviz.jobs.options import Report, ShouldStop, checkpoint_job, fill_options, named_data
from scfviz.jobs.workspace import Workspace, write_json

if TYPE_CHECKING:
    import numpy as np

    from scfviz.data.corpus_reader import Corpus
    from scfviz.training.judge import Verdict

TITLE = "Adapting the model"
VERSION = 1
BATCH, VALIDATE_EVERY, VALIDATION_CELLS = 16, 25, 48
MOST_STEPS, MOST_RANK = 5_000, 64
DEFAULTS: dict[str, Any] = {
    "dataset": None,
    "checkpoint": None,
    "rank": 8,
    "steps": 200,
    "hold_out_by": None,
    "label": None,
    "name": None,
}


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options.

    `dataset` is a path, `checkpoint` a folder (the default one when left out), `rank` that of low-rank adapters (None:
    all weights), `steps` of 16 cells each, `hold_out_by` a column of the cells (None: single cells), `label` one
    of cell types, on which it is compared as well, `name` what the result is called.
    """
    from scfviz.data.source import dataset_id
    from scfviz.model.checkpoint import checkpoint_info, default_checkpoint

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "The model learns from its cells.", "Choose a dataset.")
    for name, most in (("rank", MOST_RANK), ("steps", MOST_STEPS)):
        value = options[name]
        if (value is not None or name == "steps") and not (type(value) is int and 1 <= value <= most):
            raise OptionError(f"The option {name} is {value}.", f"It must be from 1 to {most:,}.", "Often 8 and 200.")
    path = Path(options["dataset"]).expanduser().resolve()
    folder = Path(options["checkpoint"] or default_checkpoint()).expanduser().resolve()
    info = checkpoint_info(folder)
    options |= {"dataset": str(path), "checkpoint": str(folder)}
    options["name"] = " ".join(str(options["name"] or f"{info.name}, adapted to {path.stem}").split())[:80]
    identity = {name: options[name] for name in ("rank", "steps", "hold_out_by", "label")}
    return options, identity | {"dataset": dataset_id(path), "checkpoint": info.hash, "version": VERSION}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset, and the job that made the checkpoint: what is learned from cells is as private as they are."""
    return (*named_data(options, "dataset"), *checkpoint_job(options))


def ask_to_finish(folder: Path) -> None:
    """Let a running job take what it has learned so far for its result."""
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "finish").touch()


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Train, compare, and keep the best; a run that was interrupted goes on to the same weights."""
    report(0.0, "Reading the dataset")
    workspace = Workspace(folder.parents[1])
    types = _types(options, workspace)
    import torch

    from scfviz.data.corpus_reader import Corpus
    from scfviz.model.prepared import choose_precision
    from scfviz.training.adapt import CORPUS, adapt, judge_adapted
    from scfviz.training.adapters import ADAPTER
    from scfviz.training.options import BatchOptions, TrainingOptions
    from scfviz.training.pretrain import CHECKPOINT, PretrainOptions
    from scfviz.training.state import LOG, STATE

    work, result = folder / "work" / "run", folder / "result.partial"
    work.mkdir(parents=True, exist_ok=True)
    finish = folder / "work" / "finish"
    training = TrainingOptions(
        steps=options["steps"],
        learning_rate=1e-3 if options["rank"] else 2e-4,
        warm_up=min(20, options["steps"]),
        cool_down=options["steps"] // 4,
        average=0.95,
        precision=choose_precision("auto", torch.device("cpu")),
        log_every=5,
        validate_every=VALIDATE_EVERY,
        save_every=10,
        patience=4,
    )

    def progress(done: int, total: int, loss: float) -> None:
        report(0.05 + 0.85 * done / total, f"Learning: step {done:,} of {total:,}, error {loss:.3f}")

    adapt(
        [options["dataset"]],
        work,
        PretrainOptions(
            training=training,
            batches=BatchOptions(batch_size=BATCH),
            name=options["name"],
            validation_cells=VALIDATION_CELLS,
        ),
        checkpoint=options["checkpoint"],
        rank=options["rank"],
        hold_out_by=options["hold_out_by"],
        resume=(work / STATE).is_file(),
        progress=progress,
        should_stop=lambda: should_stop() or finish.exists(),
    )
    if should_stop():
        raise Stopped
    report(0.92, "Comparing it with the model as it was")
    verdict = judge_adapted(work, workspace.datasets, checkpoint=options["checkpoint"], should_stop=should_stop)
    if should_stop():
        raise Stopped
    corpus = Corpus(work / CORPUS)
    source, found = corpus.sources[0], None
    if types is not None:
        report(0.96, "Telling cell types apart")
        verdict, found = _compare_types(verdict, corpus, types, options, work / CHECKPOINT, should_stop)
    about = {
        "types": found,
        "verdict": verdict.as_dict(),
        "corpus": {
            "n_train": corpus.n_cells("train"),
            "n_held_out": corpus.n_cells("held-out cells"),
            "held_out_values": source["held_out_values"],
            "dropped": source["dropped"],
        },
        "name": options["name"],
    }
    shutil.copytree(work / CHECKPOINT, result / CHECKPOINT)
    for name in (LOG, ADAPTER):
        if (work / name).is_file():
            shutil.copy(work / name, result / name)
    write_json(result / "report.json", about)


def _types(options: dict[str, Any], workspace: Workspace) -> "np.ndarray | None":
    """The type of each cell of the file, None where it has none."""
    from scfviz.jobs.context import open_file

    if options["label"] is None:
        return None
    obs = open_file(options["dataset"], workspace, None).counts.obs
    if options["label"] not in obs:
        raise OptionError(
            f"The cells have no column '{options['label']}'.",
            "One of cell types is needed.",
            "Choose another, or none.",
        )
    column = obs[options["label"]]
    return column.astype(object).where(column.notna(), None).to_numpy()


def _compare_types(
    verdict: "Verdict",
    corpus: "Corpus",
    types: "np.ndarray",
    options: dict[str, Any],
    adapted: Path,
    should_stop: ShouldStop,
) -> "tuple[Verdict, dict[str, Any]]":
    """What cell types say; a model that certainly tells them apart less well is not kept."""
    from scfviz.benchmark.adapted import AFTER, BEFORE, score_types
    from scfviz.benchmark.representation import PROBES
    from scfviz.model.checkpoint import load_checkpoint

    models = {BEFORE: load_checkpoint(options["checkpoint"]), AFTER: load_checkpoint(adapted)}
    try:
        found = score_types(corpus, types, models, should_stop=should_stop)
    except DatasetError as error:
        return verdict, {"error": str(error)}
    worse = [metric for metric in PROBES if found["gains"][metric][BEFORE][2] < 0]
    if worse:
        reason = f"Cell types of held-out cells are told apart less well than before, for certain. {verdict.reason}"
        verdict = replace(verdict, keep=False, reason=reason)
    return verdict, found | {"column": options["label"]}
