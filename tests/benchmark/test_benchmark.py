"""The benchmark: perfect methods score perfectly, baselines are what they say, nothing leaks, the same seed repeats."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import small_cells
import torch
from scipy import sparse

from scfviz.__main__ import main
from scfviz.analysis import baselines
from scfviz.analysis.baselines import Cells, OtherCells, VariableGenePca, find_neighbors, smooth_cells
from scfviz.benchmark import representation
from scfviz.benchmark.comparison import (
    AHEAD,
    BEHIND,
    UNCLEAR,
    Comparison,
    macro_f1,
    mutual_information,
    rand_index,
    resample_means,
    table_of,
)
from scfviz.benchmark.data import BUDGETS, PAIRS, choose_embedded, known_labels, load_cells
from scfviz.benchmark.recovery import (
    METRICS,
    WITH_DATASET,
    predictor,
    recovery_errors,
    score_depth,
    score_masked,
    thin,
)
from scfviz.benchmark.report import as_markdown, as_report
from scfviz.benchmark.run import run_benchmark
from scfviz.data.align import align_genes
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import DatasetError, OptionError
from scfviz.model.checkpoint import default_checkpoint, save_checkpoint
from scfviz.model.config import ModelConfig
from scfviz.model.scfoundation import ScFoundation
from scfviz.model.tokens import prepare_cells, tokenise
from scfviz.tasks.embedding.compute import embed_baseline
from scfviz.training.card import USES, introduce

N_CELLS, N_GENES = 60, 64


def make_counts(seed: int, n_cells: int = N_CELLS) -> tuple[np.ndarray, np.ndarray]:
    """Counts of three types that differ in a few genes, and the types."""
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, 1.0, N_GENES) + 4 * np.eye(3, N_GENES).repeat(1, axis=0)
    profiles[:, -8:] = 0.01  # rare, as in cells: ones and twos among their counts
    types = np.arange(n_cells) % 3
    means = profiles[types] / profiles[types].sum(axis=1, keepdims=True) * rng.uniform(1500, 4000, (n_cells, 1))
    return rng.poisson(means).astype(np.float32), types


def make_cells(seed: int = 0, n_measured: int = N_GENES) -> Cells:
    counts, types = make_counts(seed)
    is_measured = np.arange(N_GENES) < n_measured
    counts[:, ~is_measured] = 0
    labels = np.array([f"type {t}" for t in types], dtype=object)
    obs = pd.DataFrame({"cell_type": labels}, index=[f"cell {i}" for i in range(len(labels))])
    return Cells("made", sparse.csr_matrix(counts), is_measured, obs, labels, len(labels))


@pytest.fixture(scope="module")
def cells() -> Cells:
    return make_cells()


def oracle(cells: Cells):
    """A predictor that knows every cell, found by what is visible of it."""
    dense = cells.values.toarray()

    def predict(prepared, hidden):
        answers = []
        for row in range(prepared.values.shape[0]):
            depth = 10.0 ** prepared.target_token[row]
            answers.append(dense[np.argmin(np.abs(cells.totals - depth))])
        return np.array(answers, dtype=np.float32)

    return predict


# ---- what a perfect method gets


def test_perfect_recovery_scores_perfectly(cells):
    assert len(np.unique(cells.totals)) == cells.n_obs  # the oracle tells cells apart by depth
    predict = oracle(cells)
    for comparison in score_masked(cells, {"oracle": predict}, n_scored=10):
        assert comparison.values["oracle"] == pytest.approx(0, abs=1e-12)
        assert comparison.row("oracle")["verdict"] == AHEAD
        assert comparison.row("oracle")["model_adds"] in (None, AHEAD)
    for comparison in score_depth(cells, {"oracle": predict}, n_scored=10, fractions=(0.2,)):
        row = comparison.row("oracle")
        assert row["verdict"] == AHEAD
        if comparison.without_model is None:
            assert comparison.values["oracle"] == pytest.approx(float(comparison.higher_is_better))
        else:
            assert row["model_adds"] == AHEAD


def test_a_model_that_knows_nothing_takes_nothing_away(cells):
    rng = np.random.default_rng(0)

    def noise(prepared, hidden):
        return rng.uniform(0, 3, prepared.values.shape).astype(np.float32)

    scored = score_masked(cells, {"noise": noise}, n_scored=20) + score_depth(
        cells, {"noise": noise}, n_scored=20, fractions=(0.2,)
    )
    for comparison in scored:
        if comparison.without_model is not None:
            assert comparison.values["noise"] == pytest.approx(comparison.values[comparison.without_model], rel=0.03)


def test_perfect_embedding_scores_perfectly_and_noise_does_not(cells):
    codes = np.array([int(label[-1]) for label in cells.labels])
    rng = np.random.default_rng(0)
    perfect = np.eye(3)[codes] * 10 + rng.normal(0, 0.1, (cells.n_obs, 3))
    embeddings = {"perfect": perfect.astype(np.float32), "noise": rng.normal(size=(cells.n_obs, 3)).astype(np.float32)}
    for comparison in [
        *representation.score_probes(cells, np.arange(cells.n_obs), embeddings),
        *representation.score_clusters(cells, np.arange(cells.n_obs), embeddings),
    ]:
        assert comparison.values["perfect"] == pytest.approx(1), comparison.metric
        if comparison.score.endswith(WITH_DATASET):  # a model that knows nothing takes little away
            assert comparison.values["noise"] > comparison.values[representation.PCA] - 0.05, comparison.metric
        else:
            assert comparison.values["noise"] < 0.6, comparison.metric
            assert comparison.verdict("perfect", "noise") == AHEAD


# ---- baselines


def test_means_of_other_cells_equal_hand_computed_values():
    values = sparse.csr_matrix(np.array([[2.0, 0, 9], [4.0, 0, 0], [0, 3.0, 0], [0, 0, 5.0]], dtype=np.float32))
    genes = np.array([0, 2])
    plain, weighted = OtherCells(values, 10).mean(0, genes)
    np.testing.assert_allclose(plain, [4 / 3, 5 / 3])
    np.testing.assert_allclose(weighted, [10 * 4 / (10 + 2), 10 * 5 / (10 + 2)])
    plain, _ = OtherCells(values, 10, np.array([0, 0, 1, 0])).mean(0, genes)
    np.testing.assert_allclose(plain, [2, 2.5])
    alone, _ = OtherCells(values, 10, np.array([0, 0, 1, 0])).mean(2, genes)
    np.testing.assert_allclose(alone, [6 / 3, 14 / 3])  # alone in its group: all others
    plain, weighted = OtherCells(values, 10).mean_of(np.array([1, 3]), genes)
    np.testing.assert_allclose(plain, [2, 2.5])
    np.testing.assert_allclose(weighted, [40 / 11, 50 / 11])


def test_masked_baseline_scores_equal_a_plain_loop(cells):
    seen = []

    def predict(prepared, hidden):
        seen.append((prepared, hidden[0]))
        return np.zeros((1, N_GENES), dtype=np.float32)

    expressed, everything, *_ = score_masked(cells, {"zero": predict}, n_scored=12, seed=3)
    dense = cells.values.toarray().astype(np.float64)
    of_mean, of_zero, all_of_zero, n = 0.0, 0.0, 0.0, 0
    for prepared, hidden in seen:
        i = int(np.argmin(np.abs(np.log10(cells.totals) - prepared.target_token[0])))
        asked = hidden[dense[i, hidden] > 0]
        others = np.delete(dense, i, axis=0).mean(axis=0)
        of_mean += ((others[asked] - dense[i, asked]) ** 2).sum()
        of_zero += (dense[i, asked] ** 2).sum()
        all_of_zero += (dense[i, hidden] ** 2).sum()
        n += len(asked)
    assert expressed.values["gene mean"] == pytest.approx(of_mean / n, rel=1e-5)
    assert expressed.values["zero"] == pytest.approx(of_zero / n, rel=1e-5)
    assert everything.values["zero"] == pytest.approx(all_of_zero / sum(len(h) for _, h in seen), rel=1e-5)


def test_thinned_input_scores_equal_a_plain_loop(cells):
    comparison = score_depth(cells, {"oracle": oracle(cells)}, n_scored=cells.n_obs, fractions=(0.1,), seed=0)[0]
    thinned = thin(cells.counts, 0.1, np.random.default_rng((0, 100_000))).toarray().astype(np.float64)
    guess = np.log1p(thinned / thinned.sum(axis=1, keepdims=True) * 1e4)
    truth = np.log1p(cells.counts.toarray().astype(np.float64) / cells.totals[:, None] * 1e4)
    assert comparison.values["thinned input"] == pytest.approx(np.abs(guess - truth).mean(), rel=1e-5)


def test_pca_baseline_is_the_one_of_the_app(cells, genes):
    aligned = align_genes(ad.AnnData(cells.counts, obs=cells.obs, var=pd.DataFrame(index=genes)), genes=genes)
    ours = VariableGenePca(n_comps=10).fit(cells.values).transform(cells.values)
    apps = embed_baseline(aligned, n_comps=10)
    np.testing.assert_allclose(np.abs(ours), np.abs(apps), atol=1e-3)


def test_smoothing_weights_sum_to_one_and_cells_are_not_their_own_neighbours(cells):
    walk = smooth_cells(cells.values)
    np.testing.assert_allclose(np.asarray(walk.sum(axis=1)).ravel(), 1)
    assert walk.data.min() > 0
    neighbors, distances = find_neighbors(np.random.default_rng(0).normal(size=(30, 4)))
    assert not (neighbors == np.arange(30)[:, None]).any()
    assert neighbors.shape == (30, baselines.N_NEIGHBORS) and (np.diff(distances, axis=1) >= 0).all()


# ---- nothing leaks


def test_hidden_entries_are_not_in_the_input_and_unmeasured_genes_are_never_asked_for():
    cells, n_hidden = make_cells(n_measured=40), []

    def predict(prepared, hidden):
        assert not set(prepared.values.indices) & set(hidden[0])
        assert max(hidden[0]) < 40
        n_hidden.append(len(hidden[0]))
        return np.zeros((1, N_GENES), dtype=np.float32)

    score_masked(cells, {"spy": predict}, n_scored=20)
    assert len(n_hidden) == 20


def test_a_cell_does_not_inform_its_own_baseline(cells):
    changed = cells.values.tolil(copy=True)
    changed[5] = 7.0
    genes = np.arange(N_GENES)
    groups = np.array([int(label[-1]) for label in cells.labels])
    for g in (None, groups):
        before, after = (
            OtherCells(v, 10, g).mean(5, genes) for v in (cells.values, changed.tocsr().astype(np.float32))
        )
        np.testing.assert_allclose(before, after, atol=1e-6)


def test_no_test_cell_is_in_a_baselines_training(cells, monkeypatch):
    fitted, applied = [], []

    class Spy(VariableGenePca):
        def fit(self, values):
            fitted.append({row.tobytes() for row in values.toarray()})
            applied.append([])
            return super().fit(values)

        def transform(self, values):
            applied[-1].append({row.tobytes() for row in values.toarray()})
            return super().transform(values)

    monkeypatch.setattr(representation, "VariableGenePca", Spy)
    embedded = np.arange(0, 60, 2)
    embedding = {"model": cells.values.toarray()[embedded]}
    representation.score_probes(cells, embedded, embedding)
    everyone = {row.tobytes() for row in cells.values.toarray()}
    assert len(fitted) == representation.N_FOLDS
    for train, (of_train, of_test) in zip(fitted, applied, strict=True):
        assert not of_test & train and of_train < train  # cells that were not embedded serve too
        assert train | of_test == everyone
    assert set.union(*(of_test for _, of_test in applied)) == {r.tobytes() for r in cells.values.toarray()[embedded]}

    fitted.clear(), applied.clear()
    other = make_cells(seed=1, n_measured=50)
    representation.score_across(cells, other, {"model": cells.values.toarray()}, {"model": other.values.toarray()})
    assert len(fitted) == 1 and not applied[0][1] & fitted[0]


def test_labels_of_test_cells_do_not_reach_the_probes(cells):
    shuffled = np.random.default_rng(0).permutation(cells.labels)
    scrambled = Cells(cells.name, cells.counts, cells.is_measured, cells.obs, shuffled, cells.n_obs)
    for comparison in representation.score_probes(scrambled, np.arange(60), {"model": cells.values.toarray()}):
        assert max(comparison.values.values()) < 0.6


# ---- numbers


def test_label_scores_equal_scikit_learn():
    from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    predicted[:120] = truth[:120]
    table = table_of(truth, predicted)
    assert macro_f1(table) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert rand_index(table) == pytest.approx(adjusted_rand_score(truth, predicted))
    assert mutual_information(table) == pytest.approx(normalized_mutual_info_score(truth, predicted))


def test_recovery_errors_by_hand():
    errors = recovery_errors(np.array([[1.0, 0, 1], [1, 1, 1]]), np.array([[2.0, 0, 4], [0, 1, 3]]))
    np.testing.assert_allclose(errors[METRICS[0]], [4 / 3, 1])
    np.testing.assert_allclose(errors[METRICS[1]], [(0.5 + 0.75) / 2, (0 + 2 / 3) / 2])
    np.testing.assert_allclose(errors[METRICS[2]], [np.corrcoef([1, 0, 1], [2, 0, 4])[0, 1], 0])


def test_thinning_keeps_the_asked_share_and_never_adds(cells):
    thinned = thin(cells.counts, 0.2, np.random.default_rng(0))
    assert thinned.sum() / cells.counts.sum() == pytest.approx(0.2, abs=0.01)
    assert (cells.counts - thinned).min() >= 0 and thinned.data.min() > 0


def test_verdict_follows_the_interval_of_the_paired_difference():
    def compare(model, base, higher):
        sums = {"m": model, "base": base}
        values, resampled = resample_means(sums, np.ones(len(model)), seed=0)
        return Comparison("s", "d", "x", values, resampled, ("m",), len(model), len(model), higher).row("m")["verdict"]

    noise = np.random.default_rng(0).normal(size=200)
    assert compare(noise + 0.1, noise, True) == AHEAD  # paired: the common noise does not hide a small difference
    assert compare(noise + 0.1, noise, False) == BEHIND
    assert compare(noise, noise[::-1], True) == UNCLEAR
    assert compare(noise, noise, True) == UNCLEAR


@pytest.mark.parametrize("cell_readout", [False, True])
def test_predictions_are_the_models_own_forward_pass(cells, small_model, genes, cell_readout):
    if cell_readout:
        torch.manual_seed(0)
        small_model = ScFoundation(replace(small_model.config, cell_readout=True), genes).eval()
        torch.nn.init.normal_(small_model.cell_readout.contract.weight, std=0.1)
    prepared = prepare_cells(cells.counts[:5])
    hidden = [np.array([i, i + 7]) for i in range(5)]
    entries = torch.arange(5).repeat_interleave(2), torch.from_numpy(np.concatenate(hidden))
    with torch.inference_mode():
        tokens = tokenise(prepared, small_model.config)
        whole, masked = (small_model(tokens, m).clamp_min(0).numpy() for m in (None, entries))
    predict = predictor(small_model, "cpu")
    np.testing.assert_allclose(predict(prepared, None), whole, atol=1e-5)
    np.testing.assert_allclose(predict(prepared, hidden), masked, atol=1e-5)
    assert np.abs(whole - masked).max() > 1e-4


# ---- samples and labels


def test_samples_are_fixed_by_the_seed_and_costly_cells_are_fewer(tmp_path, genes):
    path = write_dataset(tmp_path / "a.h5ad", genes, seed=0)
    one, two, other = (load_cells(path, genes, 20, seed=seed) for seed in (0, 0, 1))
    assert (one.n_obs, one.n_available) == (20, N_CELLS)
    assert list(one.obs.index) == list(two.obs.index) != list(other.obs.index)
    whole = load_cells(path, genes, 1000)
    budget = BUDGETS["standard"]
    assert len(choose_embedded(whole, budget)) == N_CELLS
    per_cell = 24 * 60 * 128**2 * 4  # about what 60 tokens cost in the 3M preset
    few = choose_embedded(whole, replace(budget, operations=10 * per_cell, fewest_embedded=35))
    assert len(few) == 35 and (np.diff(few) > 0).all()  # more than the 10 of the budget, for up to four times its cost
    with pytest.raises(DatasetError, match="long cells"):
        choose_embedded(whole, replace(budget, operations=per_cell))


def test_parts_that_are_compared_take_turns_in_the_sample(cells):
    side = next(pair.one for pair in PAIRS if pair.one.column)
    platforms = np.where(np.arange(cells.n_obs) < 50, "CEL-seq2", "Drop-seq")
    mixed = replace(cells, name=side.dataset, obs=pd.DataFrame({side.column: platforms}))
    per_cell = 24 * 60 * 128**2 * 4
    chosen = choose_embedded(mixed, replace(BUDGETS["standard"], operations=9 * per_cell, fewest_embedded=30))
    assert len(chosen) == 30 and (platforms[chosen] == "Drop-seq").sum() == 10  # all there are, not a sixth of 30


def test_unknown_labels_are_no_cell_type():
    obs = pd.DataFrame({"cell_type": pd.Categorical(["B", "unlabelled", None, "Unknown", "T"])})
    assert list(known_labels(obs)) == ["B", None, None, None, "T"]
    assert list(known_labels(pd.DataFrame({"batch": ["a"]}))) == [None]


def test_common_words_leave_out_labels_of_one_side_only():
    side = PAIRS[0].one
    labels = np.array(["B", "Platelet", "Naive CD4 T", "Memory CD4 T"], dtype=object)
    cells = Cells("pbmc3k", sparse.csr_matrix(np.eye(4)), np.ones(4, bool), pd.DataFrame(index=list("abcd")), labels, 4)
    part, rows = side.cells(cells)
    assert list(part.labels) == ["B cell", None, "CD4 T cell", "CD4 T cell"] and list(rows) == [0, 1, 2, 3]


# ---- the whole


def write_dataset(path, genes, seed):
    counts, types = make_counts(seed)
    obs = pd.DataFrame({"cell_type": [f"type {t}" for t in types]}, index=[f"c{i}" for i in range(len(types))])
    ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two checkpoints and a folder with one dataset and one broken file."""
    base = tmp_path_factory.mktemp("benchmark")
    genes = [f"G{i}" for i in range(N_GENES)]
    config = ModelConfig(
        n_genes=64, n_bins=10, encoder_width=32, encoder_layers=1, encoder_heads=4,
        decoder_width=16, decoder_layers=1, decoder_heads=2, decoder_head_width=8,
    )  # fmt: skip
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = ScFoundation(config, genes)
        save_checkpoint(
            model, base / f"ckpt{seed}", name=f"model {'ab'[seed]}", licence="Apache-2.0", readme="", training={}
        )
    torch.manual_seed(2)
    other = ScFoundation(config, [f"H{i}" for i in range(N_GENES)])
    save_checkpoint(other, base / "other", name="other genes", licence="Apache-2.0", readme="", training={})
    (base / "data").mkdir()
    write_dataset(base / "data" / "set|one.h5ad", genes, seed=0)
    (base / "data" / "broken.h5ad").write_bytes(b"no dataset")
    return base


@pytest.fixture(scope="module")
def report(place):
    result = run_benchmark(
        place / "ckpt0", place / "data", compare=place / "ckpt1", budget="quick", device="cpu", seed=0
    )
    return as_report(result)


def test_every_row_is_flat_and_stands_beside_a_baseline(report):
    again = json.loads(json.dumps(report, allow_nan=False))
    recovery = {"masked recovery", "read-depth recovery"}
    alone = recovery | {"cell representation"}
    assert {row["score"] for row in again["rows"]} == alone | {f"{score}, with the dataset" for score in alone}
    for row in again["rows"]:
        assert row["baselines"] and row["best_baseline"] in row["baselines"]
        better = max if row["higher_is_better"] else min
        assert row["baselines"][row["best_baseline"]] == better(row["baselines"].values())
        assert row["spread"] >= 0 and row["n_cells"] <= row["n_available"] == N_CELLS
        assert row["verdict"] == row["verdicts"][row["best_baseline"]] in (AHEAD, BEHIND, UNCLEAR)
        assert (row["model_adds"] is not None) == ("with the dataset" in row["score"])
    assert sum(entry["n"] for entry in again["summary"]) == len(again["rows"])


def test_a_bad_file_is_named_and_the_others_go_on(report):
    assert [entry["dataset"] for entry in report["skipped"]] == ["broken"]
    assert report["skipped"][0]["reason"]


def test_the_same_seed_gives_the_same_numbers_alone_or_side_by_side(report, place):
    alone = as_report(run_benchmark(place / "ckpt1", place / "data", budget="quick", device="cpu"))
    assert [row["second"] for row in report["compare"]["rows"]] == [row["model"] for row in alone["rows"]]
    assert [row["first"] for row in report["compare"]["rows"]] == [row["model"] for row in report["rows"]]
    assert [row["baselines"] for row in report["rows"]] == [row["baselines"] for row in alone["rows"]]
    for row in report["compare"]["rows"]:
        assert row["better"] in ("model a", "model b", UNCLEAR)
        if row["better"] != UNCLEAR:
            assert (row["better"] == "model a") == ((row["first"] > row["second"]) == row["higher_is_better"])


def test_markdown_shows_every_row_and_names_stay_text(report):
    text = as_markdown(report)
    for row in report["rows"]:
        assert f"{row['model']:.3f} ± {row['spread']:.3f}" in text
    assert "set\\|one" in text and "model b" in text and "**untrained**" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| ") and "masked" in line}
    assert len(widths) <= 3  # the table of the score, the one with the dataset, and the one of both checkpoints


def test_the_command_writes_both_files_and_says_who_is_ahead(place, tmp_path, capsys):
    options = ["--checkpoint", str(place / "ckpt0"), "--data", str(place / "data"), "--quick", "--device", "cpu"]
    assert main(["benchmark", *options, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Masked recovery" in said and "Not computed: broken" in said
    stored = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert stored["checkpoint"]["name"] == "model a" and stored["compare"] is None
    assert (tmp_path / "out" / "scores.md").read_text().startswith("# What `model a` is good for")


def test_what_cannot_be_compared_is_refused_in_words(place, tmp_path):
    with pytest.raises(OptionError, match="different genes"):
        run_benchmark(place / "ckpt0", place / "data", compare=place / "other", budget="quick")
    with pytest.raises(OptionError, match="same weights"):
        run_benchmark(place / "ckpt0", place / "data", compare=place / "ckpt0", budget="quick")
    with pytest.raises(OptionError, match="no folder"):
        run_benchmark(place / "ckpt0", tmp_path / "nothing")
    with pytest.raises(OptionError, match="holds no dataset"):
        run_benchmark(place / "ckpt0", tmp_path)
    (tmp_path / "bad.h5ad").write_bytes(b"x")
    with pytest.raises(DatasetError, match="No score"):
        run_benchmark(place / "ckpt0", tmp_path)


def test_the_card_that_ships_begins_with_a_short_table_of_its_scores():
    folder = default_checkpoint()
    card, scores = (folder / "README.md").read_text(), json.loads((folder / "scores.json").read_text())
    assert card.startswith("\n".join(introduce(folder.name, scores)))
    rows = [line for line in card.partition("Counted is")[0].splitlines() if line.startswith("| ")][1:]
    counted = {(entry["score"], entry["metric"]): entry for entry in scores["summary"]}
    assert len(rows) == len(USES) <= 8
    for row, (words, score, metric) in zip(rows, USES, strict=True):
        found = counted[score, metric]
        assert row.startswith(f"| {words} | ahead {found['ahead']}, behind {found['behind']} of {found['n']} | ahead")


def test_committed_scores_come_from_the_committed_weights(shared, tmp_path):
    """One dataset of the benchmark again, within the tolerance that `benchmarks/model_quality.py` states."""
    name = "baron_pancreas_cider"
    (tmp_path / f"{name}.h5ad").symlink_to(shared / "data" / "evaluation" / f"{name}.h5ad")
    folder = default_checkpoint()
    committed = json.loads((folder / "scores.json").read_text())
    again = as_report(run_benchmark(folder, tmp_path, budget=committed["settings"]["budget"], device="cpu"))
    for part in ("hash", "cell_space"):
        assert again["checkpoint"][part] == committed["checkpoint"][part]
    rows = {(row["score"], row["metric"]): row for row in committed["rows"] if row["dataset"] == name}
    assert rows.keys() == {(row["score"], row["metric"]) for row in again["rows"]}
    for row in again["rows"]:
        expected = rows[row["score"], row["metric"]]
        near = {"rel": 0.01} if "recovery" in row["score"] else {"abs": 0.03}
        assert row["model"] == pytest.approx(expected["model"], **near), row["metric"]
        for baseline, value in row["baselines"].items():
            assert value == pytest.approx(expected["baselines"][baseline], **near), (row["metric"], baseline)


def test_cells_that_are_in_another_dataset_too_are_not_scored(tmp_path):
    adata = small_cells.make_cells(40)
    adata.obs["also_in_training_set"] = np.arange(40) < 15
    adata.obs["also_in_words"] = np.where(np.arange(40) == 39, "True", "False")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    cells = load_cells(tmp_path / "cells.h5ad", load_vocabulary().symbols, 100)
    assert cells.n_obs == 24 and list(cells.obs.index) == list(adata.obs_names[15:39])
