"""What a command with a model takes: counts of cells, bulk samples, normalised cells, or a bare matrix with genes."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import Progress
from scfviz.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from scfviz.data.align import AlignedCounts
    from scfviz.data.genes import GeneReport
    from scfviz.data.open import OpenDataset

# What the official program calls its input: --input_type and --pre_normalized.
LOGGED_CELLS, BULK_F, BULK_T = "official log-normalised cells", "official bulk, normalised", "official bulk, as given"


@dataclass(frozen=True)
class Input:
    """Cells or samples as the model takes them.

    Attributes
    ----------
    path
        The file that results are written beside: the user's, or what was made of a bare matrix.
    adata, counts
        The file, and its values in the model's gene order: `AlignedCounts`, or a sparse matrix.
    official
        Options of `embed_cells` for values that are no counts of cells.
    counts_from
        Where the values are in the file, and what they are.
    kept
        int64 (n_obs,): rows of the file that are computed; None for all.
    """

    path: Path
    adata: Any
    counts: Any
    obs: Any
    gene_report: "GeneReport"
    counts_from: str
    official: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: "np.ndarray | None" = None

    @property
    def n_obs(self) -> int:
        """Cells, or samples, that are computed."""
        return len(self.obs)

    def rows(self, values: "np.ndarray") -> Any:
        """Results of the computed cells as one row for each cell of the file."""
        import numpy as np

        from scfviz.data.some_rows import SomeRows

        if self.kept is None or len(self.kept) == self.adata.n_obs:
            return values
        place = np.full(self.adata.n_obs, -1, dtype=np.int64)
        place[self.kept] = np.arange(len(self.kept))
        return SomeRows(values, place)


def add_published_input(parser: argparse.ArgumentParser) -> None:
    """The input options of the official program, by their names, and bulk samples."""
    parser.add_argument("--bulk", action="store_true", help="the file holds bulk samples, not cells")
    parser.add_argument(
        "--values", choices=["counts", "tpm", "log"], help="of bulk samples: what they are; seen from their size"
    )
    parser.add_argument(
        "--pre-normalized",
        choices=["F", "T", "A"],
        help="as the official program takes it. Cells: F counts (default), T ln(1 + counts per 10,000), A the same "
        "with the total count as last column. Bulk: F to the median total and ln(1 + x) (default for counts and TPM), "
        "T as given (default for logarithms)",
    )


def add_gene_list(parser: argparse.ArgumentParser) -> None:
    """For bare matrices."""
    parser.add_argument(
        "--gene-list",
        metavar="LIST",
        help="genes of a .npy or .npz matrix, one a line; or 'published' for the 19,264 in the published order",
    )


def add_cells(parser: argparse.ArgumentParser) -> None:
    """For a part of the result, see `scfviz merge`."""
    parser.add_argument(
        "--cells", metavar="FROM:TO", help="only these cells, 0:5000 are the first 5,000; OUT.npy, for `scfviz merge`"
    )


def add_cluster(parser: argparse.ArgumentParser, *, is_shown: bool = True) -> None:
    """For many machines, see `scfviz.model.cluster`; not shown where it is refused with a reason."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="compute on a Dask cluster: tcp://host:8786, its scheduler, or local:4, four processes on this computer"
        if is_shown
        else argparse.SUPPRESS,
    )


def refuse_no_cluster(args: argparse.Namespace) -> None:
    """Refuse a cluster that is not there, before the file is read."""
    if getattr(args, "cluster", None) is not None:
        from scfviz.model.cluster.workers import refuse_no_cluster

        refuse_no_cluster(args.cluster)


def read_range(given: str, n_obs: int) -> tuple[int, int]:
    """First cell of `--cells`, and the one behind its last.

    Raises
    ------
    OptionError
        It is no range of the file's cells.
    """
    begin, colon, end = given.partition(":")
    try:
        first, last = int(begin or 0), int(end or n_obs)
    except ValueError:
        colon, first, last = "", 0, 0
    if not colon or not 0 <= first < last <= n_obs:
        raise OptionError(
            f"--cells is '{given}'.",
            f"It is a range FROM:TO with 0 <= FROM < TO <= {n_obs:,}, the number of cells.",
            f"For example 0:{min(n_obs, 5000)}; TO itself is not in it.",
        )
    return first, last


def add_depth(parser: argparse.ArgumentParser) -> None:
    """Target depth, in our words or the official ones."""
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--target-depth", type=float, metavar="N", help="target read depth, in counts")
    depth.add_argument("--depth-fold", type=float, metavar="F", help="the same as a multiple of the cell's own depth")
    depth.add_argument(
        "--tgthighres",
        metavar="tX|fX|aX",
        help="the same as the official program takes it: t4 is 10^4 counts, f5 five times the own depth, a5 10^5 times",
    )


def read_depth(args: argparse.Namespace) -> dict[str, float | None]:
    """Options of depth for the model.

    Raises
    ------
    OptionError
        `--tgthighres` is none of the official forms.
    """
    if args.tgthighres is None:
        return {"target_depth": args.target_depth, "depth_fold": args.depth_fold}
    kind, number = args.tgthighres[:1], args.tgthighres[1:]
    try:
        value = float(number)
        if kind == "f":
            return {"target_depth": None, "depth_fold": value}
        return {
            "t": {"target_depth": 10.0**value, "depth_fold": None},
            "a": {"target_depth": None, "depth_fold": 10.0**value},
        }[kind]
    except (ValueError, KeyError, OverflowError) as error:
        raise OptionError(
            f"--tgthighres is '{args.tgthighres}'.",
            "It is a letter and a number: t4 (10^4 counts), f5 (5 times the cell's depth), a1 (10 times).",
            "Correct it, or use --target-depth in counts or --depth-fold as a multiple.",
        ) from error


def open_input(args: argparse.Namespace, genes: "Sequence[str]", work: Path) -> Input:
    """Read the file that a command was given.

    Parameters
    ----------
    genes
        The model's genes.
    work
        Folder for what is made of a bare matrix.
    """
    from scfviz.data.open import OpenDataset
    from scfviz.data.read import read_dataset
    from scfviz.data.scan import bulk_note
    from scfviz.data.values import align_values

    path, pre_normalized = _readable(args, work), getattr(args, "pre_normalized", None)
    is_bulk = getattr(args, "bulk", False)
    if getattr(args, "values", None) and not is_bulk or is_bulk and pre_normalized == "A":
        raise OptionError(
            "--values is given for cells." if not is_bulk else "Totals (A) are given for bulk samples.",
            "--values says what bulk samples hold; A says that cells come with their totals.",
            "Add --bulk, or leave the option out.",
        )
    adata = read_dataset(path)
    if not is_bulk and pre_normalized in (None, "F"):
        watch = Progress("").watch
        opened = OpenDataset(adata, column=args.gene_column, counts=args.counts, watch=watch)
        counts, kept, notes = _filter(opened, opened.align(genes), args)
        notes += bulk_note(counts.n_expressed)
        where = counts.counts_report.location
        return Input(path, adata, counts, counts.obs, counts.gene_report, where, notes=tuple(notes), kept=kept)
    given = (args.counts, args.min_counts, args.min_genes, getattr(args, "cells", None))
    if any(value is not None for value in given):
        raise OptionError(
            "--counts, --cells, --min-counts or --min-genes is given for values that are no counts of cells.",
            "They are read from X as they are, all of them.",
            "Leave it out.",
        )
    values = align_values(
        adata,
        genes,
        kind=args.values if is_bulk else "log",
        column=args.gene_column,
        last_is_total=pre_normalized == "A",
    )
    official: dict[str, Any] = {"official_input": LOGGED_CELLS}
    if is_bulk:
        as_given = pre_normalized == "T" or pre_normalized is None and values.kind == "log"
        official = {"official_input": BULK_T if as_given else BULK_F}
    elif values.totals is not None:
        official |= {"official_totals": values.totals}
    where = f"X, {values.kind} ({official['official_input']})"
    return Input(path, adata, values.matrix, values.obs, values.gene_report, where, official, values.notes)


def _filter(
    opened: "OpenDataset", aligned: "AlignedCounts", args: argparse.Namespace
) -> "tuple[AlignedCounts, np.ndarray, list[str]]":
    """The cells to compute, and their rows in the file; cells that the model cannot read go only with a filter."""
    from scfviz.data.qc import choose_cells

    given = {name: getattr(args, name) for name in ("min_counts", "min_genes")}
    kept = choose_cells(opened.counts, aligned, {name: limit for name, limit in given.items() if limit is not None})
    left, notes = aligned.n_obs - len(kept), []
    if left:
        notes.append(f"{left:,} of {aligned.n_obs:,} cells were left out by the filters; they have no result.")
    if (given := getattr(args, "cells", None)) is not None:
        first, last = read_range(given, aligned.n_obs)
        kept = kept[(kept >= first) & (kept < last)]
        if not len(kept):
            raise OptionError(
                f"The filters leave none of the cells {given}.", "A part has cells.", "Take a larger part."
            )
    return (aligned if len(kept) == aligned.n_obs else aligned.subset(kept)), kept, notes


def _readable(args: argparse.Namespace, work: Path) -> Path:
    """The user's file, or the one that is made of a bare matrix and its genes."""
    from scfviz.data.read_arrays import SUFFIXES, write_array_as_h5ad

    if args.file.suffix not in SUFFIXES or not args.file.is_file():
        if args.gene_list is not None:
            raise OptionError(
                f"A gene list is given, but '{args.file.name}' is no .npy or .npz file.",
                "Other files say themselves which genes they hold.",
                "Leave --gene-list out.",
            )
        return args.file
    if args.gene_list is None:
        raise OptionError(
            f"'{args.file.name}' is a matrix without the names of its genes.",
            "Each column needs its gene.",
            "Add --gene-list FILE, or --gene-list published where the columns are the 19,264 published genes in order.",
        )
    made = work / "input.h5ad"
    write_array_as_h5ad(args.file, args.gene_list, made, last_is_total=getattr(args, "pre_normalized", None) == "A")
    return made
