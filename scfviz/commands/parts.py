"""The command `merge`: a file that was computed in parts, on one machine or many."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.run import beside, refuse_place
from scfviz.commands.shared import add_json, show_report
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

# Of what a part says, what may differ between parts of one result.
_OF_ONE_PART = ("n_obs", "cells", "hardware", "scfviz", "torch")
_BLOCK_ROWS = 16_384


def add_merge(commands: Any) -> None:
    """Add the command `merge`."""
    parser = commands.add_parser("merge", help="put together what `embed --cells FROM:TO` computed in parts")
    parser.add_argument("file", type=Path, metavar="FILE", help="the file that all parts were computed from")
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="as `embed` writes it: OUT.h5ad, or OUT.npy")
    parser.add_argument("--parts", nargs="+", type=Path, required=True, metavar="PART.npy", help="all of them")
    add_json(parser)
    parser.set_defaults(run=_merge)


@dataclass(frozen=True)
class Part:
    """One part on disk.

    Attributes
    ----------
    cells
        First cell of the file that it is about, and the one behind its last.
    rows
        int64 (n,): cells of the file that have values; the others were filtered out.
    values
        float32 (n, d), mapped from disk.
    names
        Of the cells.
    provenance
        What `embed` wrote.
    """

    path: Path
    cells: tuple[int, int]
    rows: "np.ndarray"
    values: "np.ndarray"
    names: list[str]
    provenance: dict[str, Any]


def _merge(args: argparse.Namespace) -> int:
    import numpy as np

    from scfviz.data.disk import refuse_small_disk
    from scfviz.data.read import read_dataset
    from scfviz.data.some_rows import SomeRows
    from scfviz.data.source import dataset_id, refuse_other_content
    from scfviz.data.write import write_h5ad_with
    from scfviz.model.store import new_array

    refuse_place(args.out, (".h5ad", ".npy"))
    content, adata = dataset_id(args.file), read_dataset(args.file)
    parts = sorted((read_part(path) for path in args.parts), key=lambda part: part.cells)
    refuse_unlike(parts, content, adata.n_obs)
    rows = np.concatenate([part.rows for part in parts])
    width = parts[0].values.shape[1]
    refuse_small_disk(args.out.absolute().parent, 8 * len(rows) * width, f"'{args.out.name}'")
    hardware = sorted({part.provenance.get("hardware", "") for part in parts})
    provenance = parts[0].provenance | {"n_obs": len(rows), "hardware": ", ".join(hardware), "parts": len(parts)}
    provenance.pop("cells", None)

    staging = args.out.with_name(f".{args.out.name}.writing.npy")
    try:
        values = new_array(staging, (len(rows), width))
        start = 0
        for part in parts:
            for at in range(0, len(part.rows), _BLOCK_ROWS):
                block = part.values[at : at + _BLOCK_ROWS]
                values[start : start + len(block)] = block
                start += len(block)
        if args.out.suffix == ".npy":
            values.flush()
            refuse_other_content(args.file, content)
            told = {"cells": [name for part in parts for name in part.names], "provenance": provenance}
            beside(args.out).write_text(json.dumps(told, default=str) + "\n", encoding="utf-8")
            staging.replace(args.out)
        else:
            place = np.full(adata.n_obs, -1, dtype=np.int64)
            place[rows] = np.arange(len(rows))
            found = np.asarray(values) if len(rows) == adata.n_obs else SomeRows(values, place)
            write_h5ad_with(
                args.file, args.out, content=content, obsm={"X_scfoundation": found}, uns={"scfviz": provenance}
            )
    finally:
        staging.unlink(missing_ok=True)
    text = [f"{args.out}: {len(rows):,} cells of {len(parts):,} parts; {width:,} values for each of them."]
    if len(hardware) > 1:
        text.append(f"Attention: the parts were computed on {' and '.join(hardware)}: equal up to rounding.")
    if len(rows) < adata.n_obs:
        text.append(f"Attention: {adata.n_obs - len(rows):,} cells were left out by the filters; they have no result.")
    show_report(args, text, {"out": str(args.out), "n_obs": len(rows), "provenance": provenance})
    return 0


def read_part(path: Path) -> Part:
    """What `embed --cells` wrote: an array, and the `.json` beside it.

    Raises
    ------
    DatasetError
        It is no part, or its files disagree.
    """
    import numpy as np

    try:
        told = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        first, last = told["provenance"]["cells"]
        part = Part(path, (first, last), np.array(told["rows"], np.int64), values, told["cells"], told["provenance"])
        shape = (len(part.rows), len(part.names))
        if values.ndim != 2 or shape != (len(values), len(values)) or values.dtype != np.float32:
            raise ValueError("they disagree")
        if not ((np.diff(part.rows) > 0).all() and first <= part.rows[0] and part.rows[-1] < last):
            raise ValueError("rows outside of its range")
        return part
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetError(
            f"'{path}' is no part of a result ({error}).",
            "A part is a PART.npy with PART.npy.json beside it, from `scfviz embed FILE PART.npy --cells FROM:TO`.",
            "Name these files, and copy both of each.",
        ) from error


def refuse_unlike(parts: list[Part], content: str, n_obs: int) -> None:
    """Refuse parts that are not the whole of one result.

    Raises
    ------
    DatasetError
        They are of another file, of different runs, overlap, or leave a gap.
    """
    first = parts[0]
    for part in parts:
        if part.provenance.get("dataset_id") != content:
            raise DatasetError(
                f"'{part.path}' was computed from another file, or the file has changed since.",
                "All parts are of this one.",
                "Name the file that they were computed from.",
            )
        names = sorted(set(part.provenance) | set(first.provenance))
        other = [
            name
            for name in names
            if name not in _OF_ONE_PART and part.provenance.get(name) != first.provenance.get(name)
        ]
        if other:
            told = "; ".join(f"{name}: {first.provenance.get(name)} and {part.provenance.get(name)}" for name in other)
            raise DatasetError(
                f"'{first.path}' and '{part.path}' were computed differently ({told}).",
                "All parts need the same model and options.",
                "Compute one of them again.",
            )
    expected = 0
    for part in parts:
        begin, end = part.cells
        if begin != expected:
            what = (
                f"cells {expected:,} to {begin - 1:,} are missing"
                if begin > expected
                else f"cell {begin:,} comes twice"
            )
            raise DatasetError(
                f"The parts do not fit together: {what} (at '{part.path}').",
                f"Together they hold each of the {n_obs:,} cells once.",
                f"Compute --cells {expected}:{begin}." if begin > expected else "Leave one of them out.",
            )
        expected = end
    if expected != n_obs:
        raise DatasetError(
            f"The parts end at cell {expected:,}, the file has {n_obs:,}.",
            "Together they hold each of the cells once.",
            f"Compute --cells {expected}:{n_obs}.",
        )
