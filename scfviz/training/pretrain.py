"""`scfviz pretrain`: from a corpus to a checkpoint folder."""

import importlib.util
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scfviz.data.corpus_reader import Corpus, Split
from scfviz.errors import OptionError
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint, save_checkpoint
from scfviz.model.config import ModelConfig
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.batches import TrainingBatch, TrainingParts, held_out_cells
from scfviz.training.card import write_card
from scfviz.training.initialise import (
    GeneMeans,
    gene_means,
    initialise_from_data,
    prepare_layers,
    sample_cells,
    trained_depths,
)
from scfviz.training.objective import Objective
from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
from scfviz.training.run import Progress, ShouldStop, run_training
from scfviz.training.state import STATE, TrainingLog
from scfviz.training.trainer import Ranks, Strategy, Trainer

CHECKPOINT = "checkpoint"
DEPTH_CELLS = 5_000  # for the range of read depths
STATISTICS_CELLS = 20_000  # for gene means and for the start of the gene table


@dataclass(frozen=True)
class PretrainOptions:
    """One run, whole.

    Attributes
    ----------
    name
        Name of the checkpoint.
    start_from
        Checkpoint folder whose weights the run begins with; a new model when `None`.
    start_from_data
        Start a new model from the corpus (see `initialise_from_data` and `prepare_layers`).
    validation_cells
        Cells of each held-out split that are scored.
    """

    training: TrainingOptions
    masking: MaskingOptions = field(default_factory=MaskingOptions)
    batches: BatchOptions = field(default_factory=BatchOptions)
    name: str = "scfviz pretraining"
    start_from: Path | None = None
    start_from_data: bool = True
    validation_cells: int = 64
    device: str = "cpu"
    strategy: Strategy = "ddp"
    n_workers: int = 0
    tensorboard: bool = False


def pretrain(
    corpus_folder: Path | str,
    out: Path | str,
    config: ModelConfig,
    options: PretrainOptions,
    *,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    prepare: Callable[[ScFoundation], ScFoundation] | None = None,
    finish: Callable[[ScFoundation], ScFoundation] | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Path:
    """Train a model on a corpus.

    Parameters
    ----------
    corpus_folder
        A corpus that `build_corpus` wrote.
    out
        Receives `state.pt`, `log.csv` and, in `checkpoint/`, the checkpoint folder.
    config
        Sizes of a new model; `n_genes` is taken from the corpus. Ignored with `start_from`.
    resume
        Go on where an earlier run in `out` stopped.
    report
        Called with lines of text.
    prepare, finish
        Change the model before training, and the trained one before it is exported (low-rank adapters).
    progress, should_stop
        See `run_training`: called with (steps done, steps of the run, loss); asked between steps, leaves a run that
        `resume` goes on with.

    Returns
    -------
    Path
        The checkpoint folder.

    Raises
    ------
    OptionError
        Options disagree with each other, with the corpus, or with the run to resume.
    JobError
        The loss is no longer finite.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    out = Path(out)
    corpus = Corpus(corpus_folder)
    ranks = Ranks.from_environment(options.device)
    say = report if report is not None and ranks.rank == 0 else (lambda line: None)
    _check(options, ranks, out, resume)
    out.mkdir(parents=True, exist_ok=True)

    values, sources = sample_cells(corpus, STATISTICS_CELLS)
    means = gene_means(corpus, values, sources, options.masking)
    torch.manual_seed(options.training.seed)
    licence = "Apache-2.0"
    if options.start_from is not None:
        model = load_checkpoint(options.start_from, with_cell_space=False).train()
        licence = checkpoint_info(options.start_from).licence
        if model.genes != corpus.genes:
            raise OptionError(
                f"The checkpoint '{options.start_from}' and the corpus have different genes.",
                "Both must have the same genes in the same order.",
                "Build the corpus with this version of scfviz, from the dataset files.",
            )
    else:
        model = ScFoundation(ModelConfig.from_dict({**config.as_dict(), "n_genes": len(corpus.genes)}), corpus.genes)
        if options.start_from_data and not resume:
            initialise_from_data(model, values, means, options.training.seed)
            whole = replace(options.batches, accumulate=1)  # the same start, however steps are cut
            prepare_layers(model, TrainingParts(corpus, options.masking, whole, options.training.seed)[0])
    del values
    if prepare is not None:
        model = prepare(model)
    validation = {
        split: held_out_cells(
            corpus, split, options.validation_cells, options.masking, options.batches, options.training.seed
        )
        for split in ("held-out cells", "held-out datasets")
    }
    objective = Objective(model, recompute_layers=options.training.recompute_layers)
    trainer = Trainer(objective, options.training, ranks, options.strategy)
    parts = TrainingParts(corpus, options.masking, options.batches, options.training.seed, ranks.rank, ranks.n_ranks)
    say(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {corpus.n_cells('train'):,} cells for training, "
        f"{corpus.n_cells('held-out cells'):,} held-out cells, {corpus.n_cells('held-out datasets'):,} cells of "
        f"held-out datasets"
    )

    def validate(trained: Trainer) -> dict[str, float]:
        return _scores(trained, validation, means, corpus)

    def export(trained: Trainer, log: TrainingLog | None) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights = get_model_state_dict(
            trained.objective.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
        if log is None:
            return
        exported = _rebuild(model, weights, prepare, finish)
        training = _describe(trained, corpus, options, log, ranks)
        save_checkpoint(
            exported,
            out / CHECKPOINT,
            name=options.name,
            licence=licence,
            readme=write_card(options.name, exported.config, training, corpus.manifest, licence),
            training=training,
        )
        log.copy_to(out / CHECKPOINT)

    writer = _open_tensorboard(out) if options.tensorboard and ranks.rank == 0 else None
    identity = {
        "model": model.config.as_dict(),
        "corpus": corpus.fingerprint,
        "masking": asdict(options.masking),
        "batches": {k: v for k, v in asdict(options.batches).items() if k != "accumulate"},
        "seed": options.training.seed,
        "precision": options.training.precision,
    }
    run_training(
        trainer,
        parts,
        out,
        resume=resume,
        identity=identity,
        validate=validate,
        export=export,
        say=say,
        n_workers=options.n_workers,
        tensorboard=writer,
        progress=progress,
        should_stop=should_stop,
    )
    if writer is not None:
        writer.close()
    ranks.leave()
    return out / CHECKPOINT


def _check(options: PretrainOptions, ranks: Ranks, out: Path, resume: bool) -> None:
    parts = ranks.n_ranks * options.batches.accumulate
    if options.batches.batch_size % parts:
        raise OptionError(
            f"The batch of {options.batches.batch_size} cells does not divide into {ranks.n_ranks} ranks with "
            f"{options.batches.accumulate} parts each.",
            f"It must be a multiple of {parts}.",
            f"For example {-(-options.batches.batch_size // parts) * parts}.",
        )
    if not resume and (out / STATE).is_file():
        raise OptionError(
            f"'{out}' already holds a run.", "Two runs cannot share a folder.", "Add --resume, or give another --out."
        )
    if options.device == "cuda" and not torch.cuda.is_available():
        raise OptionError("There is no CUDA device.", "Training on a GPU needs one.", "Use --device cpu.")


def _scores(
    trainer: Trainer, validation: dict[Split, list[TrainingBatch]], means: GeneMeans, corpus: Corpus
) -> dict[str, float]:
    """Errors of the model and of a constant per gene, on the same entries."""
    row: dict[str, float] = {}
    cells, datasets = validation["held-out cells"], validation["held-out datasets"]
    if cells:
        row["validation"], row["validation_expressed"], row["validation_zero"] = trainer.evaluate(cells)
        row["baseline_expressed"], _ = _constant_errors(cells, means.plain)
        row["baseline_expressed_masked"], row["baseline_zero"] = _constant_errors(cells, means.masked)
    if datasets:
        _all, row["datasets_expressed"], row["datasets_zero"] = trainer.evaluate(datasets)
        row["datasets_baseline_expressed"], _ = _constant_errors(datasets, means.plain)
        row["datasets_baseline_expressed_masked"], row["datasets_baseline_zero"] = _constant_errors(
            datasets, means.masked
        )
    return row


def _constant_errors(batches: list[TrainingBatch], prediction: np.ndarray) -> tuple[float, float]:
    sums, counts = np.zeros(2), np.zeros(2)
    for batch in batches:
        genes = batch.ids_BR.flatten()[batch.loss_rows].numpy()
        errors = (prediction[genes] - batch.targets.numpy()) ** 2
        expressed = batch.is_expressed.numpy()
        sums += [errors[expressed].sum(), errors[~expressed].sum()]
        counts += [expressed.sum(), (~expressed).sum()]
    return tuple(float(x) for x in sums / np.maximum(counts, 1))


def _rebuild(
    model: ScFoundation,
    weights: dict[str, torch.Tensor],
    prepare: Callable[[ScFoundation], ScFoundation] | None,
    finish: Callable[[ScFoundation], ScFoundation] | None,
) -> ScFoundation:
    """A whole model on the CPU from gathered weights; the training one may be spread over ranks."""
    exported = ScFoundation(model.config, model.genes)
    if prepare is not None:
        exported = prepare(exported)
    exported.load_state_dict(weights)
    return finish(exported) if finish is not None else exported


def _describe(
    trainer: Trainer, corpus: Corpus, options: PretrainOptions, log: TrainingLog, ranks: Ranks
) -> dict[str, Any]:
    """The `training` part of the checkpoint's configuration."""
    scored = [row for row in log.rows if row.get("validation_expressed") not in ("", None)]
    names = (
        "step",
        "validation_expressed",
        "baseline_expressed",
        "baseline_expressed_masked",
        "validation_zero",
        "baseline_zero",
        "datasets_expressed",
        "datasets_baseline_expressed",
        "datasets_baseline_expressed_masked",
    )
    scores = {name: float(scored[-1][name]) for name in names if scored and scored[-1].get(name) not in ("", None)}
    manifest = corpus.manifest
    start = None if options.start_from is None else checkpoint_info(options.start_from).training.get("depths")
    return {
        "steps": trainer.step,
        "cells_seen": int(trainer.seen["cells"]),
        "tokens_seen": int(trainer.seen["tokens"]),
        "flops": trainer.seen["flops"],
        "seconds": log.seconds,
        "hardware": describe_hardware(ranks),
        "corpus": {
            "fingerprint": corpus.fingerprint,
            "datasets": len(corpus.sources),
            "cells_for_training": manifest["n_train"],
            "held_out_cells": manifest["n_held_out_cells"],
            "held_out_dataset_cells": manifest["n_held_out_dataset_cells"],
            "held_out_datasets": [s["name"] for s in corpus.sources if s["is_held_out"]],
        },
        "depths": trained_depths(corpus, DEPTH_CELLS, start),
        "objective": asdict(options.masking),
        "batches": asdict(options.batches),
        "optimiser": asdict(options.training),
        "start_from": _describe_start(options.start_from),
        "scores": scores,
    }


def _describe_start(folder: Path | None) -> dict[str, Any] | None:
    """What the weights had been through before this run."""
    if folder is None:
        return None
    info = checkpoint_info(folder)
    before = info.training or {}
    earlier = before.get("start_from") or {}
    return {"name": info.name, "hash": info.hash} | {
        name: before.get(name, 0) + (earlier.get(name, 0) if isinstance(earlier, dict) else 0)
        for name in ("steps", "cells_seen", "tokens_seen", "flops", "seconds")
    }


def describe_hardware(ranks: Ranks) -> str:
    """The kind of machine in plain words, without its name."""
    if ranks.device.type == "cuda":
        return f"{ranks.n_ranks} x {torch.cuda.get_device_name(ranks.device)}"
    return f"{ranks.n_ranks} process(es) with {torch.get_num_threads()} thread(s) on a {platform.machine()} CPU"


def _open_tensorboard(out: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise OptionError(
            "TensorBoard logs were asked for, but the package tensorboard is not installed.",
            "It is needed only for these logs; log.csv is always written.",
            "Run `pip install tensorboard`, or leave --tensorboard out.",
        )
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "tensorboard"))
