"""Annotation: right labels, honest certainty, sets that hold what they promise; refusals in sentences."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from small_cells import GROUPS, make_cells, save_tiny_checkpoint

import scfviz
from scfviz.__main__ import main
from scfviz.errors import CheckpointError, DatasetError, GeneError, OptionError, ScfvizError
from scfviz.tasks.annotation import fit, reference
from scfviz.tasks.annotation.card import verdict
from scfviz.tasks.annotation.classifier import read_classifier
from scfviz.tasks.annotation.conformal import Calibration, disbelief, measure_coverage, sets_of
from scfviz.tasks.annotation.fit import make_folds
from scfviz.tasks.annotation.methods import find_temperature, log_softmax, tempered
from scfviz.tasks.annotation.scores import auroc, calibration_error, compare_macro_f1, expected_errors, macro_f1

N_QUERY, N_REFERENCE = 60, 150


@pytest.fixture(autouse=True, scope="module")
def _short_curve():
    """The curve takes most of the time, and one size shows what it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "CURVE", (10,))
        patch.setattr(fit, "CURVE_REPEATS", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A query without types, a reference with them, and two untrained models."""
    folder = tmp_path_factory.mktemp("annotation")
    cells = make_cells(N_QUERY + N_REFERENCE)
    cells.obs["donor"] = [f"donor{i % 5}" for i in range(cells.n_obs)]
    query = cells[:N_QUERY].copy()
    query.obs = query.obs.rename(columns={"cell_type": "truth"})
    query.write_h5ad(folder / "query.h5ad")
    cells[N_QUERY:].write_h5ad(folder / "reference.h5ad")
    save_tiny_checkpoint(folder / "model")
    return folder


@pytest.fixture(scope="module")
def classifier(folder):
    """A classifier that the command fitted."""
    asked = ["--label", "cell_type", "--checkpoint", str(folder / "model")]
    assert main(["annotate", "fit", str(folder / "reference.h5ad"), "--out", str(folder / "fitted"), *asked]) == 0
    return folder / "fitted"


def annotate(folder, **options):
    options = {"dataset": folder / "query.h5ad", "checkpoint": str(folder / "model")} | options
    return scfviz.run_task("annotation", **{k: str(v) if k != "all_scores" else v for k, v in options.items()})


@pytest.fixture(scope="module")
def result(folder):
    return annotate(folder, reference=folder / "reference.h5ad", all_scores=True)


def truth_of(folder):
    return ad.read_h5ad(folder / "query.h5ad").obs["truth"].astype(str).to_numpy()


def test_macro_f1_is_over_the_types_that_are_there():
    truth, found = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    assert macro_f1(truth, found, 4) == pytest.approx((1 + 2 / 3) / 2), "a stray label of type 2 adds no zero"
    assert macro_f1(truth, np.array([0, -1, 1, 1]), 4) == pytest.approx((2 / 3 + 1) / 2)
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, 300), rng.integers(0, 5, 300)
    expected = f1_score(truth, found, labels=np.unique(truth), average="macro")
    assert macro_f1(truth, found, 5) == pytest.approx(expected)


def test_other_scores_are_right():
    assert auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == pytest.approx(0.875)
    assert auroc(np.ones(3), np.ones(3, bool)) is None
    sure = np.tile([0.8, 0.2], (1000, 1))
    truth = (np.arange(1000) % 5 == 0).astype(int)
    assert calibration_error(sure, truth) < 0.02 < 0.25 < calibration_error(np.tile([0.5001, 0.4999], (1000, 1)), truth)
    np.testing.assert_allclose(expected_errors(np.array([0.5, 0.9, 1.0])), [0, 0, 0.1, 0.6])
    good = np.arange(300) % 3
    bad = np.where(np.arange(300) % 4 == 0, 0, good)
    found = compare_macro_f1(good, good, bad, np.arange(300), 3)
    assert 0 < found["low"] < found["difference"] < found["high"]
    donors = compare_macro_f1(good, good, bad, np.arange(300) // 30, 3)
    assert donors["difference"] == pytest.approx(found["difference"]) and donors["low"] > 0


def test_temperature_is_the_one_that_was_put_in():
    rng = np.random.default_rng(1)
    logs = log_softmax(rng.normal(0, 2, (4000, 4)))
    truth = np.array([rng.choice(4, p=row) for row in tempered(logs, 1.0)])
    assert find_temperature(3 * logs, truth) == pytest.approx(3.0, rel=0.1)


def test_sets_hold_the_right_type_as_often_as_asked_for_also_of_rare_types():
    rng = np.random.default_rng(2)
    share = np.array([0.7, 0.25, 0.05])

    def draw(n):
        truth = rng.choice(3, n, p=share)
        return truth, tuple(rng.normal(0, 1, (n, 3)) + 1.5 * (np.arange(3) != truth[:, None]) for _ in range(2))

    truth, scores = draw(4000)
    known = [Calibration.fit(part, truth) for part in scores]
    new, other = draw(4000)
    for coverage in (0.8, 0.9, 0.95):
        sets = sets_of([one.p_values(part) for one, part in zip(known, other, strict=True)], coverage)
        inside = sets[np.arange(4000), new]
        for k in range(3):
            assert coverage - 0.05 <= inside[new == k].mean() <= 1
        assert coverage - 0.02 <= inside.mean() <= coverage + 0.05
    found = measure_coverage(scores, truth, np.arange(4000) % 5, 0.9)
    assert 0.88 <= found["marginal"] <= 0.95 and found["worst_class"] >= 0.85
    far = sets_of([one.p_values(part + 10) for one, part in zip(known, other, strict=True)], 0.9)
    assert not far.any(), "what is like no type has an empty set"


def test_what_is_believed_more_than_half_is_never_strange():
    """A clear cell of another laboratory was called unknown where held-out cells were all but certain."""
    sure = np.tile([0.999, 0.001], (200, 1))
    known = Calibration.fit(disbelief(sure), np.zeros(200, dtype=int))
    sets = sets_of([known.p_values(disbelief(np.array([[0.9, 0.1], [0.3, 0.7]])))], 0.9)
    assert sets[:, 0].tolist() == [True, False]


def test_folds_hold_out_whole_donors_where_a_type_has_several():
    truth = np.repeat([0, 1, 2], 40)
    units = np.array([f"d{i % 4}" for i in range(120)], dtype=object)
    units[80:] = "d0"  # the third type is of one donor
    folds = make_folds(truth, units)
    for unit in ("d1", "d2", "d3"):
        assert len(set(folds[(units == unit) & (truth < 2)])) == 1
    assert len(set(folds[truth == 2])) > 2
    assert all(np.unique(make_folds(truth, None)[truth == k]).size == 5 for k in range(3))


def test_labels_are_right_and_everything_is_said_of_a_cell(folder, result):
    cells, truth = result.cells, truth_of(folder)
    known = cells["annotated_type"].astype(str) != "unknown"
    assert known.mean() > 0.8 and (cells["annotated_type"].astype(str) == truth)[known].mean() > 0.95
    assert cells["annotated_confidence"].between(0, 1).all() and cells["annotated_credibility"].between(0, 1).all()
    scores = result.tables["scores"]
    np.testing.assert_allclose(scores[list(GROUPS)].sum(axis=1), 1, atol=1e-5)
    inside = [kind in text for kind, text in zip(truth, cells["annotated_set"].astype(str), strict=True)]
    assert np.mean(inside) > 0.8
    clusters = result.tables["clusters"]
    assert clusters["n_cells"].sum() == N_QUERY and set(clusters["majority"]) <= {*GROUPS, "unknown"}
    assert clusters["nearest_reference"].str.contains("cell").all()
    assert result.scores["coverage"]["nominal"] == 0.9 and set(result.scores["methods"]) > {"combination"}
    assert sum(result.scores["weights"].values()) == pytest.approx(1)
    assert [row["labels_per_type"] for row in result.scores["learning_curve"]] == [10]
    assert result.report["provenance"]["reference"]["unit"] == "donor"
    assert "logistic regression alone" in verdict(result.scores)
    json.dumps({"scores": result.scores}, allow_nan=False)


def test_nothing_depends_on_the_order_of_cells_or_on_chunks(folder, result, tmp_path, monkeypatch):
    from scfviz.tasks.annotation import features

    order = np.random.default_rng(3).permutation(N_REFERENCE)
    ad.read_h5ad(folder / "reference.h5ad")[order].copy().write_h5ad(tmp_path / "reference.h5ad")
    turned = np.arange(N_QUERY)[::-1]
    ad.read_h5ad(folder / "query.h5ad")[turned].copy().write_h5ad(tmp_path / "query.h5ad")
    monkeypatch.setattr(features, "_ROWS", 17)
    again = annotate(folder, dataset=tmp_path / "query.h5ad", reference=tmp_path / "reference.h5ad")
    one, other = result.cells, again.cells.loc[result.cells.index]
    assert (one["annotated_type"].astype(str) == other["annotated_type"].astype(str)).all()
    np.testing.assert_allclose(one["annotated_confidence"], other["annotated_confidence"], atol=2e-3)


def test_a_folder_gives_what_was_fitted_and_the_command_the_labels_of_the_app(folder, classifier, tmp_path, capsys):
    fitted = read_classifier(classifier)
    assert fitted.labels == tuple(sorted(GROUPS)) and not fitted.cells
    card = (classifier / "README.md").read_text()
    assert "no row of data" in card and "150 cells" not in card and "B cell" in card
    out, asked = (
        tmp_path / "out.h5ad",
        ["--reference", str(classifier), "--checkpoint", str(folder / "model"), "--json"],
    )
    capsys.readouterr()
    assert main(["annotate", str(folder / "query.h5ad"), str(out), *asked]) == 0
    report = json.loads(capsys.readouterr().out)
    app = annotate(folder, reference=classifier)
    written = ad.read_h5ad(out)
    assert (written.obs["cell_type"].astype(str) == app.cells["annotated_type"].astype(str)).all()
    np.testing.assert_array_equal(written.obs["cell_type_confidence"], app.cells["annotated_confidence"])
    assert report["provenance"]["provenance"]["labels"] == sorted(GROUPS)
    assert app.tables["clusters"]["nearest_reference"].str.split(", ").str[0].isin(GROUPS).all()


def test_a_name_of_the_users_file_is_never_overwritten(folder, classifier, tmp_path, capsys):
    cells = ad.read_h5ad(folder / "query.h5ad")
    cells.obs["cell_type"] = "mine"
    cells.write_h5ad(tmp_path / "named.h5ad")
    out, asked = tmp_path / "out.h5ad", ["--reference", str(classifier), "--checkpoint", str(folder / "model")]
    assert main(["annotate", str(tmp_path / "named.h5ad"), str(out), *asked]) == 0
    assert "cell_type already" in capsys.readouterr().out
    assert (ad.read_h5ad(out).obs["cell_type"] == "mine").all()


def test_a_classifier_of_another_model_or_damaged_is_refused(folder, classifier, tmp_path):
    import shutil

    import torch

    from scfviz.model.checkpoint import load_checkpoint, save_checkpoint

    model = load_checkpoint(folder / "model")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    save_checkpoint(model, tmp_path / "other", name="other", licence="", readme="", training={})
    with pytest.raises(CheckpointError, match="fitted on embeddings of 'tiny'"):
        annotate(folder, reference=classifier, checkpoint=tmp_path / "other")
    shutil.copytree(classifier, tmp_path / "damaged")
    with open(tmp_path / "damaged" / "parameters.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\1\0")
    with pytest.raises(CheckpointError, match="damaged"):
        read_classifier(tmp_path / "damaged")
    with pytest.raises(OptionError, match="fitted with the method"):
        annotate(folder, reference=classifier, method="genes_knn")


def test_labelled_cells_of_the_same_file_are_a_reference_and_keep_their_labels(folder, tmp_path):
    cells = ad.read_h5ad(folder / "reference.h5ad")
    truth = cells.obs["cell_type"].astype(str).to_numpy()
    cells.obs["cell_type"] = pd.Categorical(np.where(np.arange(cells.n_obs) < 100, truth, None))
    cells.write_h5ad(tmp_path / "own.h5ad")
    found = annotate(folder, dataset=tmp_path / "own.h5ad", label="cell_type")
    labels = found.cells["annotated_type"].astype(str).to_numpy()
    assert (labels[:100] == truth[:100]).all() and (found.cells["annotated_confidence"][:100] == 1).all()
    assert np.isin(labels[100:], [*GROUPS, "unknown"]).all() and any("keep the label" in note for note in found.notes)


def test_labels_of_the_app_are_a_reference(folder, tmp_path):
    from scfviz.analysis.labels.labels import save_annotation, start_annotation

    obs = ad.read_h5ad(folder / "query.h5ad").obs
    own = start_annotation("mine", obs)
    for kind in GROUPS:
        own = own.assign((obs["truth"] == kind).to_numpy() & (np.arange(N_QUERY) < 45), kind)
    save_annotation(own, tmp_path / "labels.npz")
    found = annotate(folder, labels_file=tmp_path / "labels.npz")
    labels, truth = found.cells["annotated_type"].astype(str).to_numpy(), truth_of(folder)
    assert (labels[:45] == truth[:45]).all() and np.isin(labels, [*GROUPS, "unknown"]).all()


def with_column(folder, tmp_path, values):
    cells = ad.read_h5ad(folder / "reference.h5ad")
    cells.obs["types"] = values(cells.n_obs)
    cells.write_h5ad(tmp_path / "changed.h5ad")
    return tmp_path / "changed.h5ad"


@pytest.mark.parametrize(
    ("values", "label", "words"),
    [
        (lambda n: "one", "types", "one type only"),
        (lambda n: ["a", "b", *["c"] * (n - 2)], "types", "at least 3 cells each"),
        (lambda n: ["nan"] * n, "types", "No cell has a label"),
        (lambda n: np.arange(n) % 4, "types", "holds numbers"),
        (lambda n: [f"cell {i}" for i in range(n)], "types", "at least 3 cells each"),
        (lambda n: "x", "donor", "names donors"),
        (lambda n: "x", "absent", "no column 'absent'"),
    ],
)
def test_labels_that_are_none_are_refused_in_a_sentence(folder, tmp_path, values, label, words):
    with pytest.raises(OptionError, match=words):
        annotate(folder, reference=with_column(folder, tmp_path, values), label=label)


def test_five_thousand_kinds_are_no_types():
    obs = pd.DataFrame({"kind": [f"kind {i // 3}" for i in range(15_000)]}, index=[f"c{i}" for i in range(15_000)])
    with pytest.raises(OptionError, match="5,000 kinds"):
        reference.choose_cells(obs, "kind")


def test_missing_labels_and_rare_types_are_left_out_and_said():
    obs = pd.DataFrame(
        {"cell_type": ["a"] * 5 + ["b"] * 5 + ["c", "unknown", None]}, index=[f"c{i}" for i in range(13)]
    )
    found = reference.choose_cells(obs, None)
    assert found.labels == ("a", "b") and len(found.rows) == 10 and found.unit is None
    assert "2 of 13 cells have no label" in found.notes[0] and "left out: c" in found.notes[1]


def test_a_reference_that_cannot_be_compared_is_refused(folder, tmp_path, monkeypatch):
    same = folder / "reference.h5ad"
    with pytest.raises(OptionError, match="reference is the dataset itself"):
        annotate(folder, dataset=same, reference=same)
    cells = ad.read_h5ad(same)
    (part := cells[:, ::2].copy()).write_h5ad(tmp_path / "even.h5ad")
    query = ad.read_h5ad(folder / "query.h5ad")[:, 1::2].copy()
    query.write_h5ad(tmp_path / "odd.h5ad")
    assert part.n_vars and query.n_vars
    with pytest.raises(GeneError, match="0 genes in common"):
        annotate(folder, dataset=tmp_path / "odd.h5ad", reference=tmp_path / "even.h5ad")
    cells.X = np.random.default_rng(0).normal(size=cells.shape).astype(np.float32)
    cells.write_h5ad(tmp_path / "scaled.h5ad")
    with pytest.raises(DatasetError, match="The reference 'scaled.h5ad'"):
        annotate(folder, reference=tmp_path / "scaled.h5ad")
    assert all(issubclass(kind, ScfvizError) for kind in (OptionError, GeneError, DatasetError))
