"""The part of the command line that trains: `corpus build`, `corpus plan`, `pretrain`, `adapt`, `cell-space`."""

import argparse
import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from scfviz.commands.shared import add_threads, say
from scfviz.errors import DatasetError, OptionError


def add_training_commands(commands: Any) -> None:
    """Register the commands with the parser of `scfviz`."""
    corpus = commands.add_parser("corpus", help="build a training corpus, or plan a run on it")
    actions = corpus.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    _add_plan(actions)
    _add_pretrain(commands)
    _add_adapt(commands)
    _add_cell_space(commands)


# ---- corpus build


def _add_build(actions: Any) -> None:
    parser = actions.add_parser("build", help="collect cells of many dataset files into a training corpus")
    parser.add_argument(
        "files",
        nargs="+",
        type=_place,
        metavar="FILE",
        help="dataset files, folders of them, or addresses of .zarr stores (https://...)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the corpus; run again to go on or add")
    parser.add_argument("--hold-out", nargs="+", default=[], metavar="NAME", help="datasets kept whole for validation")
    parser.add_argument(
        "--exclude", nargs="+", default=[], type=Path, metavar="FILE", help="files whose cells must stay out"
    )
    parser.add_argument("--more-than-genes", type=int, metavar="N", help="expressed genes of a cell (default 200)")
    parser.add_argument("--held-out-cells", type=float, metavar="SHARE", help="of every dataset (default 0.02)")
    _add_hold_out_by(parser)
    parser.add_argument("--held-out-datasets", type=float, metavar="SHARE", help="of the datasets (default 0.05)")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    parser.set_defaults(run=_build)


def _add_hold_out_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hold-out-by", metavar="COLUMN", help="hold out whole values of this column, for example donors, not cells"
    )


def _build(args: argparse.Namespace) -> int:
    from scfviz.data.corpus import build_corpus
    from scfviz.data.corpus_writer import CorpusOptions
    from scfviz.data.disk import sole_writer

    given = {
        field.name: value
        for field in dataclasses.fields(CorpusOptions)
        if (value := getattr(args, field.name)) is not None
    }
    files = _expand(args.files)
    with sole_writer(args.out):
        manifest = build_corpus(
            files,
            args.out,
            hold_out=args.hold_out,
            exclude=_expand(args.exclude),
            options=CorpusOptions(**given) if given else None,
            report=None if args.json else say,
        )
    if args.json:
        say(json.dumps(manifest, indent=1))
        _refuse_none_built(args.out, len(files), manifest["failed"])
        return 0
    say(
        f"{args.out}: {manifest['n_cells']:,} cells of {len(manifest['sources'])} datasets; {manifest['n_train']:,} "
        f"for training, {manifest['n_held_out_cells']:,} held out cell by cell, "
        f"{manifest['n_held_out_dataset_cells']:,} in datasets held out whole; {len(manifest['failed'])} files skipped."
    )
    _refuse_none_built(args.out, len(files), manifest["failed"])
    if manifest["failed"]:
        say(f"Skipped, see above: {', '.join(manifest['failed'])}. The same command tries them again.")
    if not manifest["n_held_out_dataset_cells"]:
        say("No dataset is held out whole: name one with --hold-out to see how the model does on a new one.")
    return 0


def _refuse_none_built(out: Path, n_files: int, failed: dict[str, dict[str, str]]) -> None:
    """A corpus that holds cells from before is no success of a build that added none."""
    if len(failed) < n_files:
        return
    raise DatasetError(
        f"None of the {n_files:,} files could be added: "
        + "; ".join(f"{name}: {error['found'].rstrip('.')}" for name, error in failed.items())
        + ".",
        "",
        f"What '{out}' holds already is kept. Correct that and run the same command: it goes on with what is missing.",
    )


def _place(given: str) -> Path | str:
    """A path, or an address as it is."""
    from scfviz.data.remote import is_remote

    return given if is_remote(given) else Path(given)


def _expand(paths: list[Path | str]) -> list[Path | str]:
    """Folders stand for the dataset files in them."""
    from scfviz.data.formats import ZARR_SUFFIX, is_dataset_file, is_dataset_folder

    files: list[Path | str] = []
    for path in paths:
        if isinstance(path, Path) and path.is_dir() and not is_dataset_folder(entry.name for entry in path.iterdir()):
            inside = sorted(path.iterdir())
            files += [f for f in inside if is_dataset_file(f.name) or f.suffix == ZARR_SUFFIX and f.is_dir()]
        else:
            files.append(path)
    return files


# ---- corpus plan


def _add_plan(actions: Any) -> None:
    parser = actions.add_parser("plan", help="cells, tokens, arithmetic, memory and days of a run")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    _add_preset(parser)
    parser.add_argument("--cells", type=int, metavar="N", help="cells of the planned corpus; this one stands for it")
    parser.add_argument("--epochs", type=float, default=1.0, metavar="N")
    parser.add_argument("--max-genes", type=int, default=0, metavar="N", help="visible genes per cell (default: all)")
    parser.add_argument("--decoder-rows", type=int, default=0, metavar="N", help="rows of the decoder (default: all)")
    parser.add_argument("--tflops", type=float, metavar="X", help="training rate of a device; measured here without it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the rate is measured")
    add_threads(parser)
    parser.add_argument("--logs", nargs="+", type=Path, default=[], metavar="LOG", help="log.csv of runs: scaling law")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> int:
    from scfviz.model.config import PRESETS
    from scfviz.training.plan import fit_scaling_law, plan_training

    plan = plan_training(
        args.corpus,
        PRESETS[args.preset],
        n_cells=args.cells,
        epochs=args.epochs,
        max_genes=args.max_genes,
        decoder_rows=args.decoder_rows,
        device_tflops=args.tflops,
        device=args.device,
    )
    law = fit_scaling_law(args.logs) if args.logs else None
    if args.json:
        say(json.dumps({**dataclasses.asdict(plan), "scaling_law": law}, indent=1))
        return 0
    say(
        f"{plan.n_parameters:,} parameters; {plan.n_cells:,} cells; {plan.tokens:.3g} tokens "
        f"({plan.tokens_per_cell:,.0f} per cell); {plan.flops:.3g} floating-point operations\n"
        f"Memory: {plan.weights_gb:.2f} GB for weights and optimiser, and {plan.activations_gb_per_cell:.3f} GB per "
        f"cell that is computed at once (less when layers are recomputed)\n"
        f"Rate: {plan.flops_per_second / 1e12:.3g} TFLOP/s per device, {plan.rate_source}\n"
        "Days, without losses between devices: " + ", ".join(f"{n}: {days:.3g}" for n, days in plan.days.items())
    )
    if law is not None:
        expected = law["a"] * plan.flops ** -law["b"]
        say(
            f"Own runs follow validation = {law['a']:.4g} * FLOPs^-{law['b']:.4g} ({law['n_points']} points, "
            f"{law['flops_from']:.2g} to {law['flops_to']:.2g} FLOPs); this run: {expected:.4f}"
            + ("" if plan.flops <= 3 * law["flops_to"] else ", an extrapolation")
        )
    return 0


# ---- pretrain and adapt


def _add_pretrain(commands: Any) -> None:
    parser = commands.add_parser("pretrain", help="train a model on a corpus (under torchrun: on many devices)")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    _add_preset(parser)
    parser.add_argument("--start-from", type=Path, metavar="DIR", help="checkpoint to go on from; no new model")
    parser.add_argument("--dropout", type=float, metavar="SHARE", help="of a new model (default: the preset's)")
    _add_run(parser, steps=2000)
    parser.set_defaults(run=_pretrain)


def _pretrain(args: argparse.Namespace) -> int:
    from scfviz.data.disk import sole_writer
    from scfviz.model.config import PRESETS
    from scfviz.training.pretrain import pretrain

    config = PRESETS[args.preset]
    if args.dropout is not None:
        config = dataclasses.replace(config, dropout=args.dropout)
    options = dataclasses.replace(_run_options(args), start_from=args.start_from)
    with sole_writer(args.out):
        folder = pretrain(args.corpus, args.out, config, options, resume=args.resume, report=say)
    say(f"{folder}: a checkpoint folder. Choose it on the app's Model page, or give it as --checkpoint.")
    return 0


def _add_adapt(commands: Any) -> None:
    parser = commands.add_parser("adapt", help="continue pretraining on your own unlabelled cells")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="dataset files, or folders of them")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="where to start (default: the one that ships)")
    parser.add_argument("--low-rank", type=int, metavar="RANK", help="train adapters of this rank, not all weights")
    _add_hold_out_by(parser)
    _add_run(parser, steps=300, warm_up=20, validate_every=50, learning_rate=3e-4)
    parser.set_defaults(run=_adapt)


def _adapt(args: argparse.Namespace) -> int:
    from scfviz.data.disk import sole_writer
    from scfviz.jobs.workspace import Workspace
    from scfviz.training.adapt import adapt, judge_adapted
    from scfviz.training.adapters import ADAPTER

    with sole_writer(args.out):
        folder = adapt(
            _expand(args.files),
            args.out,
            _run_options(args),
            checkpoint=args.checkpoint,
            rank=args.low_rank,
            hold_out_by=args.hold_out_by,
            resume=args.resume,
            report=say,
        )
        verdict = judge_adapted(
            args.out, Workspace().datasets, checkpoint=args.checkpoint, n_cells=args.validation_cells
        )
    say(f"{'Keep it' if verdict.keep else 'Discard it'}. {verdict.reason}")
    if args.low_rank is not None:
        say(f"{folder.parent / ADAPTER}: the adapter by itself, for who has the same checkpoint (--adapter).")
    say(f"{folder}: a checkpoint folder. Choose it on the app's Model page, or give it as --checkpoint.")
    return 0


def _add_cell_space(commands: Any) -> None:
    parser = commands.add_parser("cell-space", help="fit where a checkpoint's maps place cells of one kind")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="the space is written into it")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="NAME", help="datasets that take no part")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="auto")
    add_threads(parser)
    parser.set_defaults(run=_cell_space)


def _cell_space(args: argparse.Namespace) -> int:
    from scfviz.analysis.baselines import VariableGenePca
    from scfviz.model.cell_space import save_cell_space
    from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
    from scfviz.training.cell_space import fit_cell_space

    space = fit_cell_space(
        load_checkpoint(args.checkpoint, with_cell_space=False),
        args.corpus,
        lambda values: VariableGenePca(seed=0).fit(values).transform(values),
        leave_out=args.leave_out,
        precision=args.precision,
        device=args.device,
        report=say,
    )
    path = save_cell_space(space, args.checkpoint, checkpoint_info(args.checkpoint).hash)
    about = space.about
    say(f"{path}: fitted on {about['n_cells']:,} cells of {len(about['datasets'])} datasets; maps use it from now on.")
    return 0


# ---- options of a run, one per field


def _add_run(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions

    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="state, log and checkpoint folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--name", default="scfviz pretraining", help="name of the checkpoint")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    add_threads(parser)
    parser.add_argument("--strategy", choices=["ddp", "fsdp"], default="ddp", help="how ranks share the work")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare batches")
    parser.add_argument("--validation-cells", type=int, default=64, metavar="N", help="per held-out split")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard")
    for kind in (TrainingOptions, BatchOptions, MaskingOptions):
        group = parser.add_argument_group(kind.__name__, kind.__doc__.split("\n")[0])
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            default = defaults.get(field.name, field.default)
            flag = f"--{field.name.replace('_', '-')}"
            hint = next(h for h in _parts(hints[field.name]) if h is not type(None))
            if hint is bool:
                group.add_argument(flag, action="store_true")
            elif typing.get_origin(hint) is typing.Literal:
                group.add_argument(flag, choices=typing.get_args(hint), default=default)
            else:
                shown = "none" if default is None else default
                group.add_argument(flag, type=hint, default=default, metavar="N", help=f"default {shown}")


def _run_options(args: argparse.Namespace) -> Any:
    from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
    from scfviz.training.pretrain import PretrainOptions

    if args.workers < 0:
        raise OptionError(f"The number of workers is {args.workers}.", "It must be zero or more.", "")
    parts = {
        name: kind(**{field.name: getattr(args, field.name) for field in dataclasses.fields(kind)})
        for name, kind in (("training", TrainingOptions), ("batches", BatchOptions), ("masking", MaskingOptions))
    }
    return PretrainOptions(
        **parts,
        name=args.name,
        validation_cells=args.validation_cells,
        device=args.device,
        strategy=args.strategy,
        n_workers=args.workers,
        tensorboard=args.tensorboard,
    )


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _add_preset(parser: argparse.ArgumentParser) -> None:
    from scfviz.model.config import PRESETS

    parser.add_argument("--preset", choices=list(PRESETS), default="3M", help="size of a new model")
