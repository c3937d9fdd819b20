"""Values that are no counts of cells: bulk samples and normalised cells, in the model's gene order as they are."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from small_cells import make_cells

from scfviz.data.read_arrays import read_gene_list, write_array_as_h5ad
from scfviz.data.scan import bulk_note
from scfviz.data.values import align_values
from scfviz.errors import DatasetError, OptionError

COUNTS = make_cells(4)


def samples(matrix, var_names=COUNTS.var_names):
    return ad.AnnData(sp.csr_matrix(matrix), var=pd.DataFrame(index=list(var_names)))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x, "counts"),
        (lambda x: 1e6 * x / x.sum(axis=1, keepdims=True), "tpm"),
        (lambda x: np.log1p(1e6 * x / x.sum(axis=1, keepdims=True)), "log"),
        (lambda x: np.log2(x + 1), "log"),
    ],
)
def test_what_samples_hold_is_seen_from_their_size(change, kind):
    values = change(COUNTS.X.toarray().astype(np.float64))
    aligned = align_values(samples(values))
    assert aligned.kind == kind and aligned.matrix.shape == (4, 19264)
    np.testing.assert_allclose(aligned.matrix.sum(axis=1), values.sum(axis=1, keepdims=True), rtol=1e-6)


def test_values_come_out_at_the_place_of_their_gene_in_any_order():
    order = np.random.default_rng(0).permutation(COUNTS.n_vars)
    shuffled = align_values(samples(COUNTS.X[:, order], COUNTS.var_names[order]))
    assert (shuffled.matrix != align_values(samples(COUNTS.X)).matrix).nnz == 0


def test_rows_of_one_gene_add_up_but_logarithms_cannot():
    names = [*COUNTS.var_names, COUNTS.var_names[0]]
    twice = sp.hstack([COUNTS.X, COUNTS.X[:, [1]]]).tocsr()
    added = align_values(samples(twice, names))
    assert added.matrix.sum() == twice.sum() and "their sum was taken" in added.notes[0]
    logged = twice.log1p()
    largest = align_values(samples(logged, names))
    expected = logged.toarray()
    expected[:, 0] = np.maximum(expected[:, 0], expected[:, -1])
    np.testing.assert_allclose(largest.matrix.sum(), expected[:, :-1].sum(), rtol=1e-6)
    assert "the largest value was taken" in largest.notes[0]


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        (lambda x: x - 1, {}, DatasetError, "negative"),
        (lambda x: np.where(x > 2, np.nan, x), {}, DatasetError, "missing"),
        (lambda x: x, {"kind": "log"}, OptionError, "said to be log.*look like counts"),
        (lambda x: x * 0.3, {"kind": "counts"}, OptionError, "said to be counts"),
        (lambda x: x * (np.arange(4) > 0)[:, None], {}, DatasetError, "1 samples have nothing"),
    ],
)
def test_values_that_cannot_be_what_they_are_said_to_be_are_refused(values, options, error, words):
    with pytest.raises(error, match=words):
        align_values(samples(values(COUNTS.X.toarray())), **options)


def test_totals_in_the_last_column_are_no_gene():
    totals = np.array([[10.0], [20.0], [30.0], [40.0]])
    logged = np.hstack([np.log1p(COUNTS.X.toarray()), totals])
    aligned = align_values(samples(logged, [*COUNTS.var_names, "total"]), kind="log", last_is_total=True)
    assert aligned.totals.tolist() == totals.ravel().tolist()
    np.testing.assert_allclose(aligned.matrix.sum(), np.log1p(COUNTS.X.toarray()).sum(), rtol=1e-6)


def test_samples_that_are_taken_for_cells_are_said():
    assert bulk_note(np.full(5, 3_000)) == []
    assert "Add --bulk" in bulk_note(np.full(5, 16_000))[0]


@pytest.mark.parametrize("text", ["A\nB\nC\n", "gene_name\tindex\nA\t0\nB\t1\nC\t2\n", '"A"\n"B"\n"C"\n'])
def test_a_gene_list_is_read_with_and_without_a_heading(text, tmp_path):
    (tmp_path / "genes.txt").write_text(text)
    assert read_gene_list(str(tmp_path / "genes.txt"), 3) == ["A", "B", "C"]


def test_columns_without_their_genes_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 5)))
    with pytest.raises(DatasetError, match="5 columns of genes, the list 19,264"):
        write_array_as_h5ad(tmp_path / "a.npy", "published", tmp_path / "a.h5ad")
    with pytest.raises(OptionError, match="cannot be read"):
        write_array_as_h5ad(tmp_path / "a.npy", str(tmp_path / "absent.txt"), tmp_path / "a.h5ad")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="cannot be read"):
        write_array_as_h5ad(tmp_path / "objects.npy", "published", tmp_path / "a.h5ad")
