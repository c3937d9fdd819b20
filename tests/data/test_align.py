"""Alignment moves counts to the right genes, whatever the order, the storage or the slice."""

import os
import time

import datasets
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from effort import sorts

from scfviz.data import matrix as mx
from scfviz.data.align import align_genes
from scfviz.data.read import read_dataset
from scfviz.data.vocabulary import ASSETS, load_vocabulary
from scfviz.errors import DatasetError, OptionError

FORMS = ["memory", "csr on disk", "csc on disk", "dense on disk", "zarr on disk", "10x on disk", "loom on disk"]


def open_as(form: str, adata, tmp_path, monkeypatch):
    """The same dataset, stored and held in different ways."""
    if form == "memory":
        return adata
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    stored = adata.copy()
    if form == "csc on disk":
        stored.X = sp.csc_matrix(adata.X)
    if form == "dense on disk":
        stored.X = adata.X.toarray()
    if form == "zarr on disk":
        stored.write_zarr(tmp_path / "a.zarr")
        return read_dataset(tmp_path / "a.zarr")
    if form == "10x on disk":
        return read_dataset(datasets.write_10x_h5(adata, tmp_path / "a.h5", 3))
    if form == "loom on disk":
        return read_dataset(datasets.write_loom(adata, tmp_path / "a.loom"))
    return read_dataset(datasets.write_h5ad(stored, tmp_path / "a.h5ad"))


def expected(adata) -> np.ndarray:
    """Alignment done the slow way, gene by gene."""
    vocabulary = load_vocabulary()
    position = {s: i for i, s in enumerate(vocabulary.symbols)}
    result = np.zeros((adata.n_obs, len(position)))
    for name, column in zip(adata.var_names, adata.X.toarray().T, strict=True):
        if name in position:
            result[:, position[name]] += column
    return result


@pytest.fixture
def adata():
    """Genes in no order, some repeated, some unknown."""
    names = [*datasets.some_genes(350), *datasets.some_genes(350)[::12], *(f"LNC{i}" for i in range(20))]
    names = list(np.random.default_rng(3).permutation(names))
    dataset = datasets.make_adata(names=names)
    dataset.obs["batch"] = np.arange(60) % 3
    return dataset


@pytest.mark.parametrize("form", FORMS)
def test_counts_end_up_on_their_genes(form, adata, tmp_path, monkeypatch):
    aligned = align_genes(open_as(form, adata, tmp_path, monkeypatch))
    rows = aligned.rows(0, 60)
    reference = expected(adata)
    assert np.array_equal(rows.toarray(), reference)
    assert rows.dtype == np.float32 and rows.has_sorted_indices and rows.has_canonical_format and (rows.data != 0).all()
    assert np.array_equal(aligned.total_counts, reference.sum(axis=1))
    assert np.array_equal(aligned.n_expressed, (reference > 0).sum(axis=1))
    assert aligned.gene_report.n_summed == 30


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [1, 7, 60])
def test_slices_do_not_change_the_counts(form, step, adata, tmp_path, monkeypatch):
    aligned = align_genes(open_as(form, adata, tmp_path, monkeypatch))
    parts = sp.vstack([aligned.rows(i, i + step) for i in range(0, 60, step)])
    assert (parts != sp.csr_matrix(expected(adata))).nnz == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_subset_holds_its_cells_in_its_order(form, adata, tmp_path, monkeypatch):
    aligned = align_genes(open_as(form, adata, tmp_path, monkeypatch))
    chosen = np.random.default_rng(0).permutation(60)[:23]
    part = aligned.subset(chosen)
    assert list(part.obs.index) == [f"CELL{i}" for i in chosen]
    assert np.array_equal(part.rows(0, 23).toarray(), expected(adata)[chosen])
    assert np.array_equal(part.total_counts, aligned.total_counts[chosen])
    again = part.subset(np.array([5, 2]))
    assert np.array_equal(again.rows(0, 2).toarray(), expected(adata)[chosen[[5, 2]]])


def test_a_subset_can_be_a_mask_and_must_fit(adata):
    aligned = align_genes(adata)
    mask = np.arange(60) % 2 == 0
    assert list(aligned.subset(mask).obs.index) == [f"CELL{i}" for i in range(0, 60, 2)]
    assert aligned.subset(np.zeros(60, dtype=bool)).n_obs == 0
    for wrong in (mask[:10], np.array([60]), np.array([-1])):
        with pytest.raises(OptionError):
            aligned.subset(wrong)


def test_shuffled_columns_do_not_change_the_result(adata):
    order = np.random.default_rng(1).permutation(adata.n_vars)
    straight, shuffled = align_genes(adata), align_genes(adata[:, order].copy())
    assert (straight.rows(0, 60) != shuffled.rows(0, 60)).nnz == 0
    assert np.array_equal(straight.is_measured, shuffled.is_measured)


def test_not_measured_is_not_measured_as_zero(adata):
    dense = adata.X.toarray()
    gene = next(i for i, n in enumerate(adata.var_names) if list(adata.var_names).count(n) == 1 and "LNC" not in n)
    dense[:, gene] = 0
    adata.X = sp.csr_matrix(dense)
    aligned = align_genes(adata)
    position = list(aligned.genes).index(adata.var_names[gene])
    assert aligned.is_measured[position]
    assert aligned.is_measured.sum() == 350 and aligned.rows(0, 60)[:, ~aligned.is_measured].nnz == 0


def test_stored_zeros_and_unsorted_repeated_entries_are_cleaned():
    names = datasets.some_genes(400)
    matrix = sp.csr_matrix((60, 400), dtype=np.float32)
    per_row = np.array([5, 3, 3, 9, 1])
    matrix.indices = np.tile(per_row, 60).astype(np.int32)
    matrix.data = np.tile(np.array([1, 2, 3, 0, 4], dtype=np.float32), 60)
    matrix.indptr = np.arange(0, 301, 5, dtype=np.int32)
    dataset = datasets.make_adata(names=names)
    dataset.X = matrix
    row = align_genes(dataset).rows(0, 1)
    assert row.data.tolist() == [4, 5, 1] and row.has_canonical_format


def test_repeated_cells_get_names_of_their_own(adata):
    adata.obs_names = ["A", "A", *adata.obs_names[2:]]
    before = list(adata.obs_names)
    aligned = align_genes(adata)
    assert aligned.obs.index.is_unique and len(aligned.obs) == 60
    assert list(adata.obs_names) == before


def test_a_cell_without_counts_has_the_total_zero(adata):
    dense = adata.X.toarray()
    dense[4] = 0
    adata.X = sp.csr_matrix(dense)
    aligned = align_genes(adata)
    assert aligned.total_counts[4] == 0 and aligned.n_expressed[4] == 0 and aligned.n_obs == 60


def test_the_share_of_counts_on_the_models_genes_is_right(adata):
    aligned = align_genes(adata)
    assert aligned.gene_report.counts_coverage == pytest.approx(100 * expected(adata).sum() / adata.X.sum())


def test_counts_of_antibodies_do_not_count(adata):
    plain = align_genes(adata[:, [not n.startswith("LNC") for n in adata.var_names]].copy())
    adata.var["feature_types"] = [
        "Antibody Capture" if n.startswith("LNC") else "Gene Expression" for n in adata.var_names
    ]
    aligned = align_genes(adata)
    assert aligned.gene_report.counts_coverage == 100
    assert np.array_equal(aligned.total_counts, plain.total_counts)


def test_alignment_leaves_the_dataset_alone(adata):
    before = adata.copy()
    align_genes(adata).rows(0, 60)
    assert (adata.X != before.X).nnz == 0 and list(adata.var_names) == list(before.var_names) and not adata.uns


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_a_file_that_changes_while_it_is_read_is_refused(form, adata, tmp_path, monkeypatch):
    path = tmp_path / f"a.{form}"
    adata.write_h5ad(path) if form == "h5ad" else adata.write_zarr(path)
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    aligned = align_genes(read_dataset(path))
    aligned.rows(0, 5)
    target = path if form == "h5ad" else next(p for p in path.rglob("*") if p.is_file())
    os.utime(target, ns=(time.time_ns() + 10**9,) * 2)
    monkeypatch.setattr("scfviz.data.align.SECONDS_BETWEEN_FOLDER_CHECKS", 0.0)
    with pytest.raises(DatasetError, match="changed while"):
        aligned.rows(5, 10)


def test_a_file_in_memory_does_not_mind_changes(adata, tmp_path):
    path = datasets.write_h5ad(adata, tmp_path / "a.h5ad")
    aligned = align_genes(read_dataset(path))
    path.unlink()
    assert np.array_equal(aligned.rows(0, 60).toarray(), expected(adata))


def test_streaming_never_holds_more_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 20_000)
    large = datasets.make_adata(n_obs=3000)
    aligned = align_genes(read_dataset(datasets.write_h5ad(large, tmp_path / "a.h5ad")))
    sizes = [block.nnz for _, block in aligned.blocks()]
    assert sum(sizes) == (large.X != 0).sum() and max(sizes) * 8 < 3 * 20_000


def test_a_real_dataset_is_aligned_as_pandas_does_it(shared, tmp_path, monkeypatch):
    """The same from the table of names alone: pandas joins, sums by group, no code of the package."""
    original = read_dataset(shared / "data" / "evaluation" / "pbmc3k.h5ad")
    rng = np.random.default_rng(5)
    chosen = rng.choice(original.n_obs, 150, replace=False)
    counts = pd.DataFrame(original.X[chosen].toarray(), columns=original.var_names)
    counts = pd.concat(
        [counts, counts.iloc[:, rng.choice(counts.shape[1], 500, replace=False)] * 2], axis=1
    )  # repeated genes
    counts = counts.iloc[:, rng.permutation(counts.shape[1])]

    table = pd.read_csv(ASSETS / "gene_vocabulary.tsv", sep="\t", quoting=3, keep_default_na=False)
    symbols = pd.Index(table["symbol"])
    aliases = table.assign(alias=table["aliases"].str.split("|")).explode("alias").query("alias != ''")
    aliases = aliases[~aliases["alias"].duplicated(keep=False)].set_index("alias")["symbol"]
    capitals = pd.Series(symbols, index=symbols.str.upper())[symbols.str.upper() != symbols]
    names = counts.columns.to_series()
    gene = names.where(names.isin(symbols))
    other = names.map(aliases).fillna(names.map(capitals))
    gene = gene.fillna(other.where(~other.isin(set(gene.dropna()))))  # beside the gene itself an alias is another gene
    repeat = names.str.extract(r"^(.+)[-.]\d{1,2}$")[0].map(dict(zip(names, gene, strict=True)))
    gene = gene.fillna(repeat.where(~names.isin(table["aliases"].str.split("|").explode())))
    counts.columns = gene.to_numpy()
    known = counts.loc[:, counts.columns.notna()]
    slow = known.T.groupby(level=0).sum().T.reindex(columns=symbols)

    path = tmp_path / "a.h5ad"
    datasets.write_h5ad(AnnData(sp.csr_matrix(counts.to_numpy()), var=pd.DataFrame(index=names.to_numpy())), path)
    for limit in (2**30, 1000):
        monkeypatch.setattr(mx, "IN_MEMORY_BYTES", limit)
        aligned = align_genes(read_dataset(path))
        assert np.array_equal(aligned.is_measured, slow.notna().any().to_numpy())
        found = np.vstack([aligned.rows(i, i + 37).toarray() for i in range(0, 150, 37)])
        assert np.array_equal(found, slow.fillna(0).to_numpy())
        assert np.array_equal(aligned.total_counts, known.sum(axis=1).to_numpy())
        assert np.array_equal(aligned.n_expressed, (slow > 0).sum(axis=1).to_numpy())
        order = rng.permutation(150)[:40]
        assert np.array_equal(aligned.subset(order).rows(0, 40).toarray(), slow.fillna(0).to_numpy()[order])
        assert aligned.gene_report.n_summed == known.shape[1] - known.columns.nunique()


def test_a_real_dataset_is_aligned_quickly(shared):
    path = shared / "data" / "evaluation" / "pbmc3k.h5ad"
    load_vocabulary()
    aligned = align_genes(read_dataset(path))
    assert aligned.n_obs == 2700 and 95 < aligned.gene_report.counts_coverage <= 100
    assert sorts(lambda: align_genes(read_dataset(path)).total_counts) < 15
