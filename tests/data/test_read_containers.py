"""Files that hold other files or several datasets, and files of other kinds: opened, or named for what they are."""

import ast
import bz2
import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import anndata as ad
import datasets
import h5py
import numpy as np
import pytest
import zarr

from scfviz.data import formats
from scfviz.data.read import read_dataset
from scfviz.data.source import dataset_id
from scfviz.errors import ChoiceError, DatasetError


@pytest.fixture(scope="module")
def adata():
    return datasets.make_adata(names=datasets.some_genes(90))


def same(found, adata) -> bool:
    return (found.X != adata.X).nnz == 0 and list(found.obs_names) == list(adata.obs_names)


def notes(found) -> str:
    return " ".join(found.uns["scfviz_source"]["notes"])


def refuse(path: Path, *words: str) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        read_dataset(path)
    for word in words:
        assert word.lower() in str(caught.value).lower(), str(caught.value)
    return caught.value


def with_user_block(path: Path, size: int = 512, text: bytes = b"MuData (format-version=0.1.0;creator=muon)") -> Path:
    """The same HDF5 file behind a user block, as mudata writes every file."""
    target = path.with_name(f"block-{path.name}")
    with h5py.File(path) as source, h5py.File(target, "w", userblock_size=size) as file:
        for key in source:
            source.copy(key, file)
        file.attrs.update(source.attrs)
    with open(target, "r+b") as handle:
        handle.write(text)
    return target


def write_mudata(path: Path, **modalities) -> Path:
    """An .h5mu as mudata writes it."""
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "MuData"
        for key in ("obs", "var"):
            ad.io.write_elem(file, key, getattr(next(iter(modalities.values())), key))
        for key, modality in modalities.items():
            ad.io.write_elem(file.require_group("mod"), key, modality)
    return with_user_block(path)


# --- HDF5 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [512, 4096])
def test_hdf5_behind_a_user_block_is_read(size, adata, tmp_path):
    path = with_user_block(datasets.write_h5ad(adata, tmp_path / "a.h5ad"), size)
    assert same(read_dataset(path), adata)


def test_the_rna_of_a_mudata_file_is_opened_and_it_is_said(adata, tmp_path):
    path = write_mudata(tmp_path / "a.h5mu", prot=adata[:, :10].copy(), rna=adata)
    found = read_dataset(path)
    assert same(found, adata) and "the modality rna is opened" in notes(found) and "left out: prot" in notes(found)
    assert read_dataset(path / "prot").n_vars == 10 == read_dataset(path / "mod" / "prot").n_vars
    assert len({dataset_id(path), dataset_id(path / "prot"), dataset_id(path / "rna")}) == 3


def test_of_several_modalities_without_a_clear_one_one_is_chosen(adata, tmp_path):
    path = write_mudata(tmp_path / "a.h5mu", tumour=adata, healthy=adata[:7].copy())
    error = refuse(path, "2 modalities", "healthy, tumour")
    assert isinstance(error, ChoiceError) and error.choices == ("block-a.h5mu/healthy", "block-a.h5mu/tumour")
    assert read_dataset(path / "healthy").n_obs == 7
    refuse(path / "blood", "no modality 'blood'", "healthy")


def test_the_only_modality_is_opened(adata, tmp_path):
    found = read_dataset(write_mudata(tmp_path / "a.h5mu", cells=adata))
    assert same(found, adata) and "MuData" in notes(found)


def test_a_single_dataset_has_no_parts(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    refuse(path / "rna", "single dataset", "'rna'")
    refuse(datasets.write_table(adata, tmp_path / "a.csv") / "rna", "single dataset")


@pytest.mark.parametrize("name", ["Zstd", "Blosc", "LZ4", "Bitshuffle"])
def test_other_compressions_are_read(name, adata, tmp_path):
    plugin = pytest.importorskip("hdf5plugin")
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        for key in ("X/data", "X/indices"):
            values = file[key][()]
            del file[key]
            file.create_dataset(key, data=values, chunks=True, compression=getattr(plugin, name)())
    assert same(read_dataset(path), adata)


def test_a_compression_that_is_not_there_is_named(adata, tmp_path, monkeypatch):
    """It was called damaged."""
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad", compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    monkeypatch.setattr("scfviz.data.read_hdf5.FILTERS", {1: "zstd"})
    error = refuse(path, "compressed with zstd", "not installed", "hdf5plugin")
    assert "damaged" not in str(error)


@pytest.mark.parametrize("where", ["features/genome", "features/feature_type"])
def test_one_value_for_all_features_is_read(where, adata, tmp_path):
    path = datasets.write_10x_h5(adata, tmp_path / "a.h5", 3)
    with h5py.File(path, "r+") as file:
        value = file["matrix"][where][0]
        del file["matrix"][where]
        file["matrix"][where] = value
    assert same(read_dataset(path), adata)


@pytest.mark.parametrize(
    ("version", "missing"), [(2, "genes"), (3, "features/id"), (2, "gene_names"), (3, "features/name")]
)
def test_features_with_names_or_ids_alone_are_read(version, missing, adata, tmp_path):
    path = datasets.write_10x_h5(adata, tmp_path / "a.h5", version)
    with h5py.File(path, "r+") as file:
        del file["matrix" if version == 3 else "GRCh38"][missing]
    found = read_dataset(path)
    assert same(found, adata)
    assert found.var_names[0].startswith("ENSG") if "name" in missing else found.var_names[0] == adata.var_names[0]


def test_the_layout_of_cellbender_is_read(adata, tmp_path):
    path = datasets.write_10x_h5(adata, tmp_path / "a.h5", 2)
    with h5py.File(path, "r+") as file:
        file.move("GRCh38", "background_removed")
        group = file["background_removed"]
        del group["genes"]
        group["ambient_expression"], group["target_false_positive_rate"] = np.ones(90), 0.01
        file["metadata/learning_rate"] = 1e-4
    assert same(read_dataset(path), adata)


@pytest.mark.parametrize(
    ("groups", "word"),
    [
        (["assays", "cell.names"], "h5Seurat"),
        (["barcode_idx", "umi", "gem_group"], "molecule_info"),
        (["bins", "pixels", "chroms"], "cooler"),
        (["model_weights"], "Keras"),
    ],
)
def test_hdf5_of_other_programs_is_named(groups, word, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group in groups:
            file.create_group(group)
    refuse(tmp_path / "a.h5", word)


def test_a_table_of_pandas_in_hdf5_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("df").attrs["pandas_type"] = b"frame"
    refuse(tmp_path / "a.h5", "HDFStore", "read_hdf")


def test_a_cut_file_says_how_much_of_it_is_there(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    refuse(path, "cut short", f"{size // 2:,} of {size:,} bytes")


# --- zarr ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [".", "data.zarr"])
def test_a_zarr_store_in_a_zip_is_read(above, adata, tmp_path):
    adata.write_zarr(tmp_path / "top" / "data.zarr")
    root = tmp_path / "top" if above != "." else tmp_path / "top" / "data.zarr"
    path = Path(shutil.make_archive(str(tmp_path / "a.zarr"), "zip", root))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._data.zarr", b"Mac OS X")
    found = read_dataset(path)
    assert same(found, adata) and list(found.obs["cell_type"]) == list(adata.obs["cell_type"])


def test_a_zip_whose_parts_unpack_to_too_much_is_refused(adata, tmp_path, monkeypatch):
    adata.write_zarr(tmp_path / "data.zarr")
    path = Path(shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "data.zarr"))
    monkeypatch.setattr("scfviz.data.read_zarr.MAX_MEMBER_BYTES", 100)
    refuse(path, "unpacks to more than")


def test_a_pickle_in_a_zipped_store_is_refused(adata, tmp_path):
    adata.write_zarr(tmp_path / "data.zarr")
    path = Path(shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "data.zarr"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("uns/x/.zarray", '{"filters": [{"id": "pickle"}]}')
    refuse(path, "pickled", "run programs")


def test_an_old_store_with_compound_tables_is_read(adata, tmp_path):
    root = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    root.create_array("X", data=adata.X.toarray())
    for key, names in (("obs", adata.obs_names), ("var", adata.var_names)):
        table = np.array([(n.encode(), i) for i, n in enumerate(names)], dtype=[("index", "S30"), ("number", "i4")])
        root.create_array(key, data=table)
    found = read_dataset(tmp_path / "old.zarr")
    assert same(found, adata) and list(found.var_names) == list(adata.var_names)
    assert list(found.obs["number"]) == list(range(60))


def write_store(path: Path, group: str, **parts) -> Path:
    root = zarr.open_group(path, mode="w")
    for key, part in parts.items():
        ad.io.write_elem(root.require_group(group), key, part)
    return path


def test_mudata_and_spatialdata_stores_are_read(adata, tmp_path):
    other = adata[:5].copy()
    mudata = write_store(tmp_path / "m.zarr", "mod", rna=adata, atac=other)
    assert same(read_dataset(mudata), adata) and "atac" in notes(read_dataset(mudata))
    spatial = write_store(tmp_path / "s.zarr", "tables", table=adata)
    zarr.open_group(spatial).create_group("images")
    assert same(read_dataset(spatial), adata) and "SpatialData" in notes(read_dataset(spatial))
    several = write_store(tmp_path / "t.zarr", "tables", cells=adata, nuclei=other)
    error = refuse(several, "2 tables", "cells, nuclei")
    assert same(read_dataset(tmp_path / error.choices[0]), adata)
    assert read_dataset(several / "tables" / "nuclei").n_obs == 5


@pytest.mark.parametrize("keys", [["images", "points"], ["labels"]])
def test_a_spatial_store_without_a_table_is_named(keys, tmp_path):
    root = zarr.open_group(tmp_path / "s.zarr", mode="w")
    root.attrs["spatialdata_attrs"] = {"version": "0.2"}
    for key in [*keys, "tables"]:
        root.create_group(key)
    refuse(tmp_path / "s.zarr", "without a table", keys[0])


def test_a_store_of_images_is_named(tmp_path):
    root = zarr.open_group(tmp_path / "i.zarr", mode="w")
    root.attrs["multiscales"] = []
    root.create_group("0")
    refuse(tmp_path / "i.zarr", "OME-Zarr", "obs and var")


# --- archives and other kinds --------------------------------------------------------------------------------------


def tar_of(path: Path, mode: str, names) -> Path:
    with tarfile.open(path, mode) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
    return path


@pytest.mark.parametrize(("name", "mode"), [("GSE1_RAW.tar", "w"), ("a.tar.gz", "w:gz"), ("b.tgz", "w:gz")])
def test_a_tar_says_what_is_inside(name, mode, tmp_path):
    path = tar_of(tmp_path / name, mode, ["GSM1_matrix.mtx.gz", "._GSM1_matrix.mtx.gz", "GSM1_barcodes.tsv.gz"])
    refuse(path, "archive (tar) of 2 files", "GSM1_matrix.mtx.gz", "Unpack it")
    assert list(tmp_path.iterdir()) == [path]


def test_a_tar_that_begins_with_an_hdf5_file_is_no_hdf5_file(adata, tmp_path):
    """The content of its first file stands at byte 512, where HDF5 behind a user block would."""
    h5ad = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(h5ad, "a.h5ad")
    refuse(tmp_path / "a.tar", "archive (tar) of 1 files: a.h5ad")


def test_a_packed_tar_is_listed_in_bounded_memory(tmp_path, monkeypatch):
    path = tar_of(tmp_path / "a.tar.gz", "w:gz", [f"f{i}" for i in range(200)])
    monkeypatch.setattr("scfviz.data.foreign.MAX_UNPACKED_TO_LIST", 50_000)
    refuse(path, "at least")


def test_a_zip_of_datasets_says_which_to_open(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/pbmc.h5ad", b"x")
        archive.writestr("__MACOSX/data/._pbmc.h5ad", b"x")
    refuse(tmp_path / "a.zip", "it holds: data/pbmc.h5ad", "Unpack it and open data/pbmc.h5ad")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"RDX3\nX\n", "R data"),
        (b"X\n\x00\x00\x00\x03\x00", "R object"),
        (b"PAR1" + b"x" * 20, "Parquet"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\x80\x04\x95", "pickle"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", ".xls"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x00\x05\x16\x07\x00\x02", "companion file of macOS"),
        (b"BUS\x00\x01", "reads"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git lfs pull"),
        (b'{"message": "Not Found"}', "JSON"),
        (b"#!genome-build GRCh38\n", "annotation"),
        (b"%%MatrixMarket matrix coordinate integer general\n", "names of its cells"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_other_kinds_are_named_whatever_they_are_called(content, word, packed, tmp_path):
    for name in ("a.h5ad", "a.csv", "a.gz"):
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        error = refuse(tmp_path / name, word)
        assert "damaged" not in str(error)


@pytest.mark.parametrize(("pack", "word"), [(bz2.compress, "bzip2"), (lambda b: b"\x28\xb5\x2f\xfd" + b, "zstd")])
def test_other_ways_of_packing_are_named(pack, word, tmp_path):
    (tmp_path / "a.csv").write_bytes(pack(b"gene,a\nCD3E,1\n"))
    refuse(tmp_path / "a.csv", f"packed ({word})", "Unpack")


@pytest.mark.parametrize("name", ["a.cloupe", "a.qs"])
def test_files_known_by_their_ending_are_named(name, tmp_path):
    (tmp_path / name).write_bytes(b'{"x": 1}')
    refuse(tmp_path / name, "Loupe" if "loupe" in name else "R object")


def test_a_packed_h5ad_is_named(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    (tmp_path / "b.h5ad.gz").write_bytes(gzip.compress(path.read_bytes()))
    refuse(tmp_path / "b.h5ad.gz", "packed (gzip)", "HDF5")


def test_a_folder_of_tiledb_is_named(tmp_path):
    (tmp_path / "soma" / "__schema").mkdir(parents=True)
    refuse(tmp_path / "soma", "TileDB", "to_h5ad")


def test_long_names_keep_their_ending(adata, tmp_path):
    name = "x" * 150 + "_counts.h5ad"
    path = datasets.write_h5ad(adata, tmp_path / name)
    path.write_bytes(path.read_bytes()[:3000])
    error = refuse(path, "_counts.h5ad'", "...")
    assert len(str(error)) < 400


# --- one list ------------------------------------------------------------------------------------------------------


def test_the_endings_of_datasets_stand_in_one_place():
    """There were four lists, and they had drifted apart."""
    root = Path(formats.__file__).parents[1]
    for path in root.rglob("*.py"):
        if path == Path(formats.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                texts = {e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)}
                assert len(texts & {".h5ad", ".h5", ".loom", ".zarr", ".csv", ".tsv", ".zip"}) < 2, path.name


def test_every_ending_of_the_list_is_read(adata, tmp_path):
    writers = {
        ".h5ad": datasets.write_h5ad,
        ".h5": lambda a, p: datasets.write_10x_h5(a, p, 3),
        ".loom": datasets.write_loom,
        ".zip": datasets.write_mtx_zip,
        ".h5mu": lambda a, p: write_mudata(p, rna=a),
        ".hdf5": datasets.write_h5ad,
    }
    for suffix in formats.FILE_SUFFIXES:
        path = tmp_path / f"a{suffix}"
        if suffix.startswith(formats.TABLE_SUFFIXES):
            frame = adata.to_df().astype(int)
            frame.to_csv(path, sep="," if "csv" in suffix else "\t")
        else:
            path = writers[suffix](adata, path)
        assert same(read_dataset(path), adata), suffix
        assert formats.is_dataset_file(path.name) and formats.stem_of(path.name).endswith("a")


def test_companions_and_hidden_files_are_no_datasets():
    for name in ("._a.h5ad", ".a.csv", "__MACOSX/a.h5ad", "a.rds", "notes.md"):
        assert not formats.is_dataset_file(name)
    assert formats.is_dataset_folder([".zgroup"]) and formats.is_dataset_folder(["matrix.mtx.gz"])
    assert not formats.is_dataset_folder(["._matrix.mtx", "a.h5ad"])
