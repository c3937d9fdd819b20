"""The commands that run the model over a file: `embed` and `embed-genes`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.run import FileRun
from scfviz.commands.shared import add_file, add_threads
from scfviz.errors import OptionError

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts


def add_embed(commands: Any) -> None:
    parser = commands.add_parser("embed", help="embed each cell; write the file with obsm['X_scfoundation']")
    add_inference(parser)
    parser.add_argument("--pooling", choices=["all", "max"], default="all", help="how tokens become one vector")
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    import numpy as np

    with FileRun(args) as run:
        from scfviz.model.infer import embed_cells

        config = run.model.config
        width = config.cell_embedding_width if args.pooling == "all" else config.encoder_width
        run.refuse_small_disk(run.aligned.n_obs * width)
        embedding = embed_cells(run.aligned, run.model, pooling=args.pooling, **run.options)
        run.note_depths(embedding.source_depth, embedding.target_depth)
        run.write(embedding.provenance, obsm={"X_scfoundation": run.rows(np.asarray(embedding.values))})
        return run.show(f"obsm['X_scfoundation'] holds {width:,} values for each of the cells.")


def add_embed_genes(commands: Any) -> None:
    parser = commands.add_parser("embed-genes", help="mean embedding of each gene over cells; write it into varm")
    add_inference(parser)
    parser.add_argument("--group-by", metavar="COLUMN", help="column of obs: one mean for each of its values")
    parser.set_defaults(run=_embed_genes)


def _embed_genes(args: argparse.Namespace) -> int:
    import numpy as np

    from scfviz.data.genes import match_genes

    with FileRun(args) as run:
        groups = None if args.group_by is None else _group_column(run.aligned, args.group_by)
        from scfviz.model.infer import embed_genes

        n_groups = 1 if groups is None else len(set(groups))
        run.refuse_small_disk(n_groups * len(run.model.genes) * run.model.config.decoder_width)
        embedding = embed_genes(run.aligned, run.model, groups=groups, **run.options)
        # the counts may come from `raw`, with a gene table of its own; `varm` belongs to the file's `var`
        target = match_genes(run.adata.var, run.model.genes, column=args.gene_column).target
        varm = {}
        for name, values in zip(embedding.groups, embedding.values, strict=True):
            rows = np.full((len(target), values.shape[1]), np.nan, dtype=np.float32)  # unknown genes have no embedding
            rows[target >= 0] = values[target[target >= 0]]
            # a slash would make a group of HDF5 out of the name
            varm["X_scfoundation" if groups is None else f"X_scfoundation_{name}".replace("/", "_")] = rows
        run.write(embedding.provenance, varm=varm)
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


def add_inference(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="a new file: yours with the results added")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="checkpoint folder; the one that ships")
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--target-depth", type=float, metavar="N", help="depth the model is to imagine, in counts")
    depth.add_argument("--depth-fold", type=float, metavar="F", help="the same as a multiple of the cell's own depth")
    parser.add_argument(
        "--min-counts", type=float, metavar="N", help="leave out cells with fewer counts on model genes"
    )
    parser.add_argument("--min-genes", type=int, metavar="N", help="leave out cells with fewer genes of the model")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    add_threads(parser)
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    unfinished.add_argument("--start-over", action="store_true", help="delete what an interrupted run has computed")
