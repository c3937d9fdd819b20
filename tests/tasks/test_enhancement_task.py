"""The task `enhancement`: its verdict is right where the truth is known, and nothing about a run moves a number."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from small_cells import make_cells, save_tiny_checkpoint

import scfviz
from scfviz.__main__ import main
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import DatasetError, GeneError, OptionError, Stopped
from scfviz.tasks.enhancement.correlations import fit_depth_curve, fold_at
from scfviz.tasks.enhancement.invented import correlate_inside
from scfviz.tasks.enhancement.lights import lights
from scfviz.tasks.enhancement.methods import Neighbourhood, split_counts, values_at_depth
from scfviz.tasks.enhancement.options import DATASET_ALONE, INPUT, POSTERIOR
from scfviz.tasks.enhancement.scores import CURVE, judge
from scfviz.tasks.registry import get_task
from scfviz.tasks.reporting import Answered
from scfviz.tasks.run import compute
from scfviz.tasks.spec import read_options
from scfviz.tasks.steps import Steps

N_OBS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("enhancement")
    make_cells(N_OBS).write_h5ad(folder / "cells.h5ad")
    save_tiny_checkpoint(folder / "checkpoint")
    return folder


def run(folder, **options):
    given = {"method": DATASET_ALONE, "checkpoint": str(folder / "checkpoint")} | options
    return scfviz.run_task("enhancement", dataset=str(folder / "cells.h5ad"), **given)


@pytest.fixture(scope="module")
def whole(folder):
    return run(folder, all_genes=True, depth_fold=4)


def simulate(n_obs, n_genes=120, depth=3000, seed=0):
    """Counts of four types, and the shares they were drawn with."""
    rng = np.random.default_rng(seed)
    shares = rng.gamma(0.6, 1.0, (4, n_genes))[rng.integers(4, size=n_obs)]
    shares /= shares.sum(axis=1, keepdims=True)
    return shares, sparse.csr_matrix(rng.poisson(depth * shares).astype(np.float32))


def test_held_back_counts_rank_methods_as_the_truth_does():
    """Molecular cross-validation knows no truth, and still orders methods by their distance to it."""
    shares, counts = simulate(300)
    verdict = judge(counts, np.ones(120, bool), np.full(300, 5.0), None, np.arange(120), method=DATASET_ALONE)
    space, rows, genes = Neighbourhood(counts), np.arange(300), np.arange(120)
    of_truth = {
        "input": space.input,
        "gene means": space.gene_means,
        "cluster means": space.cluster_means,
        "neighbours": space.smooth(verdict.mixture.n_neighbors),
    }
    depth = space.totals
    seen = counts.toarray()
    errors = {}
    for name, method in of_truth.items():
        expected = (seen + method(rows, genes) * 4 * depth[:, None]) / (5 * depth[:, None])
        errors[name] = ((np.log(expected + 1e-4) - np.log(shares + 1e-4)) ** 2).mean()
    table = verdict.methods.set_index("method")["poisson_loss"]
    assert errors["cluster means"] < errors["input"] < errors["gene means"]
    assert table["cluster means"] < table["input"] < table["gene means"]
    assert verdict.scores["effective_fold"] > 1.5 and verdict.scores["effective_fold_low"] > 1
    assert verdict.scores["genes_to_use"] > verdict.scores["genes_not_to_be_used"]


def test_the_combination_is_not_behind_the_best_single_method():
    """A product of views was behind neighbours or a low rank in shallow cells of few kinds; a mixture holds them."""
    _, counts = simulate(300, depth=150, seed=2)
    verdict = judge(counts, np.ones(120, bool), np.full(300, 5.0), None, np.arange(120), method=DATASET_ALONE)
    table, weights = verdict.methods.set_index("method"), verdict.mixture.weights
    assert sum(weights.values()) == pytest.approx(1.0) and min(weights.values()) >= 0
    best = table["correlation"].drop([DATASET_ALONE, POSTERIOR]).max()
    assert table.loc[DATASET_ALONE, "correlation"] > best - 0.01
    assert table.loc[DATASET_ALONE, "correlation"] > table.loc[POSTERIOR, "correlation"]
    assert verdict.scores["gain_over_best_simple_method_high"] > 0
    assert 0.85 < verdict.scores["interval_coverage"] <= 1


@pytest.mark.parametrize("method", ["combination", DATASET_ALONE, POSTERIOR])
def test_the_function_gives_the_numbers_of_the_task(folder, method):
    """It gave the posterior alone, whatever the page answered with."""
    genes = tuple(str(name) for name in ad.read_h5ad(folder / "cells.h5ad").var_names[:40])
    of_task = run(folder, genes=genes, depth_fold=4, method=method, intervals=True)
    model = scfviz.load_checkpoint(folder / "checkpoint")
    cells = scfviz.align_genes(scfviz.read_dataset(folder / "cells.h5ad"), genes=model.genes)
    found = scfviz.enhance_counts(
        cells, None if method == DATASET_ALONE else model, genes=genes, depth_fold=4, method=method
    )
    for name, mine in (("enhanced", found.values), ("low", found.low), ("high", found.high)):
        place = {gene: number for number, gene in enumerate(found.genes)}
        order = [place[gene] for gene in of_task.tables["genes"]["gene"].astype(str)]
        np.testing.assert_allclose(of_task.arrays[name], mine[:, order], rtol=1e-5, atol=1e-6)


def test_what_was_held_back_and_what_is_left_are_the_counts():
    _, counts = simulate(50)
    rest, part = split_counts(counts, 0.1, np.random.default_rng(0))
    assert (rest + part != counts).nnz == 0
    assert part.sum() / counts.sum() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("thinned", [0.25, 0.5, 2.0, 4.0])
def test_effective_fold_of_thinned_counts_is_the_thinning(thinned):
    """r^2 = A f / (f + c): raw counts at a fold have that fold, between the measured depths and beyond them."""
    law = lambda f: np.sqrt(0.3 * f / (f + 2.0))  # noqa: E731
    ceilings, halves = fit_depth_curve(np.array(CURVE), law(np.array(CURVE))[None])
    assert fold_at(np.array([law(thinned)]), ceilings, halves)[0] == pytest.approx(thinned, rel=0.1)


def test_a_curve_that_does_not_pass_through_the_counts_tells_no_fold():
    """A flat curve gave every method the same end of the scale, and the verdict said 'like 1.0 times the depth'."""
    from scfviz.tasks.enhancement.correlations import Correlations
    from scfviz.tasks.enhancement.scores import _fits_curve

    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 150))

    def made(of_share):
        found = Correlations(truth, np.ones(150, bool))
        for share in CURVE:
            found.add(share, truth + of_share(share) * rng.normal(size=truth.shape))
        found.values[INPUT] = found.values[1.0]
        return found

    assert _fits_curve(made(lambda share: 3 / share**0.5))
    assert not _fits_curve(made(lambda share: 3.0))


def test_thinned_cells_are_worth_their_share_of_the_depth():
    shares, _ = simulate(400, seed=3)
    rng = np.random.default_rng(1)
    deep, test = (rng.poisson(depth * shares) / depth for depth in (1000, 300))

    def median(found):
        return np.median([np.corrcoef(found[:, g], test[:, g])[0, 1] for g in range(120)])

    curve = [median(rng.poisson(f * 1000 * shares) / (f * 1000)) for f in CURVE]
    fitted = fit_depth_curve(np.array(CURVE), np.array(curve)[None])
    half = median(rng.poisson(500 * shares) / 500)
    assert fold_at(np.array([half]), *fitted)[0] == pytest.approx(0.5, rel=0.35)
    assert fold_at(np.array([median(deep)]), *fitted)[0] == pytest.approx(1.0, rel=0.35)


def test_constant_genes_have_no_fold():
    """A prediction that mixes a constant into the counts is worth the counts."""
    _, counts = simulate(200)
    verdict = judge(counts, np.ones(120, bool), np.full(200, 5.0), None, np.arange(120), method=INPUT)
    fold = verdict.methods.set_index("method")["fold"]
    assert fold["input"] == pytest.approx(1.0) and fold["gene means"] == pytest.approx(1.0, abs=1e-3)


def test_chosen_genes_have_the_numbers_of_the_whole_matrix(folder, whole):
    names = whole.tables["genes"]["gene"].tolist()
    assert whole.arrays["enhanced"].shape == (N_OBS, len(names)) and len(names) == 400
    chosen = [names[9], names[300], names[41]]
    some = run(folder, genes=tuple(chosen), depth_fold=4)
    np.testing.assert_array_equal(some.arrays["enhanced"], whole.arrays["enhanced"][:, [9, 300, 41]])
    assert some.tables["genes"]["gene"].tolist() == chosen and some.scores == whole.scores
    np.testing.assert_allclose(some.cells["target_depth"], 4 * scfviz.read_dataset(folder / "cells.h5ad").X.sum(1).A1)


def test_interrupted_runs_go_on_with_the_same_numbers(folder, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("scfviz.tasks.enhancement.run._MOST_CELLS_AT_ONCE", 32)
    task = get_task("enhancement")
    asked = read_options(
        task.options_type,
        {
            "dataset": str(folder / "cells.h5ad"),
            "checkpoint": str(folder / "checkpoint"),
            "method": DATASET_ALONE,
            "all_genes": True,
            "depth_fold": 4,
        },
    )
    progress = tmp_path / "cells_done.json"
    stop = lambda: progress.exists()  # noqa: E731
    with pytest.raises(Stopped):
        compute(task, asked, Steps(tmp_path, should_stop=stop))
    assert json.loads(progress.read_text())["done"] == 32
    before = (tmp_path / "enhanced.npy").stat().st_ino
    result = compute(task, asked, Steps(tmp_path))
    np.testing.assert_array_equal(result.arrays["enhanced"], whole.arrays["enhanced"])
    assert (tmp_path / "enhanced.npy").stat().st_ino == before


@pytest.mark.parametrize("fold", [1, 3])
def test_every_method_keeps_what_was_measured(fold):
    """Values at the cell's own depth are its counts; at a greater one no count is taken away."""
    _, counts = simulate(60)
    space, rows, genes = Neighbourhood(counts), np.arange(60), np.arange(120)
    seen, depth = counts.toarray(), space.totals
    for method in (space.input, space.gene_means, space.cluster_means, space.smooth(5), space.low_rank(3)):
        shares = method(rows, genes)
        assert (shares >= 0).all() and shares.sum(axis=1) == pytest.approx(np.ones(60), rel=0.3)
        found = np.expm1(values_at_depth(seen, shares, depth, fold * depth)) * (fold * depth[:, None]) / 1e4
        assert (found >= seen - 1e-2).all()
        if fold == 1:
            np.testing.assert_allclose(found, seen, rtol=1e-4, atol=1e-4)


def test_simple_methods_are_written_as_they_are_computed(folder):
    aligned = scfviz.align_genes(scfviz.read_dataset(folder / "cells.h5ad"))
    counts = aligned.rows(0, N_OBS)
    genes = np.flatnonzero(aligned.is_measured)
    space, rows = Neighbourhood(counts), np.arange(N_OBS)
    expected = values_at_depth(
        counts[:, genes].toarray(), space.cluster_means(rows, genes), space.totals, 3 * space.totals
    )
    found = run(folder, method="cluster means", depth_fold=3, all_genes=True).arrays["enhanced"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_intervals_hold_and_unmeasured_genes_stay_apart(folder, tmp_path):
    make_cells(24).write_h5ad(tmp_path / "cells.h5ad")
    symbols = scfviz.read_dataset(folder / "cells.h5ad").var_names
    absent = next(gene for gene in load_vocabulary().symbols if gene not in set(symbols))
    (tmp_path / "checkpoint").symlink_to(folder / "checkpoint")
    result = run(tmp_path, method="combination", genes=(symbols[3], absent), intervals=True)
    assert result.tables["genes"]["gene"].tolist() == [symbols[3]]
    assert result.tables["unmeasured"]["gene"].tolist() == [absent] and result.arrays["unmeasured"].shape == (24, 1)
    assert (result.arrays["low"] <= result.arrays["high"]).all()
    assert {"gain_by_the_model", "gain_by_the_model_low"} <= set(result.scores)
    with pytest.raises(GeneError, match="does not measure"):
        run(folder, genes=(symbols[3], absent))


def test_deeper_cells_stay_as_they_are_and_that_is_said(folder):
    result = run(folder, target_depth=1500, method="cluster means", all_genes=True)
    depth = scfviz.read_dataset(folder / "cells.h5ad").X.sum(axis=1).A1
    np.testing.assert_allclose(result.cells["target_depth"], np.maximum(depth, 1500))
    assert any(f"{(depth > 1500).sum()} of 90 cells" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"target_depth": 10}, OptionError, "every cell is deeper"),
        ({"target_depth": 5000, "depth_fold": 2}, OptionError, "Both"),
        ({"genes": ("NO_GENE",)}, GeneError, "NO_GENE"),
        ({"genes": ()}, OptionError, "No genes"),
        ({"genes": ("A1BG", "A1BG")}, OptionError, "twice"),
        ({"genes": ("A1BG",), "all_genes": True}, OptionError, "only one can hold|Only one can hold"),
        ({"method": "neighbours", "intervals": True}, OptionError, "certain"),
        ({"method": "magic"}, OptionError, "low rank"),
        ({"filters": {"min_counts": 1e9}}, DatasetError, "remove all"),
    ],
)
def test_bad_requests_are_refused_in_words(folder, options, error, words):
    with pytest.raises(error, match=words):
        run(folder, **options)


def test_too_few_cells_get_no_verdict_or_a_sentence(tmp_path, folder):
    cells = ad.read_h5ad(folder / "cells.h5ad")
    cells[:2].write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(DatasetError, match="At least 3"):
        scfviz.run_task("enhancement", dataset=str(tmp_path / "cells.h5ad"), method=DATASET_ALONE)
    cells[:4].write_h5ad(tmp_path / "four.h5ad")
    result = scfviz.run_task("enhancement", dataset=str(tmp_path / "four.h5ad"), method=DATASET_ALONE)
    assert result.scores == {} and any("No verdict" in note for note in result.notes)
    assert result.arrays["enhanced"].shape[0] == 4 and set(result.tables["genes"]["light"]) == {"can't tell"}


def test_values_mix_what_was_seen_with_what_is_expected():
    value = values_at_depth(np.array([[2.0]]), np.array([[1e-3]]), np.array([1000.0]), np.array([5000.0]))
    assert value[0, 0] == pytest.approx(np.log1p((2 + 4) / 5000 * 1e4))


def test_the_command_adds_a_layer_and_leaves_the_counts_alone(folder, tmp_path, capsys):
    out, path = tmp_path / "out.h5ad", folder / "cells.h5ad"
    names = list(scfviz.read_dataset(path).var_names[[7, 2]])
    command = ["enhance", str(path), str(out), "--method", DATASET_ALONE, "--depth-fold", "3", "--json"]
    assert main([*command, "--intervals", "--genes", *names]) == 0
    report = json.loads(capsys.readouterr().out)
    before, after = ad.read_h5ad(path), ad.read_h5ad(out)
    assert (before.X != after.X).nnz == 0
    layer = after[:, names].layers["scfoundation_enhanced"]
    found = run(folder, genes=tuple(names), depth_fold=3)
    np.testing.assert_array_equal(layer, found.arrays["enhanced"])
    assert np.isnan(after.layers["scfoundation_enhanced"]).sum() == N_OBS * (after.n_vars - 2)
    assert (
        after[:, names].layers["scfoundation_enhanced_low"] <= after[:, names].layers["scfoundation_enhanced_high"]
    ).all()
    about = json.loads(after.uns["scfviz"]["enhancement"])
    assert about["options"]["depth_fold"] == 3.0 and about["provenance"]["weights"]["exponents"].keys() == {
        "dataset",
        "neighbours",
    }
    assert report["scores"]["effective_fold"] == pytest.approx(found.scores["effective_fold"])
    assert main(["enhance", str(path), str(tmp_path / "b.h5ad"), "--target-depth", "10"]) == 2
    assert "every cell is deeper" in capsys.readouterr().err


def test_reports_say_what_it_is_worth_and_what_it_must_not_serve_for(whole):
    answered = Answered(get_task("enhancement"), whole)
    said = answered.say("methods")
    assert "400 genes in 90 cells" in said and "4 times the depth" in said and "molecular cross-validation" in said
    assert f"{whole.scores['effective_fold']:.2f} times as deep" in said and "model" not in said
    assert "must not be tested" in " ".join(answered.say("caveats"))
    assert any("786269" in text for text in answered.say("citations"))


def test_methods_that_share_between_cells_are_caught_inventing():
    """Counts drawn again have no correlation inside clusters: a low rank shows one, the counts themselves do not."""
    _, counts = simulate(300, depth=600)
    table = judge(counts, np.ones(120, bool), np.full(300, 20.0), None, np.arange(120)).methods.set_index("method")
    assert table.loc["input", "invented_per_1000"] < 20 < table.loc["low rank", "invented_per_1000"]
    assert table.loc["input", "false_positives"] < 20 < table.loc["low rank", "false_positives"]
    assert table.loc[DATASET_ALONE, "invented_per_1000"] < table.loc["low rank", "invented_per_1000"]


def test_correlation_inside_clusters_leaves_their_means_out():
    rng = np.random.default_rng(0)
    clusters = np.repeat([0, 1], 500)
    one, other = (
        5.0 * clusters[:, None] + rng.normal(size=(1000, 1)),
        5.0 * clusters[:, None] + rng.normal(size=(1000, 1)),
    )
    assert abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) > 0.8
    assert abs(correlate_inside(one, other, clusters)[0, 0]) < 0.1
    assert correlate_inside(one, one, clusters)[0, 0] == pytest.approx(1.0)


def test_lights_need_certainty():
    gain, error = np.array([0.1, 0.1, -0.1, 0.0, 0.1]), np.array([0.01, 0.1, 0.01, 0.01, 0.01])
    loss, loss_error = np.array([0.1, 0.1, 0.1, -0.1, -0.01]), np.array([0.01, 0.01, 0.01, 0.01, 0.1])
    assert lights(gain, error, loss, loss_error).tolist() == [
        "use", "can't tell", "do not use", "do not use", "can't tell",
    ]  # fmt: skip
