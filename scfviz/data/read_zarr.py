"""Open .zarr stores, in a folder or a .zip: AnnData, MuData or SpatialData. Nothing is unpacked to disk."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scfviz.data import choices
from scfviz.data.formats import ZARR_METADATA, shorten
from scfviz.data.read_anndata import read_anndata_file
from scfviz.data.source import dataset_files
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import zarr
    from anndata import AnnData

PICKLE = re.compile(r'"(?:numcodecs\.)?pickle"')
ARRAY_METADATA = (".zarray", ".zmetadata", "zarr.json")
# A member of a .zip is read as a whole: a few packed kilobytes can unpack to more than memory holds.
MAX_MEMBER_BYTES = 2**31


def open_zarr_folder(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """(format, AnnData) of a .zarr folder."""
    import zarr

    metadata = (
        (p.parent.name, p.read_text("utf-8", "replace")) for p in dataset_files(path) if p.name in ARRAY_METADATA
    )
    refuse_pickles(metadata, shorten(path.name))
    return open_root(zarr.open_group(path, mode="r"), path, part, notes)


def open_zarr_zip(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """(format, AnnData) of a .zarr store in a .zip, at its top or in a folder of it."""
    import zarr

    name = shorten(path.name)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if "__MACOSX" not in PurePosixPath(m.filename).parts]
        large = next((m.filename for m in members if m.file_size > MAX_MEMBER_BYTES), None)
        if large:
            raise DatasetError(
                f"In '{name}' the part {shorten(large)} unpacks to more than 2 GB.",
                "",
                "Unpack it and open the folder.",
            )
        found = [m for m in members if PurePosixPath(m.filename).name in ARRAY_METADATA]
        refuse_pickles(((m.filename, archive.read(m).decode("utf-8", "replace")) for m in found), name)
    tops = sorted(
        (PurePosixPath(m.filename).parent for m in members if PurePosixPath(m.filename).name in ZARR_METADATA),
        key=lambda p: len(p.parts),
    )
    store = zarr.storage.ZipStore(path, mode="r", read_only=True)
    root = zarr.open_group(store, path="/".join(tops[0].parts), mode="r")
    return open_root(root, path, part, notes)


def refuse_pickles(metadata: Iterable[tuple[str, str]], name: str) -> None:
    """Refuse a store with a stored Python object in it.

    Parameters
    ----------
    metadata
        (where, JSON text) of each array.
    """
    for where, text in metadata:
        if PICKLE.search(text):
            raise DatasetError(
                f"'{name}' holds stored Python objects (a pickled array in {where}).",
                "They are never opened: they can run programs.",
                "Save these columns as text or numbers.",
            )


def open_root(root: "zarr.Group", path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """(format, AnnData) of an open store: itself, a modality of MuData, or a table of SpatialData."""
    name = shorten(path.name)
    keys = list(root)
    if "mod" in keys:
        key = choices.choose_modality({k: root["mod"][k] for k in root["mod"]}, part, path, notes)
        return "MuData", read_anndata_file(root["mod"][key], f"{name}/{key}", notes)
    tables = next((root[k] for k in ("tables", "table") if k in keys and "obs" not in root[k]), None)
    if tables is not None and ("spatialdata_attrs" in root.attrs or "obs" not in keys):
        if not list(tables):
            raise DatasetError(
                f"'{name}' is a SpatialData store without a table of counts (it holds: {', '.join(keys[:6])}).",
                "A table with cells x genes is needed.",
                "Add the counts to it, or open their .h5ad.",
            )
        key = choices.choose_part(path, part.removeprefix("tables/"), sorted(tables), [], "table", notes)
        notes.append(f"The table '{key}' of a SpatialData store is opened; its images and shapes are not needed.")
        return "SpatialData", read_anndata_file(tables[key], f"{name}/{key}", notes)
    if part:
        raise choices.no_such_part(path, part)
    if not {"obs", "var"} <= set(keys):
        is_image = "multiscales" in root.attrs or "ome" in root.attrs
        raise DatasetError(
            f"'{name}' is a .zarr store of {'images (OME-Zarr)' if is_image else 'another kind'}, without AnnData's "
            f"tables obs and var (it holds: {', '.join(keys[:6]) or 'nothing'}).",
            "A store written by anndata, mudata or spatialdata is needed.",
            "Open cell_feature_matrix.h5 of the same run."
            if keys == ["cell_features"]  # of Xenium
            else "Save the counts as .h5ad or .zarr with anndata.",
        )
    return "zarr", read_anndata_file(root, name, notes)
