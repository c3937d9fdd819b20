"""Files and folders that hold several datasets: which one is opened, and how another is chosen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scfviz.data.formats import shorten
from scfviz.errors import ChoiceError, DatasetError

RNA_NAMES = (
    "rna",
    "gex",
    "mrna",
    "scrna",
    "snrna",
    "expression",
    "gene_expression",
    "gene expression",
    "transcriptome",
)
N_LISTED = 12
# The matrix with the counts, written behind the path of what holds it.
MATRIX = re.compile(r"(?:(.+)/)?(X|raw|layers/[^/]+)")


def path_of(container: Path, part: str) -> str:
    """How a part is written behind the file or folder that holds it."""
    return f"{container.name}/{part}"


def choose_part(
    container: Path, part: str, names: Sequence[str], likely: Sequence[str], kind: str, notes: list[str]
) -> str:
    """The part to open: the one asked for, the only one there is, or the only likely one (which is then noted).

    Parameters
    ----------
    names
        Everything that could be opened.
    likely
        Those that are probably meant; where it is one, it is taken.
    kind
        What a part is called: "modality", "table", "sample".

    Raises
    ------
    ChoiceError
        Several could be meant, or the one asked for is not there.
    """
    if part:
        wanted = part.strip("/")
        # mod/rna and rna are the same, and so are names with and without the folders above; rna/X is a matrix in rna.
        last = "" if MATRIX.fullmatch(wanted) else wanted.split("/")[-1]
        fitting = [n for n in names if n == wanted] or [n for n in names if n == last]
        if not fitting:
            raise no_such_part(container, part, names, kind)
        return fitting[0]
    chosen = names if len(names) == 1 else likely
    if len(chosen) != 1:
        raise several(container, names, kind)
    others = [n for n in names if n != chosen[0]]
    if others:
        notes.append(
            f"'{shorten(container.name)}' holds several parts; the {kind} {chosen[0]} is opened, left out: "
            f"{listed(others)}. Another is opened as {path_of(container, others[0])}."
        )
    return chosen[0]


def several(container: Path, names: Sequence[str], kind: str) -> ChoiceError:
    """The error that asks for a choice."""
    plural = "modalities" if kind == "modality" else f"{kind}s"
    return ChoiceError(
        f"'{shorten(container.name)}' holds {len(names):,} {plural}: {listed(names)}.",
        f"One {kind} of RNA counts is needed.",
        f"Choose one by writing its name behind the path: {path_of(container, names[0])}."
        if names
        else "Choose another file.",
        choices=tuple(path_of(container, n) for n in names),
    )


def no_such_part(container: Path, part: str, names: Sequence[str] = (), kind: str = "part") -> DatasetError:
    """The error for a path that names something which is not inside."""
    if not names:
        return DatasetError(
            f"'{shorten(container.name)}' is a single dataset; there is no '{shorten(part)}' in it.",
            "",
            f"Open {container.name} itself.",
        )
    return ChoiceError(
        f"'{shorten(container.name)}' has no {kind} '{shorten(part)}'.",
        f"It holds: {listed(names)}.",
        f"For example {path_of(container, names[0])}.",
        choices=tuple(path_of(container, n) for n in names),
    )


def listed(names: Sequence[str], most: int = N_LISTED) -> str:
    """The first names, shortened, and how many there are beside them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shorten(n) for n in names[:most]) or "nothing") + more


def choose_modality(modalities: Mapping, part: str, container: Path, notes: list[str]) -> str:
    """The modality of a MuData file to open: of RNA, unless another is asked for.

    Parameters
    ----------
    modalities
        Name to group, of HDF5 or zarr.
    """
    names = sorted(modalities)
    if not names:
        raise DatasetError(f"'{shorten(container.name)}' is a MuData file without any modality.", "", "Save it again.")
    likely = [n for n in names if n.lower() in RNA_NAMES] or [n for n in names if "rna" in n.lower()]
    key = choose_part(container, part.removeprefix("mod/"), names, likely, "modality", notes)
    if not any(container.name in note for note in notes):
        notes.append(f"'{shorten(container.name)}' is a MuData file; its modality {key} is opened.")
    if not all(table in modalities[key] for table in ("obs", "var")):
        raise DatasetError(
            f"'{shorten(container.name)}' holds several kinds of measurements (MuData: {listed(names)}), and '{key}' "
            "among them has no cells x genes matrix.",
            "One cells x genes matrix of RNA counts is needed.",
            "Choose another modality by writing its name behind the path, or save the RNA part as .h5ad "
            "(mdata.mod['rna'].write_h5ad).",
        )
    return key
