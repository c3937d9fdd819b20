"""The whole is the sum of its parts; a gene that is there twice is counted once; an antibody is no gene."""

import anndata as ad
import datasets
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.align import align_genes
from scfviz.data.check import check_counts
from scfviz.data.read import read_dataset
from scfviz.errors import OptionError

NAMES = {
    "velocyto": ("spliced", "unspliced", "ambiguous"),
    "kb": ("mature", "nascent", "ambiguous"),
    "alevin-fry": ("S", "U", "A"),
    "zumis": ("exon", "intron"),
    "decorated": ("spliced_counts", "unspliced_counts"),
}


def split(counts: np.ndarray, n: int, seed: int = 0) -> list[np.ndarray]:
    """Counts divided at random among n parts, the first the smallest."""
    rng, rest, parts = np.random.default_rng(seed), counts.astype(int), []
    for i in range(n - 1):
        parts.append(rng.binomial(rest, 0.2 if i == 0 else 0.5))
        rest = rest - parts[-1]
    return [*parts, rest]


def in_parts(layers: tuple[str, ...], x=None) -> tuple[ad.AnnData, ad.AnnData]:
    """(the whole, a file with its parts in layers); `x` makes X from the parts."""
    whole = datasets.make_adata(names=datasets.some_genes(500))
    parts = split(whole.X.toarray(), len(layers))
    values = None if x is None else sp.csr_matrix(x(parts))
    stored = {name: sp.csr_matrix(part) for name, part in zip(layers, parts, strict=True)}
    return whole, ad.AnnData(values, obs=whole.obs, var=whole.var, layers=stored)


def same_counts(one, other) -> bool:
    return (one.rows(0, one.n_obs) != other.rows(0, other.n_obs)).nnz == 0


@pytest.mark.parametrize("layers", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("x", [None, lambda p: p[0], lambda p: p[-1]], ids=["no X", "X is the first", "X is the last"])
def test_parts_are_added_up(layers, x):
    whole, parts = in_parts(layers, x)
    aligned = align_genes(parts)
    assert same_counts(aligned, align_genes(whole))
    said = " ".join(n.text for n in aligned.counts_report.notices)
    assert " + ".join(f"layers['{name}']" for name in layers) in said
    if x is not None:
        assert "of the molecules" in said and "--counts" in said


def test_the_sum_in_x_stays_and_so_do_counts_of_another_program():
    whole, parts = in_parts(NAMES["velocyto"], lambda p: sum(p))
    assert check_counts(parts).location == "X"
    parts.X = sp.csr_matrix(datasets.make_counts(60, 500, seed=9))
    assert check_counts(parts).location == "X"


def test_a_logged_part_in_x_gives_way_to_the_sum():
    logged = lambda p: np.log1p(p[0] / np.maximum(p[0].sum(axis=1, keepdims=True), 1) * 1e4)  # noqa: E731
    whole, parts = in_parts(NAMES["velocyto"], logged)
    assert same_counts(align_genes(parts), align_genes(whole))


def test_one_part_can_be_chosen():
    whole, parts = in_parts(NAMES["velocyto"], lambda p: p[0])
    assert align_genes(parts, counts="X").total_counts.sum() == parts.layers["spliced"].sum()
    with pytest.raises(OptionError, match="no counts at 'nothing'"):
        check_counts(parts, counts="nothing")


def test_a_single_part_is_used_and_said():
    whole, parts = in_parts(("spliced",))
    report = check_counts(parts)
    assert report.location == "layers['spliced']"
    assert "only spliced" in " ".join(n.text for n in report.notices if n.level == "warning")


def test_parts_on_disk_are_the_same_as_in_memory(tmp_path, monkeypatch):
    whole, parts = in_parts(NAMES["kb"], lambda p: p[0])
    path = datasets.write_h5ad(parts, tmp_path / "a.h5ad")
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    aligned = align_genes(read_dataset(path))
    assert same_counts(aligned, align_genes(whole))
    rows = np.array([41, 3, 17])
    assert (aligned.subset(rows).rows(0, 3) != align_genes(whole).rows(0, 60)[rows]).nnz == 0


def test_alevin_rows_of_one_gene_are_added_up():
    whole = datasets.make_adata(names=datasets.some_genes(500))
    parts = split(whole.X.toarray(), 3)
    names = [*whole.var_names, *(f"{n}-U" for n in whole.var_names), *(f"{n}-A" for n in whole.var_names)]
    beside = ad.AnnData(sp.csr_matrix(np.hstack(parts)), obs=whole.obs, var=pd.DataFrame(index=names))
    aligned = align_genes(beside)
    assert same_counts(aligned, align_genes(whole)) and aligned.gene_report.n_parts == 1000


# --- repeats ---------------------------------------------------------------------------------------------------


def repeated(values, names) -> tuple[ad.AnnData, ad.AnnData]:
    """(500 genes, the same with more columns under `names`)."""
    plain = datasets.make_adata(names=datasets.some_genes(500))
    more = sp.csr_matrix(np.hstack([plain.X.toarray(), values(plain.X.toarray())]))
    var = pd.DataFrame(index=[*plain.var_names, *names(list(plain.var_names))])
    return plain, ad.AnnData(more, obs=plain.obs, var=var)


@pytest.mark.parametrize("suffix", ["", "-1", ".1"])
@pytest.mark.parametrize("n", [1, 80, 500])
def test_the_same_row_twice_is_one_gene(n, suffix):
    plain, twice = repeated(lambda v: v[:, :n], lambda names: [f"{name}{suffix}" for name in names[:n]])
    aligned = align_genes(twice)
    assert same_counts(aligned, align_genes(plain))
    assert aligned.gene_report.n_summed == 0
    assert n - 1 <= aligned.gene_report.n_identical <= n  # one name with -1 is an alias of another gene
    assert "counted once" in " ".join(aligned.gene_report.notices)


def test_other_rows_of_a_gene_are_still_added():
    plain, twice = repeated(lambda v: v[:, :40] * 2, lambda names: names[:40])
    expected = align_genes(plain).rows(0, 60).toarray()
    positions = [list(align_genes(plain).genes).index(g) for g in plain.var_names[:40]]
    expected[:, positions] *= 3
    assert np.array_equal(align_genes(twice).rows(0, 60).toarray(), expected)


@pytest.mark.parametrize("before", [False, True], ids=["after the genes", "before the genes"])
@pytest.mark.parametrize(("n", "suffix"), [(40, ""), (40, "-1"), (4, "-1")])
def test_antibodies_are_not_added_to_the_genes_of_their_proteins(n, suffix, before):
    rng = np.random.default_rng(0)
    plain, mixed = repeated(
        lambda v: v[:, :n] * 50 + rng.poisson(20, (60, n)), lambda names: [f"{name}{suffix}" for name in names[:n]]
    )
    if before:
        mixed = mixed[:, [*range(500, 500 + n), *range(500)]].copy()
    aligned = align_genes(mixed)
    assert same_counts(aligned, align_genes(plain))
    assert len(aligned.gene_report.antibodies) == n
    assert f"{plain.var_names[0]}{suffix}" in " ".join(aligned.gene_report.notices)


def test_a_second_row_that_holds_most_of_a_gene_is_added():
    """Two Ensembl IDs of a symbol: often one has nearly all counts, and it may be the later one."""
    plain = datasets.make_adata(names=datasets.some_genes(500))
    tiny = np.zeros((60, 30))
    tiny[::17] = 1
    mixed = ad.AnnData(
        sp.csr_matrix(np.hstack([tiny, plain.X.toarray()])),
        obs=plain.obs,
        var=pd.DataFrame(index=[*plain.var_names[10:40], *plain.var_names]),
    )
    assert align_genes(mixed).total_counts.sum() == plain.X.sum() + tiny.sum()
