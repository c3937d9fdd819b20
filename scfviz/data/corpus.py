"""A training corpus: cells of many datasets on one gene order, in memory-mapped sparse shards.

A corpus is a folder:

    manifest.json                    what was kept and dropped, from where, under which licence
    genes.tsv                        the gene order
    sources/NAME/source.json         one finished dataset; its folder appears whole or not at all
    sources/NAME/is_measured.npy     which genes the dataset reports
    sources/NAME/fingerprints.npy    sorted 64-bit fingerprints of its cells, to find duplicates in later datasets
    sources/NAME/shard-000/*.npy     indptr, indices and data of some 16,000 cells, their row numbers in the file,
                                     and the positions of training and of held-out cells

One block of cells is in memory at a time; what grows with a dataset is 8 bytes per cell of the dataset being read.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from scfviz.data.align import align_genes
from scfviz.data.corpus_reader import GENES, MANIFEST, SOURCES
from scfviz.data.corpus_writer import (
    CorpusOptions,
    SourceRecord,
    SourceWriter,
    fingerprint_cells,
    write_manifest,
)
from scfviz.data.formats import stem_of
from scfviz.data.read import read_dataset
from scfviz.data.remote import RemoteDataset, is_remote
from scfviz.data.source import dataset_files, resolve_source, split_part
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import DatasetError, OptionError, ScfvizError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def build_corpus(
    files: Sequence[Path | str],
    folder: Path | str,
    *,
    hold_out: Sequence[str] = (),
    exclude: Sequence[Path | str] = (),
    options: CorpusOptions | None = None,
    genes: Sequence[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Build or extend a training corpus from dataset files.

    Finished datasets are kept when the build is interrupted and run again, and when more files are added later.

    Parameters
    ----------
    files
        Dataset files in any format that `read_dataset` knows, and addresses of .zarr stores, see
        `scfviz.data.remote`, whose parts of 16,384 cells are finished one by one. The first of several equal cells is
        kept.
    folder
        The corpus.
    hold_out
        Names of datasets (file names without ending) that are kept whole for validation. Without any, a share of the
        datasets is chosen by content.
    exclude
        Dataset files whose cells must not enter the corpus, for example the sets that score the model.
    options
        Rules for cells and splits; those of an existing corpus when left out.
    genes
        Gene order; the model's own when left out.
    report
        Called with one line of text per dataset.

    Returns
    -------
    dict
        The manifest, as stored in `manifest.json`. `failed` lists the files that could not be used, with the reason.

    Raises
    ------
    OptionError
        No file is given, names collide, a held-out name is unknown, or options differ from the existing corpus.
    DatasetError
        No cell could be kept for training.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7 (rules for cells, unnormalising, genes).
    """
    folder, say = Path(folder), report or (lambda line: None)
    paths = _name_files([file if is_remote(file) else Path(file) for file in files])
    _check_hold_out(hold_out, paths, folder)
    genes = tuple(load_vocabulary().symbols if genes is None else genes)
    options = _open_folder(folder, genes, options)
    reserved = _fingerprints_of(exclude, genes)
    failed: dict[str, dict[str, str]] = {}
    for name, path in paths.items():
        try:
            for part in _parts_of(name, path, genes):
                if (n_kept := _already_there(folder, part.name, part.checksum)) is not None:
                    say(f"{part.name}: already in the corpus ({n_kept:,} cells)")
                    continue
                by_content = int(part.checksum[:8], 16) / 16**8 < options.held_out_datasets
                is_held_out = name in hold_out if hold_out else by_content
                record = SourceRecord(part.name, part.file, part.checksum, is_held_out)
                _add_part(folder, part, record, options, genes, reserved)
                dropped = ", ".join(f"{n:,} {why}" for why, n in record.dropped.items() if n) or "none"
                kept_whole = "; held out whole" if record.is_held_out else ""
                say(f"{part.name}: {record.n_kept:,} of {record.n_read:,} cells kept (dropped: {dropped}){kept_whole}")
        except ScfvizError as error:
            failed[name] = {"file": _shown(path), **error.as_dict()}
            say(f"{name}: skipped. {error}")
        except OSError as error:
            failed[name] = {"file": _shown(path), "kind": "OSError", "found": str(error), "needed": "", "advice": ""}
            say(f"{name}: skipped. {error}")
        write_manifest(folder, options, failed)
    manifest = write_manifest(folder, options, failed)
    if manifest["n_train"] == 0:
        raise DatasetError(
            f"None of the {len(paths)} files gave a cell for training.",
            f"Cells need more than {options.more_than_genes} expressed model genes, in a dataset that is not held out.",
            "; ".join(f"{name}: {error['found']}" for name, error in failed.items()),
        )
    return manifest


@dataclass(frozen=True)
class _Part:
    """A dataset of the corpus: a file, or a part of a store with `all_obs`, the table of all its cells."""

    name: str
    file: str
    checksum: str
    read: "Callable[[], AnnData]"
    all_obs: "pd.DataFrame | None" = None


def _parts_of(name: str, place: Path | str, genes: tuple[str, ...]) -> Iterator[_Part]:
    if isinstance(place, Path):
        yield _Part(name, place.name, _sha256(place), partial(read_dataset, place))
        return
    store = RemoteDataset(place)
    checksum, location = store.checksum(), None
    for number, (first, last) in enumerate(store.ranges()):
        location = location or align_genes(store.head(), genes=genes).counts_report.location
        read = partial(store.read, first, last, location)
        yield _Part(f"{name}-{number:05d}", store.address, checksum, read, store.obs)


def _shown(place: Path | str) -> str:
    return place.name if isinstance(place, Path) else urlsplit(place).path


def _name_files(files: Sequence[Path | str]) -> dict[str, Path | str]:
    if not files:
        raise OptionError("No dataset file is given.", "A corpus needs at least one.", "Give files or folders of them.")
    named: dict[str, Path | str] = {}
    for file in files:
        last = Path(_shown(file)).name
        name = stem_of(last).lstrip(".") or last
        if name in named:
            raise OptionError(
                f"'{named[name]}' and '{file}' are both named '{name}'.",
                "The name of a file, without its ending, names the dataset.",
                "Rename one of them.",
            )
        named[name] = file
    return named


def _check_hold_out(hold_out: Sequence[str], paths: dict[str, Path | str], folder: Path) -> None:
    known = set(paths) | {path.name for path in (folder / SOURCES).glob("[!.]*")}
    if unknown := sorted(set(hold_out) - known):
        raise OptionError(
            f"Datasets to hold out are not among the files: {', '.join(unknown)}.",
            "Names are file names without their ending.",
            f"Known names: {', '.join(sorted(known)[:12])}.",
        )


def _open_folder(folder: Path, genes: tuple[str, ...], options: CorpusOptions | None) -> CorpusOptions:
    """Start the folder, or check that the existing one follows the same rules."""
    (folder / SOURCES).mkdir(parents=True, exist_ok=True)
    for stale in (folder / SOURCES).glob(".*"):  # left behind by an interrupted build
        shutil.rmtree(stale)
    if (folder / MANIFEST).is_file():
        stored = CorpusOptions(**json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["options"])
        stored_genes = tuple((folder / GENES).read_text(encoding="utf-8").split("\n")[1:-1])
        if (options is not None and options != stored) or stored_genes != genes:
            raise OptionError(
                f"The corpus '{folder}' was built with other rules ({stored}, {len(stored_genes):,} genes).",
                "All datasets of a corpus follow the same rules and gene order.",
                "Leave the options out to go on, or build into an empty folder.",
            )
        return stored
    options = options or CorpusOptions()
    (folder / GENES).write_text("symbol\n" + "".join(f"{gene}\n" for gene in genes), encoding="utf-8")
    write_manifest(folder, options, {})
    return options


def _already_there(folder: Path, name: str, checksum: str) -> int | None:
    """Cells of a dataset that the corpus holds already."""
    done = folder / SOURCES / name / "source.json"
    if not done.is_file():
        return None
    stored = json.loads(done.read_text(encoding="utf-8"))
    if stored["sha256"] != checksum:
        raise DatasetError(
            f"The corpus holds another file named '{name}'.",
            "A dataset is added once; its name stands for its content.",
            "Rename the new file, or build into an empty folder.",
        )
    return int(stored["n_kept"])


def _add_part(
    folder: Path,
    part: _Part,
    record: SourceRecord,
    options: CorpusOptions,
    genes: tuple[str, ...],
    reserved: np.ndarray,
) -> None:
    adata = part.read()
    aligned = align_genes(adata, genes=genes)
    record.origin = _origin(adata.uns.get("source", {}))
    record.licence = str(record.origin.get("licence") or record.origin.get("license") or "not stated")
    record.tissue, record.platform = _distinct(aligned.obs, "tissue"), _distinct(aligned.obs, "platform")
    record.counts, record.genes = aligned.counts_report.as_dict(), aligned.gene_report.as_dict()
    held_out = None
    if options.hold_out_by is not None:
        record.held_out_values, held_out = _hold_out_values(aligned.obs, part.all_obs, options)
    with SourceWriter(folder, record, options, aligned.is_measured, reserved, held_out) as writer:
        for _start, block in aligned.blocks():
            writer.add(block)


def _hold_out_values(
    obs: "pd.DataFrame", all_obs: "pd.DataFrame | None", options: CorpusOptions
) -> tuple[list[str], np.ndarray]:
    """Values of a column that are held out, chosen by their names among all cells, and which cells have them."""
    column = options.hold_out_by
    if column not in obs:
        raise DatasetError(
            f"The cells have no column '{column}'.",
            "Its values, for example donors, are held out whole.",
            f"Columns: {', '.join(map(str, obs.columns[:20])) or 'none'}.",
        )
    values = obs[column].astype(str).to_numpy()
    everywhere = values if all_obs is None else all_obs[column].astype(str)
    found = sorted(set(everywhere), key=lambda value: hashlib.sha256(value.encode()).digest())
    if len(found) < 2:
        raise DatasetError(
            f"All cells have the same value in '{column}'.",
            "At least two are needed: one is held out, the others teach.",
            "Leave the column out: then single cells are held out.",
        )
    chosen = found[: min(len(found) - 1, max(1, round(options.held_out_cells * len(found))))]
    return chosen, np.isin(values, chosen)


def _fingerprints_of(files: Sequence[Path | str], genes: tuple[str, ...]) -> np.ndarray:
    prints = [np.empty(0, dtype=np.uint64)]
    for file in files:
        for _start, block in align_genes(read_dataset(Path(file)), genes=genes).blocks():
            prints.append(fingerprint_cells(block, np.arange(block.shape[0])))
    return np.unique(np.concatenate(prints))


def _origin(stored: Any) -> dict[str, Any]:
    """What the file says about where it comes from (`uns["source"]`, as JSON or as a mapping)."""
    try:
        found = json.loads(stored) if isinstance(stored, str) else dict(stored)
    except (ValueError, TypeError):
        found = None
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {"source": str(stored)}


def _distinct(obs: Any, column: str) -> list[str]:
    return sorted({str(value) for value in obs[column].unique()}) if column in obs else []


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    real = resolve_source(path)
    for file in dataset_files(split_part(real)[0]):
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
