"""One opened dataset: all genes of the file by every name, the usual quality numbers, the check handed over."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from datasets import make_adata, make_counts, some_genes, write_h5ad

from scfviz.data import check, genes
from scfviz.data.align import align_genes
from scfviz.data.gene_index import GeneIndex
from scfviz.data.open import OpenDataset, open_dataset
from scfviz.data.qc import filter_cells, qc_metrics
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import GeneError, GeneNameError

EVALUATION = Path(__file__).resolve().parents[2] / "shared" / "data" / "evaluation"


def opened_with(names: list[str], **columns) -> OpenDataset:
    adata = make_adata(names=[f"row {i}" for i in range(len(names))])
    adata.var = pd.DataFrame(columns, index=names)
    return OpenDataset(adata)


def test_every_gene_of_the_file_is_there_and_the_models_are_marked():
    """MALAT1 was "no gene of the model", so it could not be looked at."""
    names = [*some_genes(), "MALAT1", "NEAT1"]
    opened = opened_with(names)
    assert opened.index.names == tuple(names) == opened.file_names
    assert not opened.index.symbols[opened.index.find("MALAT1")] and opened.index.symbols[0] == names[0]
    counts = opened.counts.rows(0, opened.n_obs).toarray()
    assert np.array_equal(counts, opened.adata.X.toarray())
    assert np.array_equal(opened.counts.total_counts, opened.adata.X.sum(axis=1).A1)
    known = opened.adata.X.toarray()[:, opened.index.is_known].sum(axis=1)
    assert np.array_equal(opened.counts.known_counts, known)
    assert np.array_equal(opened.align().rows(0, 60).toarray(), align_genes(opened.adata).rows(0, 60).toarray())


def test_the_rows_of_a_file_are_named_once(monkeypatch):
    """Naming takes a second for a whole transcriptome, and was done again for the model's own genes."""
    asked = []
    name_all = genes.name_all
    monkeypatch.setattr(genes, "name_all", lambda *given: asked.append(1) or name_all(*given))
    opened = opened_with(some_genes())
    assert opened.align(load_vocabulary().symbols) is opened.align()
    assert len(asked) == 1


def test_two_genes_can_be_looked_at_and_only_the_model_refuses():
    """Panels below 200 model genes were refused for colours and comparisons, which need no model."""
    opened = opened_with(["CD3D", "MALAT1"])
    assert len(opened.index) == 2 and opened.refusal is not None and opened.gene_report.n_measured == 1
    with pytest.raises(GeneError, match="At least 200"):
        opened.align()
    adata = make_adata(names=["FOXP3", "MALAT1"])
    adata.X = np.stack([np.zeros(60), np.arange(60) % 3 + 1], axis=1).astype(np.float32)
    assert len(OpenDataset(adata).index) == 2, "counts on any gene will do"
    unknown = opened_with([f"probe_{i}" for i in range(30)])
    assert len(unknown.index) == 30 and not unknown.index.is_known.any() and unknown.refusal is not None


def test_repeated_names_stay_apart_and_are_added_for_the_model_only():
    genes = some_genes()
    opened = opened_with([*genes, genes[5]])
    assert opened.index.names[-1] == f"{genes[5]}-1" and opened.index.find(genes[5]) == 5
    place = load_vocabulary().symbols.index(genes[5])
    both = opened.adata.X[:, [5, len(genes)]].toarray().sum(axis=1)
    assert np.array_equal(opened.align().rows(0, 60)[:, [place]].toarray().ravel(), both)


def test_ids_as_row_names_are_shown_by_the_symbols_beside_them():
    vocabulary = load_vocabulary()
    symbols = [s for s, e in zip(vocabulary.symbols, vocabulary.ensembl, strict=True) if len(e) == 1][:300]
    ids = [vocabulary.ensembl[vocabulary.symbols.index(s)][0] for s in symbols]
    opened = opened_with([*ids, "ENSG00000251562"], gene_symbols=[*symbols, "MALAT1"], chromosome=["1"] * 301)
    assert opened.index.names == (*symbols, "MALAT1") and opened.file_names[-1] == "ENSG00000251562"
    for name in ("MALAT1", "ENSG00000251562"):
        assert opened.index.find(name) == 300
    alone = opened_with([*ids, "ENSG00000251562"])
    assert alone.index.names == (*symbols, "ENSG00000251562") and alone.index.find(ids[7]) == 7


@pytest.mark.parametrize("name", ["CD3D", "cd3d", "ENSG00000167286", "ENSG00000167286.14", " CD3D "])
def test_a_gene_is_found_by_every_name(name):
    index = GeneIndex(("MALAT1", "CD3D", "MS4A1"), ("", "CD3D", "MS4A1"))
    assert index.find(name) == 1


def test_a_name_of_several_genes_is_answered_with_those_that_are_here():
    """CD20 is an alias of MS4A1 and of KRT20; the answer was "no gene of the model"."""
    index = GeneIndex.of_model(["KRT20", "MS4A1", "CD3D"])
    with pytest.raises(GeneNameError, match="KRT20 or MS4A1") as caught:
        index.find("CD20")
    assert set(caught.value.candidates) == {"MS4A1", "KRT20"}
    with pytest.raises(GeneNameError, match="Not in this file: KRT20") as caught:
        GeneIndex.of_model(["MS4A1"]).find("CD20")
    assert caught.value.candidates == ("MS4A1",), "one that is left is offered, not taken"


def test_a_wrong_name_is_answered_with_what_may_be_meant():
    index = GeneIndex.of_model(["CD300A", "CD3D", "CD3E", "MALAT1", "MS4A1"])
    with pytest.raises(GeneNameError) as caught:
        index.find("CD3")
    assert caught.value.candidates[:2] == ("CD3D", "CD3E"), "the shortest first"
    with pytest.raises(GeneNameError) as caught:
        index.find("MALAT")
    assert "MALAT1" in caught.value.candidates
    with pytest.raises(GeneNameError) as caught:
        index.find("<b>$no gene$")
    assert caught.value.candidates == ()
    with pytest.raises(GeneNameError, match="FOXP3 was not measured"):
        index.find("FOXP3")
    assert index.known(["MALAT1", "nothing", "cd3d", "CD3D"]) == ([3, 1], ["nothing"])


def test_quality_is_counted_over_all_genes_of_the_file_as_scanpy_does():
    """Limits were applied to the model's genes only: fewer cells passed than with the usual count."""
    import scanpy as sc

    genes = [*some_genes(), "MALAT1", "MT-RNR2"]
    adata = make_adata(names=genes)
    adata.X = make_counts(60, len(genes), seed=3)
    metrics = qc_metrics(OpenDataset(adata).counts)
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    expected = sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False)[0]
    assert adata.var["mt"].any()
    assert np.array_equal(metrics["total_counts"], expected["total_counts"])
    assert np.array_equal(metrics["n_genes"], expected["n_genes_by_counts"])
    np.testing.assert_allclose(metrics["pct_counts_mt"], expected["pct_counts_mt"], rtol=1e-5)


def test_cells_without_a_count_in_the_models_genes_are_a_filter_of_their_own():
    adata = make_adata(names=[*some_genes(), "MALAT1"])
    counts = adata.X.toarray()
    counts[4, :-1], counts[4, -1] = 0, 9
    adata.X = counts
    opened = OpenDataset(adata)
    metrics = qc_metrics(opened.counts)
    assert filter_cells(metrics).all()
    kept = filter_cells(metrics, model_counts=opened.counts.known_counts)
    assert not kept[4] and kept.sum() == 59


def test_a_file_is_checked_once_for_each_content(tmp_path, monkeypatch):
    """Every computation checked every value of the file again: 26 seconds of a core at a million cells."""
    path = write_h5ad(make_adata(), tmp_path / "cells.h5ad")
    first = open_dataset(path, reports=tmp_path / "checks")
    assert len(list((tmp_path / "checks").iterdir())) == 1
    calls, whole_check = [], check.check_and_match
    monkeypatch.setattr("scfviz.data.open.check_and_match", lambda *a, **k: calls.append(1) or whole_check(*a, **k))
    again = open_dataset(path, reports=tmp_path / "checks")
    assert not calls and again.counts_report == first.counts_report
    assert np.array_equal(again.counts_report.gene_totals, first.counts_report.gene_totals)
    assert again.gene_report == first.gene_report
    write_h5ad(make_adata(seed=1), path)
    assert open_dataset(path, reports=tmp_path / "checks").counts_report is not None and calls, "another content"
    for kept in (tmp_path / "checks").iterdir():
        kept.write_bytes(b"damaged")
    assert open_dataset(path, reports=tmp_path / "checks").n_obs == 60 and len(calls) == 2


def test_recovered_counts_are_handed_over_with_how_they_come_back(tmp_path):
    adata = make_adata()
    counts = adata.X.toarray()
    adata.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    path = write_h5ad(adata, tmp_path / "logged.h5ad")
    for _ in range(2):
        opened = open_dataset(path, reports=tmp_path / "checks")
        assert opened.counts_report.kind == "recovered"
        assert np.array_equal(opened.counts.rows(0, 60).toarray(), counts)


@pytest.mark.parametrize("layout", ["plain", "repeated rows", "duplicate entries", "recovered", "fractions"])
def test_what_the_check_sums_up_is_what_reading_again_gives(layout, tmp_path):
    """Opening a million cells read them three times, and the counts by genes two times more."""
    names = [*some_genes(), "MALAT1", "MT-ND1", "MT-TF"]
    adata = make_adata(names=names)
    counts = adata.X.toarray().astype(np.float32)
    if layout == "repeated rows":
        adata.var_names = [*names[:-2], names[0], names[1]]
    if layout == "fractions":
        rng = np.random.default_rng(1)
        counts *= 40 * np.where(rng.random(counts.shape) < 0.5, 1, rng.uniform(0.5, 1.5, size=counts.shape))
    if layout == "recovered":
        counts = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    adata.X = sp.csr_matrix(counts)
    if layout == "duplicate entries":  # each stored twice, and a zero beside
        rows, columns, values = sp.find(adata.X)
        order = np.argsort(np.tile(rows, 2), kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(np.tile(rows, 2), minlength=60))])
        adata.X = sp.csr_matrix((np.concatenate([values, 0 * values])[order], np.tile(columns, 2)[order], indptr))
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    opened = open_dataset(path)
    is_exact = opened.counts_report.is_whole
    assert is_exact == (layout != "fractions") == (opened.counts.entries is not None)
    for handed in (opened.counts, opened.align()):
        given = handed.__dict__.pop("_per_cell", None)
        assert (given is not None) == is_exact
        if is_exact:
            for one, other in zip(given, handed._per_cell, strict=True):
                assert np.array_equal(one, other, equal_nan=True)
            again = handed.subset(np.arange(handed.n_obs))
            assert again.entries is None, "counted over other cells"
    if is_exact:
        matrix = opened.counts.rows(0, opened.n_obs)
        assert np.array_equal(opened.counts.entries, np.bincount(matrix.indices, minlength=matrix.shape[1]))
