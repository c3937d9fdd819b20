"""Whole numbers that are no counts are told from counts, cell by cell; what is legitimate passes."""

import anndata as ad
import datasets
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.data import likeness
from scfviz.data import matrix as mx
from scfviz.data.align import align_genes
from scfviz.data.check import check_counts
from scfviz.data.read import read_dataset
from scfviz.data.write import write_h5ad_with
from scfviz.errors import ChoiceError, DatasetError

RNG = np.random.default_rng
MAX_FILE_BYTES = 1_600_000


def cells(n: int = 80, n_genes: int = 800, seed: int = 0, mean: float = 1.5, spread: float = 1.3) -> np.ndarray:
    """UMI counts with genes and cells of very different sizes, int64 (n, n_genes)."""
    rng = RNG(seed)
    level = rng.lognormal(0, spread, n_genes)
    depth = rng.lognormal(0, 0.5, n)
    return rng.poisson(rng.gamma(2, 0.5, (n, n_genes)) * np.outer(depth, level / level.mean() * mean))


def reads(n: int = 40, n_genes: int = 3000, seed: int = 1, mean: float = 7e5) -> np.ndarray:
    """Full-length read counts: about a million per cell, few ones."""
    rng = RNG(seed)
    level = rng.lognormal(0, 2.2, n_genes)
    depth = rng.lognormal(np.log(mean), 0.4, n)
    return rng.poisson(rng.gamma(0.5, 2, (n, n_genes)) * np.outer(depth, level / level.sum()))


def dataset(values, **layers) -> ad.AnnData:
    values = sp.csr_matrix(values)
    names = datasets.some_genes(values.shape[1])
    obs = pd.DataFrame(index=[f"CELL{i}" for i in range(values.shape[0])])
    layers = {key: sp.csr_matrix(layer) for key, layer in layers.items()}
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=names), layers=layers)


def normalised(counts: np.ndarray, to: float = 1e4) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * to


def tpm(counts: np.ndarray) -> np.ndarray:
    return normalised(counts / RNG(5).uniform(0.5, 9, counts.shape[1]), 1e6)


def bins(counts: np.ndarray, n: int = 51, ties: str = "spread", equal_width: bool = False) -> np.ndarray:
    """Bins of the expressed genes of each cell, as scGPT and its followers make them."""
    rng, result = RNG(2), np.zeros(counts.shape, dtype=np.int64)
    for i, row in enumerate(np.log1p(normalised(counts))):
        values = row[row > 0]
        edges = np.linspace(0, values.max(), n) if equal_width else np.quantile(values, np.linspace(0, 1, n - 1))
        low, high = np.digitize(values, edges), np.digitize(values, edges, right=True)
        mixed = np.ceil(rng.random(len(values)) * (low - high) + high)
        result[i, row > 0] = np.maximum({"spread": mixed, "high": low, "low": high}[ties], 1)
    return result


def ranks(counts: np.ndarray, method: str) -> np.ndarray:
    from scipy.stats import rankdata

    result = np.zeros(counts.shape)
    for i, row in enumerate(counts):
        result[i, row > 0] = rankdata(row[row > 0], method=method)
    return result


def is_refused(values) -> str:
    with pytest.raises(DatasetError) as caught:
        check_counts(dataset(values))
    return str(caught.value)


# --- what is no count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", ["spread", "high", "low"])
@pytest.mark.parametrize("n", [6, 10, 51])
def test_bins_are_refused(n, ties):
    assert "do not look like counts" in is_refused(bins(cells(), n, ties))


def test_bins_of_equal_width_are_refused():
    assert "do not look like counts" in is_refused(bins(cells(), equal_width=True))


@pytest.mark.parametrize("method", ["ordinal", "dense", "min", "max", "average"])
def test_ranks_are_refused(method):
    assert "do not look like counts" in is_refused(ranks(cells(n_genes=2000, mean=4), method))


@pytest.mark.parametrize("to", [1e4, 1e5, 1e6])
def test_rounded_normalised_values_are_refused_or_give_the_counts_back(to):
    counts = cells()
    rounded = dataset(np.rint(normalised(counts, to)))
    try:
        aligned = align_genes(rounded)
    except DatasetError as error:
        assert "do not look like counts" in str(error) or "no whole multiples" in str(error)
    else:
        found, truth = (a.rows(0, 80).toarray() for a in (aligned, align_genes(dataset(counts))))
        assert np.array_equal(found[truth <= 20], truth[truth <= 20])  # larger ones are as exact as the rounding
        assert aligned.counts_report.kind == "recovered" and np.abs(found - truth).max() <= 0.01 * truth.max()


@pytest.mark.parametrize(
    "values", [lambda c: np.rint(tpm(c)), lambda c: np.rint(normalised(c, 1e6))], ids=["tpm", "cpm"]
)
def test_rounded_tpm_and_cpm_of_reads_are_refused(values):
    assert "do not look like counts" in is_refused(np.rint(values(reads())))


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_tpm_in_some_cells_beside_counts_are_refused(share, decimals):
    """A file put together from UMI counts and TPM is no file of counts, however the TPM were rounded."""
    values = cells().astype(float)
    n = int(share * len(values))
    values[:n] = np.round(tpm(values[:n]), decimals)
    assert "counts" in is_refused(values)


def test_normalised_cells_outside_the_sample_are_found():
    values = cells(1200, 300)
    values[110:290] = np.rint(normalised(values[110:290], 1e6))
    assert "in 180 of 1,200 cells" in is_refused(values)


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_small_counts_come_back_exactly_from_rounded_logarithms(decimals):
    counts = cells()
    aligned = align_genes(dataset(np.round(np.log1p(normalised(counts)), decimals)))
    found, truth = (a.rows(0, 80).toarray() for a in (aligned, align_genes(dataset(counts))))
    assert np.array_equal(found[truth <= 10], truth[truth <= 10])
    assert np.abs(found - truth).max() <= 0.01 * truth.max()


def test_rounded_logarithms_are_refused():
    assert "do not look like counts" in is_refused(np.rint(np.log1p(normalised(cells()))))


def test_a_matrix_that_gives_counts_back_goes_before_whole_numbers_that_are_none():
    counts = cells()
    logged = np.log1p(normalised(counts))
    for doubtful in (bins(counts), ranks(counts, "ordinal"), np.rint(normalised(counts))):
        for name in ("X_binned", "counts"):  # a name is no proof
            found = check_counts(dataset(logged, **{name: doubtful}))
            assert (found.location, found.kind) == ("X", "recovered")


def test_whole_numbers_that_contradict_the_recovered_counts_are_not_taken():
    counts = cells()
    pooled = counts + np.roll(counts, 1, axis=0) + np.roll(counts, 2, axis=0)
    found = check_counts(dataset(np.log1p(normalised(counts)), pooled=pooled))
    assert (found.location, found.kind) == ("X", "recovered")
    found = check_counts(dataset(np.log1p(normalised(counts)), my_molecules=counts))
    assert (found.location, found.kind) == ("layers['my_molecules']", "counts")


def test_two_layers_that_could_be_the_counts_are_shown_and_the_user_chooses():
    counts, other = cells(seed=0), cells(seed=1)
    both = dataset(-normalised(counts), first=counts, second=other)
    with pytest.raises(DatasetError, match=r"layers\['first'\].*layers\['second'\].*--counts"):
        check_counts(both)
    for name, values in (("first", counts), ("second", other)):
        assert (align_genes(both, counts=name).rows(0, 80) != align_genes(dataset(values)).rows(0, 80)).nnz == 0


def test_the_matrix_of_the_counts_is_chosen_behind_the_path(tmp_path):
    """The app could not say which layer holds the counts; a path can, and everything takes paths."""
    counts, other = cells(seed=0), cells(seed=1)
    both = dataset(-normalised(counts), first=counts, second=other)
    both.write_h5ad(tmp_path / "both.h5ad")
    with pytest.raises(ChoiceError, match=r"first.*second") as caught:
        check_counts(read_dataset(tmp_path / "both.h5ad"))
    assert caught.value.choices == ("both.h5ad/layers/first", "both.h5ad/layers/second")
    for path, values in zip(caught.value.choices, (counts, other), strict=True):
        chosen = read_dataset(tmp_path / path)
        assert (align_genes(chosen).rows(0, 80) != align_genes(dataset(values)).rows(0, 80)).nnz == 0
    ad.read_h5ad(tmp_path / "both.h5ad").write_zarr(tmp_path / "both.zarr")
    with pytest.raises(ChoiceError) as caught:
        check_counts(read_dataset(tmp_path / "both.zarr"))
    assert caught.value.choices == ("both.zarr/layers/first", "both.zarr/layers/second")
    found = check_counts(read_dataset(tmp_path / "both.zarr/layers/second"))
    assert found.location == "layers['second']"
    with pytest.raises(ChoiceError, match="no matrix 'layers/third'"):
        read_dataset(tmp_path / "both.h5ad/layers/third")
    dataset(bins(counts)).write_h5ad(tmp_path / "bins.h5ad")
    with pytest.raises(ChoiceError, match="do not look like counts") as caught:
        check_counts(read_dataset(tmp_path / "bins.h5ad"))
    assert caught.value.choices == ("bins.h5ad/X",) and caught.value.title == DatasetError.title
    assert "was chosen, although" in warnings_of(read_dataset(tmp_path / "bins.h5ad/X"))
    written = tmp_path / "out.h5ad"
    write_h5ad_with(tmp_path / caught.value.choices[0], written, obs={"a": np.arange(80)})
    assert list(ad.read_h5ad(written).obs["a"]) == list(range(80))


def test_the_matrix_is_chosen_behind_any_path(tmp_path):
    """A table of doubtful values could not be opened in the app at all; nor could a modality or a sample."""
    binned = dataset(bins(cells(n_genes=600)))
    datasets.write_table(binned, tmp_path / "bins.csv")
    (tmp_path / "GSE1").mkdir()
    for sample in ("GSM1", "X"):
        for name, content in datasets.mtx_parts(binned, 3).items():
            (tmp_path / "GSE1" / f"{sample}_{name}").write_bytes(content)
    with h5py.File(tmp_path / "a.h5mu", "w") as file:
        for key in ("rna", "prot"):
            ad.io.write_elem(file.require_group(f"mod/{key}"), "/".join(("", "mod", key)), binned)
    for path, inside in (("bins.csv", ""), ("GSE1/GSM1", "/GSM1"), ("GSE1/X", "/X"), ("a.h5mu/rna", "/rna")):
        with pytest.raises(ChoiceError, match="do not look like counts") as caught:
            check_counts(read_dataset(tmp_path / path))
        assert caught.value.choices == (f"{path.partition('/')[0]}{inside}/X",)
        assert check_counts(read_dataset(tmp_path / caught.value.choices[0])).location == "X"
    with pytest.raises(ChoiceError, match="It holds: rna/X"):
        read_dataset(tmp_path / "a.h5mu/rna/raw")
    with pytest.raises(DatasetError, match="no sample 'GSM3'"):
        read_dataset(tmp_path / "GSE1/GSM3/X")


def test_what_the_user_chooses_need_not_look_like_counts():
    values = bins(cells())
    aligned = align_genes(dataset(values), counts="X")
    assert aligned.total_counts.sum() == values.sum()
    assert "was chosen, although" in " ".join(n.text for n in aligned.counts_report.notices if n.level == "warning")
    with pytest.raises(DatasetError, match="negative"):
        check_counts(dataset(-values), counts="X")


# --- what is counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [300, 1000])
def test_counts_thinned_to_one_total_pass(total):
    rng = RNG(3)
    counts = cells()
    thinned = np.array([rng.multivariate_hypergeometric(c, total) if c.sum() > total else c for c in counts])
    assert check_counts(dataset(thinned)).kind == "counts"
    few = thinned[:, rng.permutation(800)[:760]]  # genes left out afterwards: totals just below
    assert check_counts(dataset(few)).kind == "counts"


def test_reads_of_full_length_protocols_pass():
    assert check_counts(dataset(reads())).kind == "counts"


def test_estimates_with_fractions_pass_with_a_warning():
    values = reads().astype(float)
    rng = RNG(4)
    values *= np.where(rng.random(values.shape) < 0.3, rng.uniform(0.5, 1.5, values.shape), 1)
    report = check_counts(dataset(np.round(values, 2)))
    assert (report.kind, report.is_whole) == ("counts", False)


def test_counts_times_a_number_pass_with_a_warning():
    report = check_counts(dataset(cells() * 10))
    assert report.kind == "counts"
    assert "multiple" in " ".join(n.text for n in report.notices if n.level == "warning")


def test_cells_with_few_values_are_not_judged():
    few = np.zeros((30, 400), dtype=int)
    few[:, :10] = np.arange(5, 15)
    assert check_counts(dataset(few)).kind == "counts"


def test_a_few_full_cells_of_a_sparse_panel_do_not_refuse_the_file():
    # 8 of 300,000 cells refused a file of which only 146 had enough values to be judged
    rng = np.random.default_rng(0)
    counts = (rng.random((40_000, 60)) < 0.1) * rng.geometric(0.4, (40_000, 60))
    counts[20_001:20_009, :30] = rng.integers(4, 6, (8, 30))
    counts[:, 0] = 1
    judged = likeness.judge_cells(sp.csr_matrix(counts))
    n_failing, n_judged = np.count_nonzero(judged.why), judged.is_judged.sum()
    assert likeness.MAX_FAILING_CELLS * n_judged < n_failing < 20
    assert check_counts(dataset(counts)).kind == "counts"


def test_judging_does_not_depend_on_blocks():
    block = sp.csr_matrix(np.vstack([cells(), bins(cells())]))
    whole = likeness.judge_cells(block)
    parts = [likeness.judge_cells(block[i : i + 7]) for i in range(0, block.shape[0], 7)]
    assert np.array_equal(whole.why, np.concatenate([p.why for p in parts]))
    assert not whole.why[:80].any() and whole.why[80:].all()


@pytest.mark.parametrize("folder", ["corpus", "evaluation", "panels"])
def test_no_cell_of_real_counts_is_doubted(folder, shared):
    """Of real cells (UMI, full-length reads, panels) at most one in ten thousand is unlike counts."""
    n_judged = n_doubted = 0
    files = [f for f in sorted((shared / "data" / folder).glob("*.h5ad")) if f.stat().st_size < MAX_FILE_BYTES]
    assert len(files) >= 3
    for file in files:
        matrix = read_dataset(file).X
        totals = np.asarray(matrix.sum(axis=1)).ravel()
        assert not likeness.at_fixed_total(totals).any(), file.name
        for _, block in mx.row_blocks(matrix):
            judged = likeness.judge_cells(block)
            n_judged += judged.is_judged.sum()
            n_doubted += (judged.why > 0).sum()
    assert n_judged > 500 and n_doubted <= 1e-4 * n_judged


# --- drawing molecules leaves no holes and no bumps -----------------------------------------------------------------


def deep_cells(n: int = 40, n_genes: int = 4000, mean: float = 1.0) -> np.ndarray:
    return cells(n, n_genes, seed=7, mean=mean, spread=1.5)


@pytest.mark.parametrize("rounding", [np.floor, np.rint, np.ceil], ids=["cut off", "rounded", "up"])
@pytest.mark.parametrize("to", ["median", 3e4, 1e6])
def test_scaled_values_are_refused_or_give_the_counts_back_however_they_were_rounded(to, rounding):
    """Values that were cut off, not rounded, and totals that no one expects, passed as counts."""
    counts = deep_cells()
    scaled = dataset(rounding(normalised(counts, np.median(counts.sum(axis=1)) if to == "median" else to)))
    try:
        aligned = align_genes(scaled)
    except DatasetError as error:
        assert "do not look like counts" in str(error) or "no whole multiples" in str(error)
    else:
        found, truth = (a.rows(0, 40).toarray() for a in (aligned, align_genes(dataset(counts))))
        assert aligned.counts_report.kind == "recovered"
        assert np.array_equal(found[truth <= 20], truth[truth <= 20])


def warnings_of(values, name: str = "") -> str:
    data = values if isinstance(values, ad.AnnData) else dataset(values)
    if name:
        data.uns["scfviz_source"] = {"path": name}
    report = check_counts(data)
    return " ".join(n.text for n in report.notices if n.level == "warning")


@pytest.mark.parametrize("rounding", [np.floor, np.rint], ids=["cut off", "rounded"])
def test_reads_scaled_down_are_asked_about_for_their_totals(rounding):
    """Nothing within a cell tells them from counts, but half of the cells have nearly one total."""
    values = reads()
    for total in (1e4, 54_321):
        scaled = rounding(normalised(values, total))
        with pytest.raises(ChoiceError, match=r"strangely close.*--counts"):
            check_counts(dataset(scaled))
        found = check_counts(dataset(scaled, log=np.log1p(normalised(cells(40, 3000)))))
        assert (found.location, found.kind) == ("layers['log']", "recovered")  # recoverable goes before suspicious
        assert "strangely close" in " ".join(n.text for n in check_counts(dataset(scaled), counts="X").notices)
        selected = dataset(scaled)
        selected.uns["scfviz"] = {"lineage": "[]"}  # somebody selected cells by their depth
        assert "strangely close" in warnings_of(selected)
    assert not warnings_of(values)


def test_counts_drawn_with_one_depth_are_only_doubted():
    """Simulated cells, or cells thinned to an expected depth: totals are close, but vary as drawn ones do."""
    assert "strangely close" in warnings_of(RNG(0).poisson(RNG(1).gamma(0.4, 3, 6000), (60, 6000)))
    assert "strangely close" in warnings_of(RNG(0).poisson(1.2, (60, 6000)))
    assert "strangely close" in warnings_of(RNG(0).negative_binomial(0.5, 0.1, (200, 4000)))


def test_counts_that_were_invented_pass():
    """Tests and benchmarks draw the genes of a cell, then a count above zero for each: twos are commoner than ones."""
    drawn = sp.random(60, 3000, 0.3, "csr", rng=RNG(0), data_rvs=lambda size: RNG(1).poisson(2.0, size) + 1)
    assert check_counts(dataset(drawn)).kind == "counts"


def test_fpkm_with_widely_varying_totals_are_asked_about():
    """Scaled by gene and cell, then rounded: totals vary as those of counts do, but twos are commoner than ones."""
    values = reads(n_genes=6000, mean=1e5)
    lengths = RNG(6).lognormal(7.7, 0.8, values.shape[1])
    scaled = values / lengths / values.sum(axis=1, keepdims=True) * 1e9
    scaled *= RNG(7).lognormal(0, 0.5, (len(values), 1))  # what was mapped elsewhere counts as well
    totals = np.rint(scaled).sum(axis=1)
    assert np.ptp(np.quantile(totals, [0.25, 0.75])) > 0.3 * np.median(totals)
    with pytest.raises(ChoiceError, match="more genes have 2 counts than 1"):
        check_counts(dataset(np.rint(scaled)))
    assert not warnings_of(values)


def test_counts_thinned_to_one_total_are_not_doubted():
    rng = RNG(3)
    assert not warnings_of(np.array([rng.multivariate_hypergeometric(c, 500) for c in cells(mean=3)]))


def test_a_name_of_a_unit_is_a_hint():
    assert "says TPM" in warnings_of(cells(), "GSE1_TPM_matrix.csv")  # but ones dominate as only molecules do
    for name in ("stamping_ttpms.csv", "TPM1_knockdown.csv"):  # TPM1 is a gene
        assert not warnings_of(cells(), name)
    with pytest.raises(ChoiceError, match="GSE1_TPM.csv says TPM, and few of them are 1") as caught:
        warnings_of(reads(), "/data/GSE1_TPM.csv")
    assert caught.value.choices == ("GSE1_TPM.csv/X",)
    assert not warnings_of(reads(), "/data/GSE1_TPM_counts.csv")
    with pytest.raises(ChoiceError, match="name fpkm says FPKM"):
        check_counts(dataset(-reads(), fpkm=reads()))


def test_reads_counted_in_pairs_pass_with_a_warning():
    values = deep_cells(mean=4)
    pairs = values // 2 * 2 + (RNG(1).random(values.shape) < 0.3) * (values > 0)
    assert "much commoner" in warnings_of(pairs)


# --- small panels in which every gene is expressed ------------------------------------------------------------------


@pytest.mark.parametrize("n_genes", [30, 120])
@pytest.mark.parametrize("mean", [8, 12, 50, 200])
@pytest.mark.parametrize("spread", [0.0, 0.4, 1.0])
def test_dense_panels_of_counts_pass(n_genes, mean, spread):
    """Targeted panels have cells without ones, and large values as common as small ones."""
    assert check_counts(dataset(cells(60, n_genes, mean=mean, spread=spread))).kind == "counts"


def test_bins_ranks_and_rounded_values_of_dense_panels_are_refused():
    counts = cells(60, 60, mean=50, spread=0.5)
    rounded = np.rint(normalised(counts, 1e6))
    for values in (bins(counts, 51), ranks(counts, "ordinal"), ranks(counts, "dense"), rounded):
        assert "do not look like counts" in is_refused(values)
