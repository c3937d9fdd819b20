"""Files of other kinds, known by their first bytes: each is refused by its name, with what to do."""

import gzip
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from scfviz.data.choices import listed
from scfviz.data.formats import FORMATS, HDF5_SUFFIXES, is_dataset_file, is_hidden, shorten
from scfviz.data.source import GZIP_MAGIC
from scfviz.errors import DatasetError

N_LISTED = 6
MAX_MEMBERS = 5_000
MAX_UNPACKED_TO_LIST = 2**26
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
TAR_MAGIC, TAR_OFFSET = b"ustar", 257
HEAD_BYTES = 512
UNPACK = "Unpack it, then open what was inside."
AS_H5AD = "Save the counts as .h5ad together with the names of cells and genes."
IN_R = "In R, write it as .h5ad (zellkonverter::writeH5AD, anndataR or SeuratDisk), with its raw counts."
COUNT_FIRST = "Count the reads first (Cell Ranger, STARsolo, kb, alevin-fry)."
AS_CSV = "Save its sheet as .csv. Excel turns some gene names into dates: better get the original table."
NO_PICKLE = "Pickles are never opened: they can run programs. Save the data as .h5ad."
NOT_AN_IMAGE = "Open the counts, not the image."
FETCH = "The data itself was not fetched: run"
# Endings of files whose first bytes say little.
ENDINGS = {
    ".cloupe": ("a Loupe Browser file", "Open filtered_feature_bc_matrix.h5 of the same run."),
    ".vloupe": ("a Loupe V(D)J Browser file", "Open filtered_feature_bc_matrix.h5 of the same run."),
    ".sf": (
        "Salmon's quantification of one sample (quant.sf)",
        "Put the counts of all samples into one table, genes x samples (tximport).",
    ),
    ".qs": ("an R object (.qs)", IN_R),
    ".h5seurat": ("a Seurat object (h5Seurat)", "In R: SeuratDisk::Convert(file, dest = 'h5ad')."),
}
# First bytes, what it is, what to do.
KINDS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, a text of three lines that stands for the data",
        f"{FETCH} git lfs pull.",
    ),
    (b"/annex/objects/", "a git-annex pointer that stands for the data", f"{FETCH} git annex get."),
    (
        b'{"',
        "a file that begins like a JSON text (perhaps an error message of a server)",
        "Download the data file itself.",
    ),
    (b"##fileformat=VCF", "a VCF file: variants, not counts", "Open the counts."),
    (b"#!genome-build", "an annotation of a genome (GTF or GFF)", "Open the counts."),
    (b"##gff-version", "an annotation of a genome (GFF)", "Open the counts."),
    (b"##description: ", "an annotation of a genome (GTF)", "Open the counts."),
    (
        b"%%MatrixMarket",
        "a matrix without the names of its cells and genes",
        "Open the folder that holds it together with barcodes.tsv and features.tsv.",
    ),
    (b"\x00\x05\x16\x07", "a companion file of macOS, not the data", "Open the file of the same name without ._."),
    (b"RDX", "an R data file", IN_R),
    (b"X\n\x00\x00\x00", "an R object (.rds)", IN_R),
    (b"A\n2\n", "an R object (.rds)", IN_R),
    (b"A\n3\n", "an R object (.rds)", IN_R),
    (b"PAR1", "a Parquet table", AS_H5AD),
    (b"ARROW1", "an Arrow or Feather table", AS_H5AD),
    (b"\x93NUMPY", "a NumPy array without the names of its cells and genes", AS_H5AD),
    (b"MATLAB ", "a MATLAB file", AS_H5AD),
    (b"SQLite format 3", "an SQLite database (Loupe and others)", "Export the counts as .h5 or matrix.mtx."),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind (.xls)", AS_CSV),
    (b"BUS\x00", "a BUS file of kallisto: reads, not yet counts", "Run bustools count, then open its folder."),
    (b"BAM\x01", "a BAM file: reads, not yet counts", COUNT_FIRST),
    (b"@HD\t", "a SAM file: reads, not yet counts", COUNT_FIRST),
    (b"BZh", "packed (bzip2)", UNPACK),
    (b"\xfd7zXZ", "packed (xz)", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed (zstd)", UNPACK),
    (b"7z\xbc\xaf", "packed (7z)", UNPACK),
    (b"Rar!", "packed (rar)", UNPACK),
    (b"%PDF", "a PDF document", "Open the data file itself."),
    (b"\x89PNG", "a picture (PNG)", NOT_AN_IMAGE),
    (b"\xff\xd8\xff", "a picture (JPEG)", NOT_AN_IMAGE),
    (b"II*\x00", "a picture (TIFF)", NOT_AN_IMAGE),
    (b"MM\x00*", "a picture (TIFF)", NOT_AN_IMAGE),
    (b"\x80\x02", "a Python pickle", NO_PICKLE),
    (b"\x80\x03", "a Python pickle", NO_PICKLE),
    (b"\x80\x04", "a Python pickle", NO_PICKLE),
    (b"\x80\x05", "a Python pickle", NO_PICKLE),
)


def refuse_foreign(path: Path, head: bytes) -> None:
    """Refuse a file whose first bytes are those of another kind of file, packed with gzip or not.

    Parameters
    ----------
    head
        At least the first 512 bytes.

    Raises
    ------
    DatasetError
        It names the kind and what to do.
    """
    name = shorten(path.name)
    if is_tar(head):
        refuse_tar(path)
    if is_web_page(head):
        raise DatasetError(
            f"'{name}' is a web page (HTML or XML), not a dataset.",
            f"Readable formats: {FORMATS}.",
            "The link of the download led to a page, perhaps to sign in: download the file itself.",
        )
    if path.suffix.lower() in ENDINGS:
        what, advice = ENDINGS[path.suffix.lower()]
        raise DatasetError(f"'{name}' is {what}.", f"Readable formats: {FORMATS}.", advice)
    refuse_kind(head, name)
    if not head.startswith(GZIP_MAGIC):
        return
    inside = unpacked_head(path)
    if is_tar(inside):
        refuse_tar(path)
    refuse_kind(inside, name, " packed with gzip")
    is_hdf5 = inside.startswith(HDF5_MAGIC)
    endings = [suffix.lower() for suffix in path.suffixes[-2:]]
    if is_hdf5 or set(endings) & {*HDF5_SUFFIXES, ".tar", ".tgz"}:
        raise DatasetError(
            f"'{name}' is packed (gzip){' and holds an HDF5 file' if is_hdf5 else ''}.",
            f"Readable formats: {FORMATS}.",
            UNPACK,
        )


def is_tar(head: bytes) -> bool:
    """Whether these are the first bytes of a tar archive."""
    return head[TAR_OFFSET : TAR_OFFSET + len(TAR_MAGIC)] == TAR_MAGIC


def is_web_page(head: bytes) -> bool:
    """Whether these are the first bytes of HTML or XML."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def refuse_kind(head: bytes, name: str, packed: str = "") -> None:
    """Refuse what KINDS knows."""
    for magic, what, advice in KINDS:
        if head.startswith(magic):
            raise DatasetError(f"'{name}' is {what}{packed}.", f"Readable formats: {FORMATS}.", advice)


def unpacked_head(path: Path) -> bytes:
    """The first bytes inside a gzip file; empty where it is damaged."""
    try:
        with gzip.open(path, "rb") as handle:
            return handle.read(HEAD_BYTES)
    except (OSError, EOFError):
        return b""


def refuse_tar(path: Path) -> None:
    """Refuse an archive with what is inside; nothing of it is unpacked."""
    names, is_all = list_tar(path)
    count = f"{len(names):,} files" if is_all else f"at least {len(names):,} files"
    raise DatasetError(
        f"'{shorten(path.name)}' is an archive (tar) of {count}: {listed(names, N_LISTED)}.",
        "A single file, or the folder of one dataset, is needed.",
        "Unpack it into a folder of its own (tar -xf) and open that folder, or one of the files. The files of several "
        "samples may stay together: one is then chosen.",
    )


class Limited:
    """A stream that ends early: a few packed kilobytes can unpack to more than a disk holds."""

    def __init__(self, stream: BinaryIO, n_bytes: int):
        self.stream, self.left = stream, n_bytes

    def read(self, n: int = -1) -> bytes:
        """At most `n` bytes, nothing after the limit."""
        block = self.stream.read(min(n, self.left) if n >= 0 else self.left)
        self.left -= len(block)
        return block


def list_tar(path: Path) -> tuple[list[str], bool]:
    """Names of the files of an archive, and whether these are all."""
    names: list[str] = []
    with open(path, "rb") as handle:
        is_packed = handle.read(2) == GZIP_MAGIC
    stream = Limited(gzip.open(path, "rb"), MAX_UNPACKED_TO_LIST) if is_packed else None
    try:
        with tarfile.open(path, "r:") if stream is None else tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isfile() and not is_hidden(member.name.removeprefix("./")):
                    names.append(member.name)
                if len(names) >= MAX_MEMBERS:
                    return names, False
    except (tarfile.TarError, OSError, EOFError):
        return names, False
    finally:
        if stream is not None:
            stream.stream.close()
    return names, True


def zip_error(path: Path, names: list[str]) -> DatasetError:
    """The refusal of a .zip that is neither a .zarr store nor a matrix with its names, by what is inside."""
    name, files = shorten(path.name), [n for n in names if not n.endswith("/")]
    needed = f"Readable formats: {FORMATS}."
    if any(n.startswith("xl/") for n in names):
        return DatasetError(
            f"'{name}' is an Excel workbook.",
            needed,
            AS_CSV,
        )
    if files and all(n.endswith(".npy") for n in files):
        return DatasetError(
            f"'{name}' holds NumPy arrays ({listed(files, N_LISTED)}) without the names of cells and genes.",
            needed,
            "Save them as .h5ad together with their names.",
        )
    if any(n.endswith("data.pkl") for n in files):
        return DatasetError(
            f"'{name}' is a file of PyTorch, perhaps a model.", needed, "A checkpoint is imported on the Model page."
        )
    inside = [n for n in files if is_dataset_file(n)]
    return DatasetError(
        f"'{name}' is an archive (zip) with no matrix.mtx and no .zarr store in it; it holds: "
        f"{listed(files, N_LISTED)}.",
        "matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv) are needed, or a .zarr store.",
        f"Unpack it and open {'one of them' if len(inside) > 1 else inside[0]}." if inside else "Open the data itself.",
    )


def open_zip_names(path: Path) -> list[str]:
    """Names in a .zip.

    Raises
    ------
    DatasetError
        The archive is cut short.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        raise DatasetError(
            f"The archive '{shorten(path.name)}' is cut short or damaged: its list of contents, which stands at its "
            "end, is missing.",
            "",
            "Copy or download it again.",
        ) from None
