"""The one list of what is readable: endings of names, folders, and how a name is shown."""

from collections.abc import Iterable

HDF5_SUFFIXES = (".h5ad", ".h5mu", ".h5", ".hdf5", ".loom")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".st")  # .st: BD Rhapsody
MATRIX_SUFFIX = ".mtx"
ZARR_SUFFIX = ".zarr"
ZARR_METADATA = (".zgroup", ".zattrs", "zarr.json", ".zmetadata")
PACKED = ".gz"
# Endings that say by themselves that a file (or folder) is a dataset: a table may be anything.
DATASET_SUFFIXES = (*HDF5_SUFFIXES, ZARR_SUFFIX)
# Endings of single files that may hold a dataset.
FILE_SUFFIXES = (*HDF5_SUFFIXES, ".zip", *TABLE_SUFFIXES, *(suffix + PACKED for suffix in TABLE_SUFFIXES))
# Endings that go when a dataset is named after its file.
ENDINGS = (PACKED, ".zip", ZARR_SUFFIX, MATRIX_SUFFIX, *HDF5_SUFFIXES, *TABLE_SUFFIXES)
FORMATS = (
    ".h5ad, .h5mu, .zarr (a folder or .zip), 10x .h5, matrix.mtx with its files of names (a folder or .zip), .loom, "
    ".csv, .tsv or .txt (also .gz)"
)
MAX_NAME = 80


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder above it, begins with a dot, or is one that macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def is_dataset_file(name: str) -> bool:
    """Whether a file of this name may hold a dataset; its content decides when it is opened."""
    return not is_hidden(name) and name.lower().endswith(FILE_SUFFIXES)


def is_matrix_file(name: str) -> bool:
    """Whether a file is a Matrix Market matrix by its name."""
    return not is_hidden(name) and name.lower().removesuffix(PACKED).endswith(MATRIX_SUFFIX)


def is_dataset_folder(names: Iterable[str]) -> bool:
    """Whether a folder with these files is a dataset itself: a .zarr store, or matrices with their names."""
    return any(name in ZARR_METADATA or is_matrix_file(name) for name in names)


def stem_of(name: str) -> str:
    """A file's name without the endings of datasets: `pbmc.csv.gz` is `pbmc`."""
    while ending := next((e for e in ENDINGS if name.lower().endswith(e) and len(name) > len(e)), ""):
        name = name[: -len(ending)]
    return name


def shorten(name: str, width: int = MAX_NAME) -> str:
    """A long name with its middle left out, so that its ending stays."""
    if len(name) <= width:
        return name
    kept = width // 3
    return f"{name[: width - kept - 3]}...{name[-kept:]}"
