"""Every format gives the same cells, and every broken file a sentence."""

import gzip
import os
import shutil
import zipfile
from pathlib import Path

import anndata as ad
import datasets
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.read import read_dataset
from scfviz.data.source import dataset_id
from scfviz.errors import DatasetError


@pytest.fixture(scope="module")
def adata():
    return datasets.make_adata()


WRITERS = {
    "h5ad": lambda a, d: datasets.write_h5ad(a, d / "a.h5ad"),
    "h5ad gzip": lambda a, d: datasets.write_h5ad(a, d / "a.h5ad", compression="gzip"),
    "old h5ad": lambda a, d: datasets.write_old_h5ad(a, d / "a.h5ad"),
    "10x h5 v2": lambda a, d: datasets.write_10x_h5(a, d / "a.h5", 2),
    "10x h5 v3": lambda a, d: datasets.write_10x_h5(a, d / "a.h5", 3),
    "mtx genes.tsv": lambda a, d: datasets.write_mtx_folder(a, d / "a", 2),
    "mtx features.tsv.gz": lambda a, d: datasets.write_mtx_folder(a, d / "a", 3),
    "mtx zip": lambda a, d: datasets.write_mtx_zip(a, d / "a.zip"),
    "loom": lambda a, d: datasets.write_loom(a, d / "a.loom"),
    "csv": lambda a, d: datasets.write_table(a, d / "a.csv"),
    "csv.gz genes as rows": lambda a, d: datasets.write_table(a, d / "a.csv.gz", genes_are_rows=True),
    "tsv genes as rows": lambda a, d: datasets.write_table(a, d / "a.tsv", genes_are_rows=True),
    "tsv.gz": lambda a, d: datasets.write_table(a, d / "a.tsv.gz"),
}


def write_zarr(a, d):
    a.write_zarr(d / "a.zarr")
    return d / "a.zarr"


WRITERS["zarr"] = write_zarr


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_cells_and_genes(kind, adata, tmp_path):
    found = read_dataset(WRITERS[kind](adata, tmp_path))
    assert list(found.obs_names) == list(adata.obs_names)
    assert list(found.var_names) == list(adata.var_names)
    assert sp.isspmatrix_csr(found.X)
    assert (found.X != adata.X).nnz == 0
    if kind in ("h5ad", "zarr", "old h5ad", "loom"):
        assert list(found.obs["cell_type"]) == list(adata.obs["cell_type"])


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_read_the_same_from_disk_as_from_memory(kind, adata, tmp_path, monkeypatch):
    path = WRITERS[kind](adata, tmp_path)
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    found = read_dataset(path)
    assert mx.is_on_disk(found.X)
    assert (sp.vstack([block for _, block in mx.row_blocks(found.X)]) != adata.X).nnz == 0
    order = np.random.default_rng(0).permutation(adata.n_obs)[:17]
    assert (mx.take_rows(found.X, order) != adata.X[order]).nnz == 0


@pytest.mark.parametrize("form", ["csc", "dense", "dense by column", "float16", "big endian"])
@pytest.mark.parametrize("limit", [2**30, 1000])
def test_every_way_to_store_a_matrix_gives_the_same_counts(form, limit, adata, tmp_path, monkeypatch):
    stored = adata.copy()
    stored.X = {"csc": sp.csc_matrix, "float16": sp.csr_matrix}.get(form, lambda x: x.toarray())(adata.X)
    path = datasets.write_h5ad(stored, tmp_path / "a.h5ad")
    if form in ("dense by column", "float16", "big endian"):
        dense = adata.X.toarray().astype({"float16": "f2", "big endian": ">f4"}.get(form, "f4"))
        with h5py.File(path, "r+") as file:
            del file["X"]
            file.create_dataset("X", data=dense, chunks=(adata.n_obs, 5))
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    found = read_dataset(path)
    assert (sp.vstack([block for _, block in mx.row_blocks(found.X)]) != adata.X).nnz == 0


def test_a_file_larger_than_memory_stays_on_disk_and_says_so(adata, tmp_path, monkeypatch):
    stored = adata.copy()
    stored.X = sp.csc_matrix(adata.X)
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    found = read_dataset(datasets.write_h5ad(stored, tmp_path / "a.h5ad"))
    assert mx.is_on_disk(found.X)
    assert "temporary file" in " ".join(found.uns["scfviz_source"]["notes"])


def test_the_temporary_file_of_a_large_matrix_is_removed_with_it(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = datasets.write_loom(adata, tmp_path / "a.loom")
    found = read_dataset(path)
    assert list(tmp_path.glob("scfviz-*"))
    del found
    import gc

    gc.collect()
    assert not list(tmp_path.glob("scfviz-*"))


def test_repeated_entries_of_a_large_matrix_are_added(monkeypatch):
    from scfviz.data.sidecar import write_sidecar

    matrix = write_sidecar(
        [(np.array([1, 0]), np.array([2, 0]), np.array([1.0, 5])), (np.array([1]), np.array([2]), np.array([3.0]))],
        (2, 3),
    )
    assert mx.read_rows(matrix, 0, 2).toarray().tolist() == [[5, 0, 0], [0, 0, 4]]


def test_other_matrices_of_a_file_are_found(adata, tmp_path):
    full = datasets.make_adata(names=datasets.some_genes(500))
    stored = full[:, :400].copy()
    stored.raw = full
    stored.layers["counts"] = stored.X.copy()
    found = read_dataset(datasets.write_h5ad(stored, tmp_path / "a.h5ad"))
    assert found.raw.shape == (60, 500)
    assert (found.layers["counts"] != stored.X).nnz == 0


def test_transposed_tables_are_turned_and_it_is_said(adata, tmp_path):
    found = read_dataset(datasets.write_h5ad(adata.T, tmp_path / "a.h5ad"))
    assert found.shape == adata.shape
    assert (found.X != adata.X).nnz == 0
    assert "turned" in " ".join(found.uns["scfviz_source"]["notes"])


def test_a_large_transposed_file_is_refused_with_advice(adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(adata.T, tmp_path / "a.h5ad")
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    with pytest.raises(DatasetError, match="adata.T"):
        read_dataset(path)


def test_the_orientation_of_a_table_is_said(adata, tmp_path):
    turned = read_dataset(datasets.write_table(adata, tmp_path / "a.csv", genes_are_rows=True))
    straight = read_dataset(datasets.write_table(adata, tmp_path / "b.csv"))
    assert "turned" in turned.uns["scfviz_source"]["notes"][0]
    assert "Rows are cells" in straight.uns["scfviz_source"]["notes"][0]


def test_r_tables_without_a_corner_name_and_with_quotes_are_read(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('"CD3E","MS4A1","LYZ"\n"a",1,0,2\n"b",0,3,"4"\n')
    found = read_dataset(path)
    assert list(found.var_names) == ["CD3E", "MS4A1", "LYZ"]
    assert found.X.toarray().tolist() == [[1, 0, 2], [0, 3, 4]]


def rewrite(path: Path, change) -> Path:
    path.write_text(change(path.read_text()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\n# made by a program\n" + text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",", "\t"),
    ],
    ids=["blank lines", "comment", "semicolons", "carriage returns", "tabs"],
)
@pytest.mark.parametrize("genes_are_rows", [False, True])
def test_tables_of_other_programs_are_read(change, genes_are_rows, adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv", genes_are_rows=genes_are_rows)
    found = read_dataset(rewrite(path, change))
    assert (found.X != adata.X).nnz == 0 and list(found.obs_names) == list(adata.obs_names)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_that_say_their_encoding_are_read(encoding, adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv")
    path.write_text(path.read_text(), encoding=encoding)
    assert list(read_dataset(path).var_names) == list(adata.var_names)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_decimal_comma_is_read(delimiter, tmp_path):
    (tmp_path / "a.tsv").write_text(";CD3E;LYZ\na;1,5;2\nb;0,25;0\n".replace(";", delimiter))
    found = read_dataset(tmp_path / "a.tsv")
    assert found.X.toarray().tolist() == [[1.5, 2], [0.25, 0]]
    assert "decimal comma" in " ".join(found.uns["scfviz_source"]["notes"])


def test_a_table_without_names_of_cells_loses_no_gene(adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv")
    found = read_dataset(rewrite(path, lambda text: "\n".join(x.partition(",")[2] for x in text.splitlines())))
    assert (found.X != adata.X).nnz == 0 and list(found.var_names) == list(adata.var_names)
    assert found.obs_names.is_unique and "numbered" in " ".join(found.uns["scfviz_source"]["notes"])


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_of_several_samples_one_is_chosen_behind_the_path(packed, adata, tmp_path):
    (tmp_path / "a").mkdir()
    for sample, cells in (("B", adata), ("A", adata[:20])):
        for name, content in datasets.mtx_parts(cells, 3).items():
            (tmp_path / "a" / f"{sample}_{name}").write_bytes(content)
    path = Path(shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "a")) if packed else tmp_path / "a"
    error = refuse(path, "2 samples: A, B", f"{path.name}/A")
    assert error.choices == (f"{path.name}/A", f"{path.name}/B")
    assert read_dataset(path / "A").n_obs == 20 and read_dataset(path / "B").n_obs == 60
    refuse(path / "C", "no sample 'C'", "A, B")
    assert len({dataset_id(path / "A"), dataset_id(path / "B"), dataset_id(path)}) == 3


def test_the_files_that_macos_adds_to_an_archive_are_passed_over(adata, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in datasets.mtx_parts(adata, 3).items():
            archive.writestr(f"__MACOSX/sample/._{name}", b"Mac OS X")
            archive.writestr(f"sample/{name}", content)
    found = read_dataset(tmp_path / "a.zip")
    assert (found.X != adata.X).nnz == 0 and not found.uns["scfviz_source"]["notes"]


def test_quoted_names_of_an_mtx_lose_their_quotes(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    (folder / "genes.tsv").write_text("".join(f'"ENSG{i}"\t"{name}"\n' for i, name in enumerate(adata.var_names)))
    assert list(read_dataset(folder).var_names) == list(adata.var_names)


def test_the_human_genome_of_several_is_read(adata, tmp_path):
    path = datasets.write_10x_h5(adata, tmp_path / "a.h5", 2)
    with h5py.File(path, "r+") as file:
        file.copy("GRCh38", "A_mm10")
    found = read_dataset(path)
    assert (found.X != adata.X).nnz == 0 and "A_mm10 left out" in " ".join(found.uns["scfviz_source"]["notes"])


def test_tables_of_all_kinds_of_columns_are_read(adata, tmp_path):
    stored = adata.copy()
    stored.obs["number"] = pd.array([1, None] * 30, dtype="Int64")
    stored.obs["flag"] = pd.array([True, None] * 30, dtype="boolean")
    stored.obs.index.name, stored.var.index.name = "barcode", "gene"
    stored.obsm["frame"] = pd.DataFrame({"x": np.arange(60)}, index=stored.obs_names)
    stored.obsp["distances"] = sp.eye(60, format="csr")
    found = read_dataset(datasets.write_h5ad(stored, tmp_path / "a.h5ad"))
    assert (found.X != adata.X).nnz == 0 and list(found.obs["number"][:2].isna()) == [False, True]


def test_unknown_parts_do_not_hide_the_matrix(adata, tmp_path):
    stored = adata.copy()
    stored.obsm["X_pca"] = np.zeros((60, 2))
    stored.uns["good"], stored.uns["odd"] = 1, "x"
    stored.obs["odd"] = 1.0
    path = datasets.write_h5ad(stored, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        for elem in (file["uns/odd"], file["obs/odd"], file["obsm/X_pca"]):
            elem.attrs["encoding-type"], elem.attrs["encoding-version"] = "from-the-future", "9"
    found = read_dataset(path)
    assert (found.X != adata.X).nnz == 0
    assert found.uns["good"] == 1
    assert list(found.obs["cell_type"]) == list(adata.obs["cell_type"])
    notes = " ".join(found.uns["scfviz_source"]["notes"])
    assert all(word in notes for word in ("odd", "X_pca"))


def test_names_stay_text(tmp_path):
    names = ["<script>alert(1)</script>", *datasets.some_genes(30)[1:]]
    found = read_dataset(datasets.write_h5ad(datasets.make_adata(names=names), tmp_path / "a.h5ad"))
    assert found.var_names[0] == "<script>alert(1)</script>"


def test_content_wins_over_a_wrong_name_and_it_is_said(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad").rename(tmp_path / "a.csv")
    found = read_dataset(path)
    assert found.shape == adata.shape
    assert "HDF5" in found.uns["scfviz_source"]["notes"][0]


# --- bad input -------------------------------------------------------------------------------------------------


def refuse(path: Path, *words: str, folders=None) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        read_dataset(path, folders=folders)
    for word in words:
        assert word.lower() in str(caught.value).lower(), str(caught.value)
    return caught.value


def test_a_missing_file_is_named(tmp_path):
    refuse(tmp_path / "nothing.h5ad", "There is no file", "nothing.h5ad")


@pytest.mark.parametrize("name", ["~no-such-user/a.h5ad", "a\0b.h5ad", "x" * 400, "loop"])
def test_a_path_that_cannot_be_is_refused(name, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    refuse(tmp_path / name if name == "loop" else name, "There is no file")


def test_a_file_that_may_not_be_read_is_refused(adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    monkeypatch.setattr(os, "access", lambda *args: False)  # the tests may run as root, who may read all
    refuse(path, "may not be read")
    refuse(datasets.write_mtx_folder(adata, tmp_path / "a", 2), "may not be read")


def test_only_the_files_of_a_folder_dataset_are_read(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    (folder / "deep").mkdir()
    (folder / "deep" / "other.txt").write_text("x" * 1000)
    found = read_dataset(folder)
    assert found.n_obs == 60
    assert found.uns["scfviz_source"]["size"] == sum(p.stat().st_size for p in folder.glob("*.*"))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.h5ad").touch()
    refuse(tmp_path / "a.h5ad", "empty", "0 bytes")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "folder", "empty")


@pytest.mark.parametrize("kind", ["h5ad gzip", "10x h5 v3", "loom", "csv.gz genes as rows", "mtx zip"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(kind, share, adata, tmp_path):
    path = WRITERS[kind](adata, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refuse(path, path.name)


@pytest.mark.parametrize("version", [2, 3])
def test_a_truncated_mtx_is_refused(version, adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", version)
    matrix = next(folder.glob("matrix.mtx*"))
    matrix.write_bytes(matrix.read_bytes()[: matrix.stat().st_size // 2])
    refuse(folder)


def test_a_csv_cut_in_a_line_is_refused_with_the_line(adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv")
    path.write_text("\n".join(path.read_text().splitlines()[:30])[:-40])
    refuse(path, "Line 30", "fields")


@pytest.mark.parametrize("name", ["a.h5ad", "a.h5", "a.loom"])
def test_text_under_the_name_of_an_hdf5_file_is_refused(name, tmp_path):
    (tmp_path / name).write_text("Not found")
    refuse(tmp_path / name, "not an HDF5 file", "ending")


@pytest.mark.parametrize("name", ["a.h5ad", "a.csv", "a.zip", "a.tsv.gz"])
def test_a_saved_web_page_is_called_one(name, tmp_path):
    (tmp_path / name).write_text("\n<!DOCTYPE html><html><title>Sign in</title></html>\n")
    refuse(tmp_path / name, "web page", "download")


@pytest.mark.parametrize("name", ["a.h5ad", "a.h5ad.gz", "a.tar.gz", "a.tgz"])
def test_packed_files_say_that_they_must_be_unpacked(name, tmp_path):
    (tmp_path / name).write_bytes(gzip.compress(b"something"))
    refuse(tmp_path / name, "packed (gzip)", "Unpack it")


def test_an_excel_workbook_is_called_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    refuse(tmp_path / "a.xlsx", "Excel workbook", ".csv")


def test_a_file_of_several_kinds_of_measurements_asks_for_its_rna(tmp_path):
    with h5py.File(tmp_path / "a.h5mu", "w") as file:
        for name in ("mod/rna", "mod/prot", "obs", "var"):
            file.create_group(name)
    refuse(tmp_path / "a.h5mu", "prot, rna", "RNA part")


@pytest.mark.parametrize("name", ["a.rds", "a.pkl", "a.xlsx", "a"])
def test_an_unknown_format_is_refused_with_the_known_ones(name, tmp_path):
    (tmp_path / name).write_bytes(b"something else entirely")
    refuse(tmp_path / name, "no known format", ".h5ad", ".loom")


def test_a_lone_mtx_asks_for_its_names(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    refuse(folder / "matrix.mtx", "barcodes.tsv", "folder")


def test_a_folder_without_names_says_which_is_missing(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    (folder / "genes.tsv").unlink()
    refuse(folder, "features.tsv")


def test_an_mtx_whose_names_do_not_fit_is_refused(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    (folder / "barcodes.tsv").write_text("A\nB\n")
    refuse(folder, "2 barcodes", "belong together")


def test_an_mtx_that_points_outside_itself_is_refused(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join([*lines[:-1], "9999 1 1"]) + "\n")
    refuse(folder, "outside")


def test_hdf5_without_a_matrix_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weights"] = np.ones(3)
    refuse(tmp_path / "a.h5", "without a cells x genes matrix", "weights")


def test_an_anndata_without_any_matrix_is_refused(adata, tmp_path):
    refuse(datasets.write_h5ad(ad.AnnData(obs=adata.obs, var=adata.var), tmp_path / "a.h5ad"), "no matrix")


@pytest.mark.parametrize(
    ("part", "word"), [((slice(0, 0), slice(None)), "no cells"), ((slice(None), slice(0, 0)), "no genes")]
)
def test_zero_cells_or_genes_are_refused(part, word, adata, tmp_path):
    refuse(datasets.write_h5ad(adata[part].copy(), tmp_path / "a.h5ad"), word)


@pytest.mark.parametrize("kind", ["10x h5 v2", "10x h5 v3", "mtx genes.tsv", "loom"])
def test_zero_cells_are_refused_in_every_format(kind, adata, tmp_path):
    refuse(WRITERS[kind](adata[:0].copy(), tmp_path), "no cells")


def test_a_table_with_only_names_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(",CD3E,LYZ\n")
    refuse(tmp_path / "a.csv", "no rows")


def test_text_in_a_table_is_named_with_line_and_column(adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv")
    lines = path.read_text().splitlines()
    fields = lines[5].split(",")
    fields[3] = "T cell"
    path.write_text("\n".join(["", *lines[:5], ",".join(fields), *lines[6:]]))
    refuse(path, "Line 7", "T cell", adata.var_names[2])


@pytest.mark.parametrize("missing", ["", "NA", "NaN"])
def test_a_missing_value_in_a_table_is_named(missing, adata, tmp_path):
    path = datasets.write_table(adata, tmp_path / "a.csv")
    lines = path.read_text().splitlines()
    fields = lines[5].split(",")
    fields[3] = missing
    path.write_text("\n".join([*lines[:5], ",".join(fields), *lines[6:]]))
    refuse(path, "Line 6", "no value", adata.var_names[2])


def test_unnamed_columns_of_a_table_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("".join(f"cell{i},{i},0,3,4\n" for i in range(5)))
    refuse(tmp_path / "a.csv", "no names", "first row")


def test_binary_data_under_the_name_of_a_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x00\x01\x02" * 100)
    refuse(tmp_path / "a.csv", "binary")


def test_text_in_the_matrix_of_an_h5ad_is_refused(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.full(adata.shape, "x", dtype="S1")
    refuse(path, "text", "not numbers")


def test_stored_objects_in_an_h5ad_are_refused(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file.create_dataset("X", shape=adata.shape, dtype=h5py.vlen_dtype(np.uint8))
    refuse(path, "stored Python objects", "run programs")


def test_a_pickled_array_in_a_zarr_is_refused_and_never_run(adata, tmp_path):
    import json
    import pickle

    path = write_zarr(adata, tmp_path)
    trace = tmp_path / "was_run"

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(trace),))

    array = path / "uns" / "bomb"
    array.mkdir(parents=True)
    meta = dict(zarr_format=2, shape=[1], chunks=[1], dtype="|O", compressor=None, fill_value=None, order="C")
    meta["filters"] = [{"id": "pickle", "protocol": 5}]
    (array / ".zarray").write_text(json.dumps(meta))
    (array / "0").write_bytes(pickle.dumps([Bomb()]))
    refuse(path, "pickled", "run programs")
    assert not trace.exists()


@pytest.mark.parametrize("what", ["indices", "indptr"])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix])
def test_a_matrix_that_points_outside_itself_is_refused(what, form, adata, tmp_path):
    stored = adata.copy()
    stored.X = form(adata.X)
    path = datasets.write_h5ad(stored, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X"][what][5] = 10**6
    refuse(path, "a.h5ad" if form is sp.csc_matrix else "damaged")


def test_a_matrix_that_does_not_fit_its_tables_is_refused(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = (60, 500)
    refuse(path, "60 x 500", "400 genes")


def test_files_that_draw_on_other_files_are_refused(adata, tmp_path):
    secret = datasets.write_h5ad(adata, tmp_path / "secret.h5ad")
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(secret), "X")
    refuse(path, "refers to other files")
    (tmp_path / "raw.bin").write_bytes(b"x" * 8000)
    other = datasets.write_h5ad(adata, tmp_path / "b.h5ad")
    with h5py.File(other, "r+") as file:
        file.create_dataset("uns/leak", (8000,), "u1", external=[(str(tmp_path / "raw.bin"), 0, 8000)])
    refuse(other, "refers to other files")


def test_only_the_allowed_folders_are_read(adata, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir(), outside.mkdir()
    path = datasets.write_h5ad(adata, outside / "a.h5ad")
    assert read_dataset(path, folders=[outside]).n_obs == 60
    refuse(path, "outside the folders", folders=[inside])
    refuse(inside / ".." / "out" / "a.h5ad", "outside", folders=[inside])
    refuse(outside / "unknown.h5ad", "outside", folders=[inside])
    (inside / "link.h5ad").symlink_to(path)
    refuse(inside / "link.h5ad", "outside", folders=[inside])


def test_a_link_inside_a_folder_dataset_may_not_leave_it(adata, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    folder = datasets.write_mtx_folder(adata, inside / "a", 2)
    secret = tmp_path / "secret.tsv"
    secret.write_text("secret\n" * 60)
    (folder / "barcodes.tsv").unlink()
    (folder / "barcodes.tsv").symlink_to(secret)
    refuse(folder, "outside", folders=[inside])


def test_a_file_that_changes_while_it_is_read_is_refused(adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    from scfviz.data import read

    original = read.open_by_content

    def slow(*args):
        result = original(*args)
        os.utime(path, ns=(1, 1))
        return result

    monkeypatch.setattr(read, "open_by_content", slow)
    refuse(path, "changed while")


def test_a_zip_without_a_matrix_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refuse(tmp_path / "a.zip", "no matrix.mtx", "readme.txt")


# --- identity --------------------------------------------------------------------------------------------------


def test_the_identity_follows_the_content_and_not_the_name(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    first = dataset_id(path)
    assert len(first) == 16 and int(first, 16) >= 0
    assert dataset_id(path.rename(tmp_path / "b.h5ad")) == first
    with open(tmp_path / "b.h5ad", "ab") as handle:
        handle.write(b"x")
    assert dataset_id(tmp_path / "b.h5ad") != first


def test_the_identity_of_a_folder_follows_its_files(adata, tmp_path):
    folder = datasets.write_mtx_folder(adata, tmp_path / "a", 2)
    first = dataset_id(folder)
    assert dataset_id(folder.rename(tmp_path / "b")) == first
    (tmp_path / "b" / "genes.tsv").rename(tmp_path / "b" / "features.tsv")
    assert dataset_id(tmp_path / "b") != first


def test_the_real_datasets_are_read(shared):
    for name in ("evaluation/pbmc3k.h5ad", "panels/papalexi_thp1_299genes.h5ad"):
        found = read_dataset(shared / "data" / name)
        assert found.n_obs > 2000
