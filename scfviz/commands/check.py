"""The command `check`: what a file holds."""

import argparse
from typing import Any

from scfviz.commands.shared import Progress, add_file, show_report


def add_check(commands: Any) -> None:
    """Add the command `check`."""
    parser = commands.add_parser("check", help="say what a file holds and whether the model can use it")
    add_file(parser)
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset

    adata, watch = read_dataset(args.file), Progress("").watch
    aligned = align_genes(adata, column=args.gene_column, counts=args.counts, watch=watch)
    counts, genes = aligned.counts_report, aligned.gene_report
    text = [
        f"{args.file}: {aligned.n_obs:,} cells.",
        f"Counts: {'raw' if counts.kind == 'counts' else 'recovered from normalised values'}, in {counts.location}.",
        *(f"  {notice.text}" for notice in counts.notices),
        f"Genes: {genes.n_file - genes.n_unknown:,} of {genes.n_file:,} rows of the file are genes of the model; "
        f"{genes.n_measured:,} of the model's {genes.n_model:,} genes are measured ({genes.model_coverage:.1f} %).",
        *(f"  {notice}" for notice in genes.notices),
    ]
    show_report(args, text, {"n_obs": aligned.n_obs, "counts": counts.as_dict(), "genes": genes.as_dict()})
    return 0
