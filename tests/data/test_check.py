"""Counts are found wherever they are, got back where that is exact, and refused with a reason where it is not."""

import json

import anndata as ad
import datasets
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.align import align_genes
from scfviz.data.check import check_counts
from scfviz.data.read import read_dataset
from scfviz.errors import DatasetError


@pytest.fixture
def adata():
    return datasets.make_adata()


def text_of(report) -> str:
    return " ".join(n.text for n in report.notices)


def normalise(counts: sp.csr_matrix, target: float | None = 1e4) -> np.ndarray:
    dense = counts.toarray().astype(np.float64)
    totals = dense.sum(axis=1, keepdims=True)
    return dense / totals * (np.median(totals) if target is None else target)


def with_values(adata, values) -> ad.AnnData:
    changed = adata.copy()
    changed.X = sp.csr_matrix(values.astype(np.float32))
    return changed


# --- where counts are ------------------------------------------------------------------------------------------


def test_counts_in_x_are_found(adata):
    report = check_counts(adata)
    assert (report.location, report.kind, report.recovery) == ("X", "counts", None)
    assert report.gene_totals == pytest.approx(np.asarray(adata.X.sum(axis=0)).ravel())


def test_counts_in_raw_are_found_when_x_is_scaled(adata):
    scaled = adata.copy()
    scaled.raw = adata
    dense = adata.X.toarray()
    scaled.X = (dense - dense.mean(axis=0)) / (dense.std(axis=0) + 1e-9)
    report = check_counts(scaled)
    assert (report.location, report.kind) == ("raw.X", "counts")
    assert "X was not used: it has negative values" in text_of(report)


@pytest.mark.parametrize("layer", ["counts", "raw_counts", "my_umis"])
def test_counts_in_a_layer_are_found_when_x_is_logged(layer, adata):
    logged = with_values(adata, np.log1p(normalise(adata.X)))
    logged.layers[layer] = adata.X.copy()
    report = check_counts(logged)
    assert (report.location, report.kind) == (f"layers['{layer}']", "counts")


def test_counts_of_more_genes_are_preferred(adata):
    full = datasets.make_adata(names=datasets.some_genes(500))
    part = full[:, :300].copy()
    part.raw = full
    assert check_counts(part).location == "raw.X"


@pytest.mark.parametrize("layer", ["binarized", "rank"])
def test_counts_in_x_go_before_other_layers_of_whole_numbers(layer, adata):
    dense = adata.X.toarray()
    adata.layers[layer] = sp.csr_matrix(dense > 0 if layer == "binarized" else dense.argsort(axis=1))
    assert check_counts(adata).location == "X"


def test_values_that_give_counts_back_go_before_detected_or_not(adata):
    logged = with_values(adata, np.log1p(normalise(adata.X)))
    logged.layers["counts"] = adata.X > 0
    assert (check_counts(logged).location, check_counts(logged).kind) == ("X", "recovered")


def test_counts_of_a_few_genes_give_way_to_recovered_counts_of_many():
    full = datasets.make_adata(names=datasets.some_genes(900))
    logged = with_values(full, np.log1p(normalise(full.X)))
    for n_selected, location in ((300, "raw.X"), (600, "layers['counts']")):
        selected = full[:, :n_selected].copy()
        selected.layers["counts"] = selected.X.copy()
        selected.X = -selected.X
        selected.raw = logged
        assert check_counts(selected).location == location
    assert (align_genes(selected).rows(0, 60) != align_genes(full[:, :600].copy()).rows(0, 60)).nnz == 0


def test_counts_are_used_when_recovery_fails_outside_the_sample():
    full = datasets.make_adata(n_obs=1200)
    values = np.log1p(normalise(full.X))
    values[110:300] *= np.random.default_rng(0).uniform(0.5, 2, size=(190, 400))
    selected = full[:, :200].copy()
    selected.raw = with_values(full, values)
    assert check_counts(selected).location == "X"
    with pytest.raises(DatasetError, match="no whole multiples"):
        check_counts(with_values(full, values))


def test_spliced_counts_are_not_taken_for_the_counts(adata):
    logged = with_values(adata, np.log1p(normalise(adata.X)))
    logged.layers["spliced"] = adata.X.copy()
    report = check_counts(logged)
    assert (report.location, report.kind) == ("X", "recovered")


def test_counts_as_floats_with_rounding_errors_are_whole(adata):
    report = check_counts(with_values(adata, adata.X.toarray() * (1 + 1e-7)))
    assert (report.kind, report.is_whole) == ("counts", True)


# --- getting counts back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [1e4, 1e6, None], ids=["ten thousand", "million", "median"])
@pytest.mark.parametrize(
    ("log", "scale"),
    [
        (np.log1p, "natural logarithm"),
        (lambda v: np.log2(v + 1), "base-2 logarithm"),
        (lambda v: np.log10(v + 1), "base-10 logarithm"),
        (lambda v: v, "no logarithm"),
    ],
    ids=["ln", "log2", "log10", "none"],
)
def test_counts_come_back_exactly_from_normalised_values(log, scale, target, adata):
    report = check_counts(with_values(adata, log(normalise(adata.X, target))))
    assert (report.kind, report.recovery.scale) == ("recovered", scale)
    aligned = align_genes(with_values(adata, log(normalise(adata.X, target))))
    reference = align_genes(adata)
    assert (aligned.rows(0, 60) != reference.rows(0, 60)).nnz == 0
    assert "came out whole" in text_of(report)


def test_counts_come_back_from_values_rounded_to_three_decimals(adata):
    logged = with_values(adata, np.round(np.log1p(normalise(adata.X, 1000)), 3))
    assert check_counts(logged).kind == "recovered"


def test_a_cell_whose_smallest_count_is_two_comes_back_exactly(adata):
    counts = adata.X.toarray()
    counts[7] = np.where(counts[7] > 0, counts[7] + 1, 0)
    counts[7, :2] = (2, 3)
    changed = with_values(adata, counts)
    logged = with_values(adata, np.log1p(normalise(changed.X)))
    assert (align_genes(logged).rows(0, 60) != align_genes(changed).rows(0, 60)).nnz == 0


def test_recovery_does_not_depend_on_the_size_of_blocks(adata, monkeypatch):
    logged = with_values(adata, np.log1p(normalise(adata.X)))
    whole = align_genes(logged)
    parts = sp.vstack([whole.rows(i, i + 7) for i in range(0, 60, 7)])
    assert (parts != whole.rows(0, 60)).nnz == 0


def test_estimated_counts_with_fractions_are_taken_with_a_warning(adata):
    rng = np.random.default_rng(1)
    counts = adata.X.toarray() * 40
    counts *= np.where(rng.random(adata.shape) < 0.5, 1, rng.uniform(0.5, 1.5, size=adata.shape))
    report = check_counts(with_values(adata, counts))
    assert (report.kind, report.is_whole) == ("counts", False)
    assert "fractions" in text_of(report)


# --- refusals --------------------------------------------------------------------------------------------------


def refuse(adata, *words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_counts(adata)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_scaled_data_are_refused_with_the_reason(adata):
    dense = adata.X.toarray()
    changed = adata.copy()
    changed.X = (dense - dense.mean(axis=0)) / (dense.std(axis=0) + 1e-9)
    refuse(changed, "No raw counts", "scaled", "layers['counts']")


def test_data_scaled_without_centring_are_refused(adata):
    logged = np.log1p(normalise(adata.X))
    refuse(with_values(adata, logged / (logged.std(axis=0) + 1e-3)), "No raw counts", "no whole counts")


def test_smoothed_data_are_refused(adata):
    logged = np.log1p(normalise(adata.X))
    refuse(with_values(adata, (logged + np.roll(logged, 1, axis=0) * 0.37) / 1.37), "No raw counts")


def test_tpm_are_refused(adata):
    lengths = np.random.default_rng(0).uniform(0.5, 9, size=adata.n_vars)
    refuse(with_values(adata, normalise(sp.csr_matrix(adata.X.toarray() / lengths), 1e6)), "TPM")


@pytest.mark.parametrize("n_obs", [60, 1200], ids=["in the sample", "outside the sample"])
def test_counts_and_normalised_cells_in_one_matrix_are_refused(n_obs):
    mixed = datasets.make_adata(n_obs=n_obs)
    values = mixed.X.toarray() * 40.0
    part = slice(n_obs // 10, n_obs // 4)
    values[part] = np.log1p(normalise(mixed.X))[part]
    refuse(with_values(mixed, values), "no whole numbers")


@pytest.mark.parametrize("log", [lambda v: v, lambda v: np.log2(v + 1)], ids=["fpkm", "log2 tpm"])
def test_rounding_is_not_taken_for_counting(log, adata):
    lengths = np.random.default_rng(0).uniform(0.5, 9, size=adata.n_vars)
    values = np.round(normalise(sp.csr_matrix(adata.X.toarray() / lengths), 5), 2)
    values[:, 0] = 0.01
    refuse(with_values(adata, log(values)), "No raw counts")


def test_a_few_whole_values_among_huge_ones_prove_nothing(adata):
    values = adata.X.toarray().astype(np.float64) * np.pi * 1000
    values[:, :2] = (0.37, 0.74)
    refuse(with_values(adata, values), "No raw counts")


def test_tiny_shares_are_not_taken_for_counts_of_zero(adata):
    shares = with_values(adata, normalise(adata.X, 1e-3))
    assert check_counts(shares).kind == "recovered"
    assert (align_genes(shares).rows(0, 60) != align_genes(adata).rows(0, 60)).nnz == 0


def test_a_dataset_without_a_matrix_is_refused(adata):
    refuse(ad.AnnData(obs=adata.obs, var=adata.var), "no matrix")


def test_real_tpm_and_fpkm_are_refused(shared):
    folder = shared / "data" / "drug_response"
    for name in ("ccle_expression_log2tpm1_525lines_697genes", "gdsc_cellmodelpassport_rnaseq_fpkm"):
        refuse(read_dataset(folder / f"{name}.csv.gz"), "No raw counts")


def bad_value(adata, value: float, cell: int = 57) -> ad.AnnData:
    changed = adata.copy()
    dense = adata.X.toarray()
    dense[cell, 33] = value
    changed.X = sp.csr_matrix(dense)
    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_and_infinite_values_are_refused_with_cell_and_gene(value, adata):
    if value == -np.inf:
        refuse(bad_value(adata, value), "'CELL57'", adata.var_names[33])
    else:
        refuse(bad_value(adata, value), "missing or infinite", "'CELL57'", adata.var_names[33])


@pytest.mark.parametrize("value", [np.nan, np.inf, -3.0])
def test_a_bad_value_outside_the_sample_is_found(value):
    large = datasets.make_adata(n_obs=1000)
    refuse(bad_value(large, value, cell=171), "'CELL171'", large.var_names[33])


def test_negative_counts_are_refused(adata):
    refuse(bad_value(adata, -1), "negative")


def test_a_damaged_x_does_not_matter_when_counts_are_elsewhere(adata):
    changed = bad_value(adata, np.nan)
    changed.layers["counts"] = adata.X.copy()
    assert check_counts(changed).location == "layers['counts']"


def test_text_in_the_matrix_is_refused(adata):
    changed = adata.copy()
    changed.X = np.full(adata.shape, "a", dtype=object)
    refuse(changed, "text")


def test_a_dataset_without_any_count_is_refused(adata):
    refuse(with_values(adata, np.zeros(adata.shape)), "No cell")


# --- things worth saying ---------------------------------------------------------------------------------------


def test_cells_without_counts_are_named_but_kept(adata):
    dense = adata.X.toarray()
    dense[[4, 9]] = 0
    report = check_counts(with_values(adata, dense))
    assert report.n_empty == 2
    warning = next(n for n in report.notices if n.level == "warning")
    assert "2 of 60" in warning.text and "CELL4" in warning.text


def test_repeated_cells_are_said(adata):
    changed = adata.copy()
    changed.obs_names = ["A", "A", *adata.obs_names[2:]]
    assert "1 cell names are repeated" in text_of(check_counts(changed))


def test_detected_or_not_is_said(adata):
    assert "0 or 1" in text_of(check_counts(with_values(adata, (adata.X.toarray() > 0))))


def test_the_report_is_json(adata):
    logged = with_values(adata, np.log1p(normalise(adata.X)))
    for report in (check_counts(adata), check_counts(logged)):
        fields = json.loads(json.dumps(report.as_dict()))
        assert fields["n_obs"] == 60 and fields["notices"]


def test_the_verdict_is_the_same_for_a_file_on_disk(adata, tmp_path, monkeypatch):
    path = datasets.write_h5ad(with_values(adata, np.log1p(normalise(adata.X))), tmp_path / "a.h5ad")
    in_memory = check_counts(read_dataset(path))
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    on_disk = check_counts(read_dataset(path))
    assert on_disk.as_dict() == in_memory.as_dict()
    assert on_disk.gene_totals == pytest.approx(in_memory.gene_totals)


def test_the_dataset_is_not_changed(adata):
    before = adata.copy()
    check_counts(adata)
    assert (adata.X != before.X).nnz == 0 and adata.obs.equals(before.obs) and not adata.uns


def test_real_counts_are_counts_everywhere(shared):
    files = sorted((shared / "data" / "evaluation").glob("*.h5ad"))
    assert files
    for file in files:
        with h5py.File(file) as handle:
            if handle["X/data"].shape[0] > 3_000_000:
                continue
        report = check_counts(read_dataset(file))
        assert (report.kind, report.location) == ("counts", "X"), file.name


def test_real_logged_values_give_the_real_counts_back(shared):
    original = read_dataset(shared / "data" / "evaluation" / "pbmc3k.h5ad")[:300].copy()
    logged = original.copy()
    logged.X = sp.csr_matrix(np.log1p(normalise(original.X)).astype(np.float32))
    aligned, reference = align_genes(logged), align_genes(original)
    assert aligned.counts_report.kind == "recovered"
    assert (aligned.rows(0, 300) != reference.rows(0, 300)).nnz == 0
