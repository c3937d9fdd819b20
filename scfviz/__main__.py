"""The command line: `scfviz` or `python -m scfviz`. The only place that reads arguments and prints."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz import __version__
from scfviz.errors import OptionError, ScfvizError
from scfviz.threads import prepare_threads
from scfviz.training_commands import add_training_commands

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

BAD_INPUT, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit code: 0 done, 2 the input or an option can't be used (one sentence on stderr), 130 stopped with Ctrl-C.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        prepare_threads(getattr(args, "threads", None))  # before torch is loaded
        return args.run(args)
    except ScfvizError as error:
        print(f"scfviz: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("\nscfviz: stopped.", getattr(args, "when_stopped", ""), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"scfviz: {error.strerror or error}: {error.filename or 'while writing'}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scfviz", description="scFoundation for single-cell data.")
    parser.add_argument("--version", action="version", version=f"scfviz {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_check,
        _add_import_checkpoint,
        _add_embed,
        _add_embed_genes,
        _add_benchmark,
        lambda commands: add_training_commands(commands, _say),
        _add_app,
    ):
        add(commands)
    return parser


# ---- check


def _add_check(commands: Any) -> None:
    parser = commands.add_parser("check", help="say what a file holds and whether the model can use it")
    _add_file(parser)
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset

    aligned = align_genes(read_dataset(args.file), column=args.gene_column)
    counts, genes = aligned.counts_report, aligned.gene_report
    text = [
        f"{args.file}: {aligned.n_obs:,} cells.",
        f"Counts: {'raw' if counts.kind == 'counts' else 'recovered from log-normalised'}, in {counts.location}.",
        *(f"  {notice.text}" for notice in counts.notices),
        f"Genes: {genes.n_file - genes.n_unknown:,} of {genes.n_file:,} rows of the file are genes of the model; "
        f"{genes.n_measured:,} of the model's {genes.n_model:,} genes are measured ({genes.model_coverage:.1f} %).",
        *(f"  {notice}" for notice in genes.notices),
    ]
    _show(args, text, {"n_obs": aligned.n_obs, "counts": counts.as_dict(), "genes": genes.as_dict()})
    return 0


# ---- import-checkpoint


def _add_import_checkpoint(commands: Any) -> None:
    parser = commands.add_parser(
        "import-checkpoint", help="turn the official models.ckpt into checkpoint folders (cell, gene, rde)"
    )
    parser.add_argument("file", type=Path, metavar="models.ckpt")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write them into")
    _add_json(parser)
    parser.set_defaults(run=_import_checkpoint)


def _import_checkpoint(args: argparse.Namespace) -> int:
    from scfviz.model.checkpoint import checkpoint_info
    from scfviz.model.official import import_official

    infos = [checkpoint_info(folder) for folder in import_official(args.file, args.out)]
    _show(
        args,
        [f"{info.folder}: {info.name}, {info.n_parameters:,} parameters, licence: {info.licence}" for info in infos],
        {
            "checkpoints": [
                {"folder": str(info.folder), "name": info.name, "hash": info.hash, "n_parameters": info.n_parameters}
                for info in infos
            ]
        },
    )
    return 0


# ---- embed


def _add_embed(commands: Any) -> None:
    parser = commands.add_parser("embed", help="embed each cell; write the file with obsm['X_scfoundation']")
    _add_inference(parser, checkpoint_required=False)
    parser.add_argument("--pooling", choices=["all", "max"], default="all", help="how tokens become one vector")
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    import numpy as np

    run = _InferenceRun(args)
    from scfviz.model.infer import embed_cells

    embedding = embed_cells(run.aligned, run.model, pooling=args.pooling, **run.options)
    run.write(embedding, obsm={"X_scfoundation": np.asarray(embedding.values)})
    return run.show(f"obsm['X_scfoundation'] holds {embedding.values.shape[1]:,} values for each of the cells.")


# ---- embed-genes


def _add_embed_genes(commands: Any) -> None:
    parser = commands.add_parser("embed-genes", help="mean embedding of each gene over cells; write it into varm")
    _add_inference(parser, checkpoint_required=True)
    parser.add_argument("--group-by", metavar="COLUMN", help="column of obs: one mean for each of its values")
    parser.set_defaults(run=_embed_genes)


def _embed_genes(args: argparse.Namespace) -> int:
    import numpy as np

    from scfviz.data.genes import match_genes

    run = _InferenceRun(args)
    groups = None if args.group_by is None else _group_column(run.aligned, args.group_by)
    from scfviz.model.infer import embed_genes

    embedding = embed_genes(run.aligned, run.model, groups=groups, **run.options)
    # the counts may come from `raw`, with a gene table of its own; `varm` belongs to the file's `var`
    target = match_genes(run.adata.var, run.model.genes, column=args.gene_column).target
    varm = {}
    for name, values in zip(embedding.groups, embedding.values, strict=True):
        rows = np.full((len(target), values.shape[1]), np.nan, dtype=np.float32)  # unknown genes have no embedding
        rows[target >= 0] = values[target[target >= 0]]
        # a slash would make a group of HDF5 out of the name
        varm["X_scfoundation" if groups is None else f"X_scfoundation_{name}".replace("/", "_")] = rows
    run.write(embedding, varm=varm)
    return run.show(f"varm holds {', '.join(varm)}: {embedding.values.shape[-1]:,} values for each gene.")


def _group_column(aligned: "AlignedCounts", name: str) -> Any:
    if name not in aligned.obs.columns:
        raise OptionError(
            f"The file has no column '{name}' to group by.",
            f"Its columns are: {', '.join(map(str, aligned.obs.columns[:20])) or 'none'}.",
            "Choose one of them.",
        )
    column = aligned.obs[name]
    if column.isna().any():
        raise OptionError(
            f"{int(column.isna().sum()):,} cells have no value in the column '{name}'.",
            "Each cell must belong to a group.",
            "Fill the column, or remove these cells.",
        )
    return column.astype(str).to_numpy()


# ---- benchmark


def _add_benchmark(commands: Any) -> None:
    parser = commands.add_parser("benchmark", help="score a checkpoint beside simple methods")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="checkpoint folder to score")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="another checkpoint, scored on the same cells")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of datasets the checkpoint was not trained on"
    )
    parser.add_argument(
        "--references", type=Path, metavar="DIR", help="folder of datasets it was trained on, only to learn types from"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json and scores.md")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="budget", action="store_const", const="quick", help="a few cells: a first look")
    size.add_argument("--full", dest="budget", action="store_const", const="full", help="all cells: for an accelerator")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    _add_json(parser)
    parser.set_defaults(run=_benchmark, budget="standard")


def _benchmark(args: argparse.Namespace) -> int:
    from scfviz.tasks.benchmark import run_benchmark
    from scfviz.tasks.benchmark_report import as_report, write_report

    def progress(share: float, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{100 * share:3.0f} %  {text}", end="", file=sys.stderr, flush=True)

    result = run_benchmark(
        args.checkpoint,
        args.data,
        compare=args.compare,
        references=args.references,
        budget=args.budget,
        device=args.device,
        report=progress,
    )
    progress(1.0, "done\n")
    report = as_report(result)
    written = write_report(report, args.out)
    text = [entry["text"] for entry in report["summary"]] + ([report["compare"]["text"]] if report["compare"] else [])
    text += [f"Not computed: {s['dataset']}, {s['score']}: {s['reason']}" for s in report["skipped"]]
    _show(args, [*text, f"All numbers: {written[0]} and {written[1]}"], report)
    return 0


# ---- app


def _add_app(commands: Any) -> None:
    parser = commands.add_parser("app", help="open the app in the browser")
    parser.add_argument("--port", type=int, help="port of the server; the first free one from 8501 when left out")
    parser.add_argument("--data", type=Path, action="append", metavar="DIR", help="folder whose files may be opened")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="folder for uploads and results (~/.scfviz)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="checkpoint folder (the one that ships)")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.set_defaults(run=_app)


def _app(args: argparse.Namespace) -> int:
    script = Path(__file__).resolve().parents[1] / "app.py"
    if not script.is_file():
        raise OptionError(
            f"The app is not beside the package (there is no '{script}').",
            "The app runs from its source folder.",
            "Clone the project and run `make app` there.",
        )
    environment = dict(os.environ)
    if args.data:
        missing = [folder for folder in args.data if not folder.is_dir()]
        if missing:
            raise OptionError(f"There is no folder '{missing[0]}'.", "--data names a folder.", "Correct the path.")
        environment["SCFVIZ_DATA"] = os.pathsep.join(str(folder.resolve()) for folder in args.data)
    if args.checkpoint:
        from scfviz.model.checkpoint import checkpoint_info

        environment["SCFVIZ_CHECKPOINT"] = str(checkpoint_info(args.checkpoint).folder.resolve())
    if args.workspace:
        environment["SCFVIZ_WORKSPACE"] = str(args.workspace.resolve())
    options = [f"--server.port={args.port}"] if args.port else []
    options += ["--server.headless=true"] if args.headless else []
    _say("The app opens in the browser; the line below says at which address. Stop it with Ctrl-C.")
    # its configuration (.streamlit) lies beside the script, and Streamlit looks for it in the current folder
    return subprocess.call(
        [sys.executable, "-m", "streamlit", "run", str(script), *options], cwd=script.parent, env=environment
    )


# ---- shared by the commands


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="h5ad, zarr, 10x h5 or mtx, loom, csv, tsv")
    parser.add_argument("--gene-column", metavar="COLUMN", help="column of var with the genes; found when left out")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_inference(parser: argparse.ArgumentParser, *, checkpoint_required: bool) -> None:
    _add_file(parser)
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="a new file: yours with the results added")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", required=checkpoint_required, help="checkpoint folder of the model"
    )
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--target-depth", type=float, metavar="N", help="depth the model is to imagine, in counts")
    depth.add_argument("--depth-fold", type=float, metavar="F", help="the same as a multiple of the cell's own depth")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")


class _InferenceRun:
    """What `embed` and `embed-genes` share: input, model, a folder for what is done so far, the file at the end."""

    def __init__(self, args: argparse.Namespace):
        from scfviz.data.align import align_genes
        from scfviz.data.read import read_dataset
        from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint

        self.args = args
        self._check_out()
        self._partial = args.out.with_name(args.out.name + ".partial")
        if not args.resume:
            shutil.rmtree(self._partial, ignore_errors=True)
        self.adata = read_dataset(args.file)
        folder = args.checkpoint if args.checkpoint is not None else default_checkpoint()
        self.info, self.model = checkpoint_info(folder), load_checkpoint(folder)
        self.aligned = align_genes(self.adata, genes=self.model.genes, column=args.gene_column)
        self.options = {
            **{name: getattr(args, name) for name in ("target_depth", "depth_fold", "precision", "device")},
            "out": self._partial,
            "resume": args.resume,
            "progress": _Progress("cells"),
        }
        args.when_stopped = f"What is done is kept in '{self._partial}'; add --resume to the command to go on."

    def _check_out(self) -> None:
        """Before hours of computing, not after."""
        out = self.args.out
        if out.suffix != ".h5ad":
            raise OptionError(f"The result would be called '{out}'.", "Its name must end in .h5ad.", "Change it.")
        if out.exists():
            raise OptionError(f"'{out}' exists.", "Results never replace a file.", "Give another name, or move it.")
        if not out.absolute().parent.is_dir():
            raise OptionError(f"There is no folder '{out.absolute().parent}'.", "", "Make it, or give another place.")

    def write(self, embedding: Any, **results: Any) -> None:
        """Write the user's file with the results and where they come from."""
        from scfviz.data.write import write_h5ad_with

        genes = self.aligned.gene_report
        self.provenance = embedding.provenance | {
            "checkpoint": self.info.name,
            "checkpoint_hash": self.info.hash,
            "genes_measured": genes.n_measured,
            "genes_of_model": genes.n_model,
            "gene_coverage_percent": genes.model_coverage,
            "counts_from": self.aligned.counts_report.location,
        }
        self.renamed = write_h5ad_with(self.args.file, self.args.out, **results, uns={"scfviz": self.provenance}) or {}
        shutil.rmtree(self._partial, ignore_errors=True)

    def show(self, sentence: str) -> int:
        """Say what was written."""
        text = [f"{self.args.out}: {self.aligned.n_obs:,} cells; {sentence}"]
        text += [f"Your file holds {old} already; ours is called {new}." for old, new in self.renamed.items()]
        if not self.info.is_trained:
            text.append("Attention: the model is untrained. These numbers say nothing about the cells.")
        report = {
            "out": str(self.args.out),
            "n_obs": self.aligned.n_obs,
            "is_trained": self.info.is_trained,
            "renamed": self.renamed,
            "provenance": self.provenance,
        }
        _show(self.args, text, report)
        return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _show(args: argparse.Namespace, text: list[str], report: dict[str, Any]) -> None:
    print(json.dumps(report, indent=1, default=str) if args.json else "\n".join(text))


class _Progress:
    """A line on stderr that is written over, where somebody watches."""

    def __init__(self, things: str):
        self.things, self._start, self._first = things, 0.0, -1

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        now = time.monotonic()
        if self._first < 0:  # what a resumed run finds done says nothing about its pace
            self._start, self._first = now, done
        pace = (done - self._first) / (now - self._start) if now > self._start else 0.0
        left = f", {(total - done) / pace:,.0f} s left" if pace else ""
        end = "\n" if done >= total else ""
        print(f"\r\033[K{done:,} of {total:,} {self.things}{left}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
