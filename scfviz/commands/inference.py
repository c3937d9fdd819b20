"""The commands that run the model over a file: `embed`, `embed-genes` and `expression`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.inputs import (
    add_cells,
    add_cluster,
    add_depth,
    add_gene_list,
    add_published_input,
    read_depth,
    read_range,
    refuse_no_cluster,
)
from scfviz.commands.run import FileRun
from scfviz.commands.shared import add_file, add_threads, add_unfinished
from scfviz.errors import OptionError

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts


def add_embed(commands: Any) -> None:
    """Add the command `embed`."""
    parser = commands.add_parser("embed", help="embed each cell, or bulk sample")
    add_inference(parser, "OUT.h5ad", "a new file: yours with obsm['X_scfoundation']; or OUT.npy, the numbers alone")
    add_published_input(parser)
    add_cells(parser)
    add_cluster(parser)
    parser.add_argument("--pooling", choices=["all", "max"], default="all", help="how tokens become one vector")
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    import numpy as np

    _refuse_cluster(args)
    with FileRun(args, (".npy",) if args.cells is not None else (".h5ad", ".npy")) as run:
        from scfviz.model.infer import embed_cells

        config, official = run.model.config, run.input.official
        width = config.cell_embedding_width if args.pooling == "all" else config.encoder_width
        run.refuse_small_disk(run.input.n_obs * width)
        if official and run.options["depth_fold"] == 1:  # the own depth, which is what is taken anyway
            run.options["depth_fold"] = None
        embedding = embed_cells(
            run.input.counts, run.model, pooling=args.pooling, cluster=args.cluster, **official, **run.options
        )
        run.note_depths()
        if args.out.suffix == ".npy":
            about, part = dict(embedding.provenance), {}
            if args.cells is not None:
                about["cells"] = read_range(args.cells, run.input.adata.n_obs)
                part["rows"] = run.input.kept.tolist()
            run.write_array(about, **part)
            return run.show(f"{width:,} values for each of them; rows are named in '{run.about.name}'.")
        run.write(embedding.provenance, obsm={"X_scfoundation": run.input.rows(np.asarray(embedding.values))})
        return run.show(f"obsm['X_scfoundation'] holds {width:,} values for each of them.")


def _refuse_cluster(args: argparse.Namespace) -> None:
    """Refuse a cluster that is not there or cannot do what is asked."""
    if args.cluster is not None and (args.bulk or args.pre_normalized not in (None, "F") or args.adapter is not None):
        raise OptionError(
            "--cluster is given with bulk samples, normalised values or an adapter.",
            "Workers read counts of cells and a checkpoint from their files.",
            "Leave one out; `scfviz adapt` also writes a whole checkpoint.",
        )
    refuse_no_cluster(args)


def add_embed_genes(commands: Any) -> None:
    """Add the command `embed-genes`."""
    parser = commands.add_parser("embed-genes", help="embedding of each gene: its mean over cells, or in each cell")
    add_inference(parser, "OUT.h5ad", "a new file: yours with the means in varm; with --per-cell OUT.npy")
    parser.add_argument("--group-by", metavar="COLUMN", help="column of obs: one mean for each of its values")
    parser.add_argument(
        "--per-cell", action="store_true", help="no means: cells x genes x values, written cell by cell"
    )
    parser.add_argument("--genes", nargs="+", metavar="GENE", help="with --per-cell: only these")
    parser.add_argument(
        "--official-batch",
        action="store_true",
        help="with --per-cell: all cells in one batch, where each depends on its mates, as official gene_batch output",
    )
    parser.set_defaults(run=_embed_genes)


def _embed_genes(args: argparse.Namespace) -> int:
    if args.per_cell:
        return _embed_genes_per_cell(args)
    if args.genes or args.official_batch:
        raise OptionError(
            "--genes or --official-batch is given without --per-cell.",
            "They are about genes of single cells.",
            "Add it.",
        )
    import numpy as np

    from scfviz.data.genes import match_genes

    with FileRun(args) as run:
        groups = None if args.group_by is None else _group_column(run.input.counts, args.group_by)
        from scfviz.model.infer import embed_genes

        n_groups = 1 if groups is None else len(set(groups))
        run.refuse_small_disk(n_groups * len(run.model.genes) * run.model.config.decoder_width)
        embedding = embed_genes(run.input.counts, run.model, groups=groups, **run.options)
        run.note_depths()
        # the counts may come from `raw`, with a gene table of its own; `varm` belongs to the file's `var`
        target = match_genes(run.input.adata.var, run.model.genes, column=args.gene_column).target
        varm = {}
        for name, values in zip(embedding.groups, embedding.values, strict=True):
            rows = np.full((len(target), values.shape[1]), np.nan, dtype=np.float32)  # unknown genes have no embedding
            rows[target >= 0] = values[target[target >= 0]]
            # a slash would make a group of HDF5 out of the name
            varm["X_scfoundation" if groups is None else f"X_scfoundation_{name}".replace("/", "_")] = rows
        run.write(embedding.provenance, varm=varm)
        return run.show(f"varm holds {', '.join(varm)}: {embedding.values.shape[-1]:,} values for each gene.")


def _embed_genes_per_cell(args: argparse.Namespace) -> int:
    if args.group_by is not None:
        raise OptionError("--per-cell and --group-by are given.", "A cell is in no mean.", "Leave one out.")
    with FileRun(args, (".npy",)) as run:
        from scfviz.model.infer import embed_genes_per_cell

        n_genes, width = len(args.genes or run.model.genes), run.model.config.decoder_width
        run.refuse_small_disk(run.input.n_obs * n_genes * width)
        embedding = embed_genes_per_cell(
            run.input.counts, run.model, genes=args.genes, official_batch=args.official_batch, **run.options
        )
        run.note_depths()
        run.write_array(embedding.provenance, genes=list(embedding.genes))
        return run.show(f"{n_genes:,} genes x {width:,} values for each; cells and genes are in '{run.about.name}'.")


def add_expression(commands: Any) -> None:
    """Add the command `expression`."""
    parser = commands.add_parser("expression", help="predict the expression of all genes of the model in each cell")
    add_inference(parser, "OUT.h5ad", "a new file: cells x genes of the model, ln(1 + counts per 10,000); or OUT.npy")
    parser.set_defaults(run=_expression)


def _expression(args: argparse.Namespace) -> int:
    with FileRun(args, (".h5ad", ".npy")) as run:
        from scfviz.model.infer import predict_expression

        n_genes = len(run.model.genes)
        run.refuse_small_disk(run.input.n_obs * n_genes)
        values = predict_expression(run.input.counts, run.model, **run.options)
        run.note_depths()
        about = {"task": "expression", "unit": "ln(1 + counts per 10,000)"}
        about |= {name: value for name, value in read_depth(args).items() if value is not None}
        if args.out.suffix == ".npy":
            run.write_array(about, genes=list(run.model.genes))
        else:
            run.write_new(about, values)
        return run.show(f"predicted ln(1 + counts per 10,000) of {n_genes:,} genes for each.")


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


def add_inference(parser: argparse.ArgumentParser, out: str, about: str) -> None:
    """Arguments of a command that runs the model over a file."""
    add_file(parser)
    parser.add_argument("out", type=Path, metavar=out, help=about)
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="checkpoint folder; the one that ships")
    parser.add_argument("--adapter", type=Path, metavar="FILE", help="what `scfviz adapt --low-rank` learned on it")
    add_gene_list(parser)
    add_depth(parser)
    parser.add_argument(
        "--min-counts", type=float, metavar="N", help="leave out cells with fewer counts, over all genes"
    )
    parser.add_argument("--min-genes", type=int, metavar="N", help="leave out cells with fewer genes with counts")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1 (second GPU), mps")
    add_threads(parser)
    add_unfinished(parser)
