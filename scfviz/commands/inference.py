"""The commands that run the model over a file: `embed` and `embed-genes`."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import Progress, add_file, add_threads, show_report
from scfviz.errors import OptionError

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts


def add_embed(commands: Any) -> None:
    parser = commands.add_parser("embed", help="embed each cell; write the file with obsm['X_scfoundation']")
    add_inference(parser, checkpoint_required=False)
    parser.add_argument("--pooling", choices=["all", "max"], default="all", help="how tokens become one vector")
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    import numpy as np

    run = InferenceRun(args)
    from scfviz.model.infer import embed_cells

    embedding = embed_cells(run.aligned, run.model, pooling=args.pooling, **run.options)
    run.write(embedding, obsm={"X_scfoundation": np.asarray(embedding.values)})
    return run.show(f"obsm['X_scfoundation'] holds {embedding.values.shape[1]:,} values for each of the cells.")


def add_embed_genes(commands: Any) -> None:
    parser = commands.add_parser("embed-genes", help="mean embedding of each gene over cells; write it into varm")
    add_inference(parser, checkpoint_required=True)
    parser.add_argument("--group-by", metavar="COLUMN", help="column of obs: one mean for each of its values")
    parser.set_defaults(run=_embed_genes)


def _embed_genes(args: argparse.Namespace) -> int:
    import numpy as np

    from scfviz.data.genes import match_genes

    run = InferenceRun(args)
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


def add_inference(parser: argparse.ArgumentParser, *, checkpoint_required: bool) -> None:
    add_file(parser)
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="a new file: yours with the results added")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", required=checkpoint_required, help="checkpoint folder of the model"
    )
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--target-depth", type=float, metavar="N", help="depth the model is to imagine, in counts")
    depth.add_argument("--depth-fold", type=float, metavar="F", help="the same as a multiple of the cell's own depth")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    add_threads(parser)
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")


class InferenceRun:
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
            "progress": Progress("cells"),
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
        if not self.info.is_sealed:
            text.append(
                "Attention: the checkpoint has no checksums (an earlier version saved it), so damage may go unnoticed. "
                "Save or import it again."
            )
        report = {
            "out": str(self.args.out),
            "n_obs": self.aligned.n_obs,
            "is_trained": self.info.is_trained,
            "is_sealed": self.info.is_sealed,
            "renamed": self.renamed,
            "provenance": self.provenance,
        }
        show_report(self.args, text, report)
        return 0
