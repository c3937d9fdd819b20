"""Open an HDF5 file as what it holds: AnnData, MuData, loom or 10x; anything else is named."""

import re
from pathlib import Path

import h5py
from anndata import AnnData

from scfviz.data import choices, read_10x, read_anndata, read_loom
from scfviz.data.formats import shorten
from scfviz.errors import DatasetError

FILTERS = {
    305: "lzo", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32026: "blosc2", 4: "szip",
}  # fmt: skip
FILTERED = "Open filtered_feature_bc_matrix.h5 of the same run."
SAVE_AGAIN = "Save the dataset as .h5ad with anndata."
# Groups by which HDF5 files of other programs are known; the first that are all there count.
LAYOUTS = (
    ({"assays", "cell.names"}, "a Seurat object (h5Seurat)", "In R: SeuratDisk::Convert(file, dest = 'h5ad')."),
    ({"barcode_idx", "umi"}, "Cell Ranger's table of molecules (molecule_info.h5)", FILTERED),
    ({"feature_slices"}, "10x's feature_slice.h5, a picture of each gene", FILTERED),
    ({"bins", "pixels"}, "a cooler file: contacts of chromatin", "Open the RNA counts."),
    ({"model_weights"}, "the weights of a Keras model", "Open the counts."),
    ({"layer_names"}, "the weights of a Keras model", "Open the counts."),
    ({"Analyses", "UniqueGlobalKey"}, "a fast5 file of a sequencer", "Open the counts."),
)


def open_hdf5(path: Path, part: str, notes: list[str]) -> tuple[str, AnnData]:
    """(format, AnnData) of an HDF5 file, by the groups inside.

    Parameters
    ----------
    part
        The modality of a MuData file, or "" to take the only one of RNA.

    Raises
    ------
    DatasetError
        Cut short, damaged, in use, compressed in a way that cannot be undone here, or of an unknown layout.
    ChoiceError
        Several modalities could be meant.
    """
    name = shorten(path.name)
    file = open_file(path, name)
    look_through(file, name)
    found = None
    if "mod" in file:
        key = choices.choose_modality(file["mod"], part, path, notes)
        found = "MuData", read_anndata.read_anndata_file(file["mod"][key], f"{name}/{key}", notes)
    elif part:
        raise choices.no_such_part(path, part)
    elif "obs" in file and "var" in file:
        found = "h5ad", read_anndata.read_anndata_file(file, name, notes)
    elif read_loom.is_loom(file):
        found = "loom", read_loom.read_loom(file, name, notes)
    elif genomes := read_10x.find_10x_groups(file):
        found = "10x h5", read_10x.read_10x_h5(file, genomes, name, notes)
    if found:
        # An open file could not be written to by anyone else; it stays open only while matrices are read from it.
        if not read_anndata.reads_from_disk(found[1]):
            file.close()
        return found
    for groups, what, advice in LAYOUTS:
        if groups <= set(file) | set(file.attrs):
            raise DatasetError(f"'{name}' is {what}, not a matrix of cells x genes.", "", advice)
    if any("pandas_type" in file[key].attrs for key in file):
        raise DatasetError(
            f"'{name}' is a table of pandas (HDFStore), not a matrix of cells x genes in a known layout.",
            "",
            "Read it with pandas.read_hdf and save it as .h5ad or .csv.",
        )
    inside = ", ".join(list(file)[:6]) or "nothing"
    raise DatasetError(
        f"'{name}' is an HDF5 file without a cells x genes matrix (it holds: {inside}).",
        "An AnnData, MuData, 10x or loom layout is needed.",
        SAVE_AGAIN,
    )


def open_file(path: Path, name: str) -> h5py.File:
    """An HDF5 file for reading; why it cannot be opened is reported as it is."""
    try:
        return h5py.File(path, "r")
    except BlockingIOError:
        raise DatasetError(f"'{name}' is being written by another program.", "", "Wait until it is done.") from None
    except OSError as error:
        cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error))
        if cut:
            raise DatasetError(
                f"'{name}' is cut short: {int(cut[1]):,} of {int(cut[2]):,} bytes are there.",
                "The whole file is needed.",
                "A download or a copy was interrupted: fetch the file again.",
            ) from error
        detail = " ".join(str(error).split())[:160]
        raise DatasetError(
            f"'{name}' begins like an HDF5 file, but its structure is damaged.",
            "",
            f"Copy or download it again. (HDF5: {detail})",
        ) from error


def look_through(file: h5py.File, name: str) -> None:
    """Refuse a file whose content cannot be had: it lies in other files, or is compressed in an unknown way.

    What lies in other files could lie anywhere on the server.
    """
    filters: set[int] = set()

    def check_link(key: str, link: h5py.HardLink | h5py.SoftLink | h5py.ExternalLink) -> bool | None:
        return True if isinstance(link, h5py.ExternalLink) else None

    def check_object(key: str, elem: h5py.Group | h5py.Dataset) -> bool | None:
        if not isinstance(elem, h5py.Dataset):
            return None
        if elem.chunks:
            plan = elem.id.get_create_plist()
            filters.update(plan.get_filter(i)[0] for i in range(plan.get_nfilters()))
        return True if elem.external or elem.is_virtual else None

    if file.visititems_links(check_link) or file.visititems(check_object):
        raise DatasetError(
            f"'{name}' refers to other files for its content.",
            "A file that holds all its data itself is needed.",
            "Save a full copy of the dataset.",
        )
    if unknown := missing_filters(filters):
        raise DatasetError(
            f"'{name}' is compressed with {' and '.join(unknown)}, which is not installed here.",
            "Compression with gzip or lzf, or none, is always readable.",
            "Install hdf5plugin (pip install hdf5plugin), or save the file again with compression='gzip'.",
        )


def missing_filters(filters: set[int]) -> list[str]:
    """Names of the ways of compression that cannot be undone, after the plugins were asked for."""
    if not all(map(h5py.h5z.filter_avail, filters)):
        try:
            import hdf5plugin  # noqa: F401  (registers zstd, blosc, lz4 and others with HDF5)
        except ImportError:
            pass
    return sorted(FILTERS.get(f, f"the HDF5 filter {f}") for f in filters if not h5py.h5z.filter_avail(f))
