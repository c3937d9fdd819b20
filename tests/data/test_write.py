"""A user's file comes out with our results in it and nothing else changed."""

import ast
import os
from pathlib import Path

import anndata as ad
import datasets
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import test_read

from scfviz.data import matrix as mx
from scfviz.data import some_rows
from scfviz.data.some_rows import SomeRows
from scfviz.data.source import dataset_id
from scfviz.data.write import write_h5ad_with
from scfviz.errors import DatasetError, JobError, OptionError

EMBEDDING = np.arange(240, dtype=np.float32).reshape(60, 4)


@pytest.fixture
def adata():
    dataset = datasets.make_adata()
    dataset.obsm["X_pca"] = np.ones((60, 3), dtype=np.float32)
    dataset.obsp["distances"] = sp.eye(60, format="csr")
    dataset.varm["PCs"] = np.ones((400, 2))
    dataset.layers["counts"] = dataset.X.copy()
    dataset.uns["history"] = {"a": 1, "names": np.array(["x", "y"], dtype=object)}
    dataset.raw = dataset.copy()
    return dataset


def same(left: ad.AnnData, right: ad.AnnData) -> None:
    """All that `right` holds is in `left`, unchanged."""
    assert (left.X != right.X).nnz == 0 and (left.raw.X != right.raw.X).nnz == 0
    assert left.obs[right.obs.columns].equals(right.obs) and left.var.equals(right.var)
    for part in ("obsm", "varm", "obsp", "layers"):
        for key, value in getattr(right, part).items():
            found = getattr(left, part)[key]
            assert (found != value).sum() == 0
    assert left.uns["history"]["a"] == 1


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_everything_in_the_file_stays_and_our_results_are_added(form, adata, tmp_path):
    path = tmp_path / f"a.{form}"
    adata.write_h5ad(path) if form == "h5ad" else adata.write_zarr(path)
    renamed = write_h5ad_with(
        path,
        tmp_path / "out.h5ad",
        obs={"leiden": pd.Categorical(["0", "1"] * 30), "depth": np.arange(60.0), "note": ["a"] * 60},
        obsm={"X_scfoundation": EMBEDDING},
        varm={"scfoundation": np.ones((400, 2), dtype=np.float32)},
        layers={"scfoundation_enhanced": adata.X * 2},
        uns={"scfviz": {"checkpoint": "abc", "options": {"target_depth": 1e4}}},
    )
    assert renamed == {}
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    same(found, adata)
    assert np.array_equal(found.obsm["X_scfoundation"], EMBEDDING)
    assert list(found.obs["leiden"][:2]) == ["0", "1"] and found.obs["depth"].iloc[-1] == 59
    assert found.varm["scfoundation"].shape == (400, 2)
    assert (found.layers["scfoundation_enhanced"] != adata.X * 2).nnz == 0
    assert found.uns["scfviz"]["options"]["target_depth"] == 1e4
    assert list(found.obs.columns)[:1] == ["cell_type"]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("block", [2**30, 3_000])
def test_a_layer_of_some_cells_and_genes_is_nan_elsewhere(kind, block, adata, tmp_path, monkeypatch):
    monkeypatch.setattr(some_rows, "BLOCK_BYTES", block)
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    values = np.random.default_rng(0).poisson(0.5, (50, 400)).astype(np.float32)
    place, columns = np.r_[np.arange(49, -1, -1), np.full(10, -1)], np.r_[np.full(100, -1), np.arange(100, 400)]
    stopped = []
    layers = {"some": SomeRows(kind(values), place, columns), "all": SomeRows(kind(values), place, np.arange(400))}
    few_genes = np.where(np.arange(400) % 7 == 2, np.arange(399, -1, -1), -1)
    layers["few genes"] = SomeRows(kind(values), place, few_genes)
    cells = np.arange(3, 60, 2)
    for name, kept in (("out", None), ("few", cells)):
        write_h5ad_with(path, tmp_path / f"{name}.h5ad", layers=layers, cells=kept, progress=stopped.append)
    expected = np.full((60, 400), np.nan, np.float32)
    expected[:50] = values[::-1]
    found, few = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(tmp_path / "few.h5ad")
    same(found, adata)
    assert sp.issparse(found.layers["all"]) == (kind is sp.csr_matrix) and not sp.issparse(found.layers["some"])
    np.testing.assert_array_equal(found.to_df("all").to_numpy(), expected)
    np.testing.assert_array_equal(few.to_df("all").to_numpy(), expected[cells])
    reversed_genes = np.where(few_genes >= 0, expected[:, ::-1], np.nan)
    np.testing.assert_array_equal(found.layers["few genes"], reversed_genes)
    np.testing.assert_array_equal(few.layers["few genes"], reversed_genes[cells])
    expected[:, :100] = np.nan
    np.testing.assert_array_equal(found.layers["some"], expected)
    np.testing.assert_array_equal(few.layers["some"], expected[cells])
    assert stopped


def test_keys_of_the_user_are_never_overwritten(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    first = write_h5ad_with(path, tmp_path / "b.h5ad", obs={"cell_type": ["x"] * 60}, obsm={"X_pca": EMBEDDING})
    assert first == {"obs/cell_type": "cell_type_scfviz", "obsm/X_pca": "X_pca_scfviz"}
    second = write_h5ad_with(tmp_path / "b.h5ad", tmp_path / "c.h5ad", obsm={"X_pca": EMBEDDING * 2})
    assert second == {"obsm/X_pca": "X_pca_scfviz_2"}
    found = ad.read_h5ad(tmp_path / "c.h5ad")
    same(found, adata)
    assert np.array_equal(found.obsm["X_pca_scfviz"], EMBEDDING)
    assert np.array_equal(found.obsm["X_pca_scfviz_2"], EMBEDDING * 2)


@pytest.mark.parametrize("limit", [2**30, 1000], ids=["memory", "disk"])
@pytest.mark.parametrize("kind", test_read.WRITERS)
def test_every_format_comes_out_as_h5ad(kind, limit, tmp_path, monkeypatch):
    adata = datasets.make_adata()
    path = test_read.WRITERS[kind](adata, tmp_path)
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    write_h5ad_with(path, tmp_path / "out.h5ad", obsm={"X_scfoundation": EMBEDDING})
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert (found.X != adata.X).nnz == 0 and list(found.obs_names) == list(adata.obs_names)
    assert list(found.var_names) == list(adata.var_names)
    assert np.array_equal(found.obsm["X_scfoundation"], EMBEDDING)


def test_a_turned_file_gets_results_for_its_cells(adata, tmp_path):
    path = datasets.write_h5ad(datasets.make_adata().T, tmp_path / "a.h5ad")
    write_h5ad_with(path, tmp_path / "out.h5ad", obsm={"X_scfoundation": EMBEDDING})
    assert ad.read_h5ad(tmp_path / "out.h5ad").shape == (60, 400)


def test_parts_of_an_unknown_kind_stay_in_the_file(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["uns/odd"] = np.arange(3)
        file["uns/odd"].attrs["encoding-type"], file["uns/odd"].attrs["encoding-version"] = "from-the-future", "9"
    write_h5ad_with(path, tmp_path / "out.h5ad", obsm={"X_scfoundation": EMBEDDING})
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["uns/odd"][()].tolist() == [0, 1, 2]


def test_the_input_is_never_the_output(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    (tmp_path / "link.h5ad").symlink_to(path)
    content = path.read_bytes()
    for out in (path, tmp_path / "link.h5ad", tmp_path / "." / "a.h5ad"):
        with pytest.raises(OptionError, match="never overwritten"):
            write_h5ad_with(path, out)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "addition",
    [
        {"obs": {"x": np.zeros(59)}},
        {"obsm": {"x": np.zeros((61, 2))}},
        {"varm": {"x": np.zeros((60, 2))}},
        {"layers": {"x": np.zeros((60, 399))}},
    ],
)
def test_results_of_another_length_are_refused_and_nothing_is_left(addition, adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    with pytest.raises(OptionError, match="length"):
        write_h5ad_with(path, tmp_path / "out" / "b.h5ad", **addition)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.h5ad"]


def test_an_interrupted_write_leaves_the_old_output(adata, tmp_path, monkeypatch):
    path, out = datasets.write_h5ad(adata, tmp_path / "a.h5ad"), tmp_path / "out.h5ad"
    write_h5ad_with(path, out, obsm={"X_scfoundation": EMBEDDING})
    before = out.read_bytes()
    monkeypatch.setattr("scfviz.data.write.add_all", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_h5ad_with(path, out, obsm={"X_scfoundation": EMBEDDING * 0})
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "out.h5ad"]


def test_a_full_disk_is_one_sentence(adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(JobError, match="disk became full while 'out.h5ad' was written.*Remove datasets"):
        write_h5ad_with(path, tmp_path / "out.h5ad")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def save_in_another_order(adata, path, *, keep_times=False):
    """The same file with its cells the other way round: size and, where asked, time of change stay."""
    before = path.stat()
    datasets.write_h5ad(adata[::-1].copy(), path)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_times", [False, True])
def test_results_are_not_written_beside_other_cells_than_they_were_computed_from(keep_times, adata, tmp_path):
    """A file saved again in another order has as many cells, and each would get another cell's result."""
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    content = dataset_id(path)
    save_in_another_order(adata, path, keep_times=keep_times)
    with pytest.raises(DatasetError, match="changed since its cells were read"):
        write_h5ad_with(path, tmp_path / "out.h5ad", content=content, obsm={"X_scfoundation": EMBEDDING})
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.parametrize("cells", [None, np.arange(0, 60, 2)])
def test_a_change_while_the_file_is_written_is_noticed_at_the_end(cells, adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")

    def add_all(*args):
        save_in_another_order(adata, path, keep_times=True)
        return {}

    monkeypatch.setattr("scfviz.data.write.add_all", add_all)
    with pytest.raises(DatasetError, match="changed since its cells were read"):
        write_h5ad_with(path, tmp_path / "out.h5ad", cells=cells, obsm={"X_scfoundation": EMBEDDING})
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_the_same_content_saved_again_is_no_change(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    content, whole = dataset_id(path), path.read_bytes()
    path.unlink()
    path.write_bytes(whole)
    assert write_h5ad_with(path, tmp_path / "out.h5ad", content=content, obsm={"X_scfoundation": EMBEDDING}) == {}


def test_everything_that_writes_beside_a_files_cells_says_of_which_content():
    """Demos are made before anything was computed from them."""
    package = Path(__file__).resolve().parents[2] / "scfviz"
    calls = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "write_h5ad_with":
                calls[path.name] = "content" in {keyword.arg for keyword in node.keywords}
    assert calls.pop("catalog.py") is False and len(calls) >= 4
    assert all(calls.values()), calls
