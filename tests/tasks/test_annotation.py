"""Annotation: right labels, honest certainty, sets that hold what they promise; refusals in sentences."""

import json
from dataclasses import replace
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from small_cells import GROUPS, make_cells, save_tiny_checkpoint

import scfviz
from scfviz.__main__ import main
from scfviz.errors import CheckpointError, DatasetError, GeneError, OptionError, ScfvizError, Stopped
from scfviz.tasks.annotation import fit, reference
from scfviz.tasks.annotation.card import verdict
from scfviz.tasks.annotation.classifier import CLASSIFIERS, read_classifier
from scfviz.tasks.annotation.conformal import (
    Calibration,
    SetCalibration,
    disbelief,
    forgiven,
    measure_coverage,
)
from scfviz.tasks.annotation.fit import make_folds
from scfviz.tasks.annotation.methods import find_temperature, log_softmax, tempered
from scfviz.tasks.annotation.scores import (
    auroc,
    calibration_error,
    compare_macro_f1,
    expected_errors,
    macro_f1,
    risk_coverage,
)
from scfviz.tasks.registry import get_task
from scfviz.tasks.reporting import Answered
from scfviz.tasks.run import compute
from scfviz.tasks.spec import read_options
from scfviz.tasks.steps import Steps

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


def test_risk_falls_with_certainty_and_equal_certainty_is_one_step():
    truth = np.array([0, 0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    found = risk_coverage(probabilities, truth)
    assert [row["coverage"] for row in found] == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert [row["risk"] for row in found] == pytest.approx([0, 0, 0.25, 0.2])
    order = np.random.default_rng(0).permutation(5)
    assert risk_coverage(probabilities[order], truth[order]) == found


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
        one, other = (rng.normal(0, 1, (n, 3)) + 1.5 * (np.arange(3) != truth[:, None]) for _ in range(2))
        return truth, 0.5 + 0.5 / (1 + np.exp(-one)), other

    truth, *scores = draw(4000)
    known = SetCalibration.fit(*scores, truth)
    new, doubts, far = draw(4000)
    for coverage in (0.8, 0.9, 0.95):
        inside = known.sets(doubts, None, coverage)[np.arange(4000), new]
        for k in range(3):
            assert coverage - 0.05 <= inside[new == k].mean() <= 1
        assert coverage - 0.02 <= inside.mean() <= coverage + 0.02
        both = known.sets(doubts, far, coverage)[np.arange(4000), new]
        assert both.mean() >= 1 - 1.5 * (1 - coverage) - 0.02 and (both <= inside).all()
    found = measure_coverage(*scores, truth, np.arange(4000) % 5, 0.9, False)
    assert 0.88 <= found["marginal"] <= 0.92 and found["worst_class"] >= 0.85
    assert not known.sets(doubts, far + 10, 0.9).any(), "what is like no type has an empty set"


def test_a_type_of_few_held_out_cells_can_be_excluded():
    """With half the error for belief no type of fewer than twenty cells ever was: sets held nearly all types."""
    truth = np.repeat([0, 1, 2], 12)
    sure = np.where(np.arange(3) == truth[:, None], 0.02, 0.99)
    known = SetCalibration.fit(sure, np.zeros((36, 3)), truth)
    assert known.sets(sure, np.zeros((36, 3)), 0.9).sum(axis=1).tolist() == [1] * 36


def test_what_is_believed_more_than_half_is_never_strange_and_still_ordered():
    """A clear cell of another laboratory was called unknown where held-out cells were all but certain; and all that
    was believed more than half had the same credibility, so that it told nothing apart."""
    truth = np.arange(400) % 2
    sure = np.where(np.arange(2) == truth[:, None], 0.999, 0.001)
    found = disbelief(np.array([[0.9, 0.1], [0.3, 0.7], [0.9995, 0.0005]]))
    known = SetCalibration.fit(disbelief(sure), np.zeros((400, 2)), truth)
    assert known.sets(found, None, 0.9)[:, 0].tolist() == [True, False, True]
    credibility = known.credibility(found, None)
    assert credibility[2] > credibility[0]
    p_values = Calibration.fit(disbelief(sure), truth).p_values(found)
    assert forgiven(p_values, found)[:, 0].tolist() == [1.0, p_values[1, 0], 1.0]


def test_a_set_is_said_as_far_as_it_is_certain():
    """Sets listed types side by side, also where all are of one kind: what is certain was not said."""
    from scfviz.tasks.annotation.ontology import cell_types, common_kind, describe_set, find_ids

    labels = ("CD4 T cells", "CD8 T", "Treg", "monocytes", "type 7")
    ids = find_ids(labels)
    assert ids["CD4 T cells"] == "CL:0000624" and ids["monocytes"] == "CL:0000576" and "type 7" not in ids
    assert find_ids(labels, {"type 7": "CL:0000815", "gone": "x"})["type 7"] == "CL:0000815"
    assert describe_set(labels[:2], ids) == "T cell; CD4 T cells or CD8 T undecided"
    assert describe_set(labels[:3], ids) == "T cell; CD4 T cells, CD8 T or Treg undecided"
    assert common_kind(("CD8 T", "monocytes"), ids) == "leukocyte" and common_kind(("CD8 T", "type 7"), ids) is None
    assert describe_set(("CD8 T", "type 7"), ids) == "CD8 T or type 7 undecided"
    assert describe_set(("T", "CD8 T"), find_ids(("T", "CD8 T"))) == "T; perhaps CD8 T"
    assert describe_set((), ids) == "none" and describe_set(("type 7",), ids) == "type 7"
    for cell_id, chain in cell_types().above.items():
        assert chain[0] == cell_id and len(set(chain)) == len(chain) and set(chain) <= set(cell_types().names)


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
    certain = cells["annotated_certain"].astype(str)
    assert (
        certain[[len(row) == 1 for row in cells["annotated_set"].astype(str).str.split(" or ")]] != "undecided"
    ).all()
    clusters = result.tables["clusters"]
    assert clusters["n_cells"].sum() == N_QUERY and set(clusters["majority"]) <= {*GROUPS, "unknown"}
    assert clusters["nearest_reference"].str.contains("cell").all()
    assert set(clusters["certain"]) <= set(certain)
    assert result.scores["coverage"]["nominal"] == 0.9 and set(result.scores["methods"]) > {"combination"}
    assert sum(result.scores["weights"].values()) == pytest.approx(1)
    assert [row["labels_per_type"] for row in result.scores["learning_curve"]] == [10]
    assert result.report["provenance"]["reference"]["unit"] == "donor"
    assert "logistic regression alone" in verdict(result.scores)
    json.dumps({"scores": result.scores}, allow_nan=False)
    said = Answered(get_task("annotation"), result)
    assert "labelled cells of 'reference.h5ad'" in said.say("methods") and "'donor'" in said.say("methods")
    assert any("conformal" in text or "Random World" in text for text in said.say("citations"))
    assert not said.say("caveats"), "held-out donors, and no weight on the untrained model"


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


@pytest.fixture(scope="module")
def other_model(folder):
    """Another model of the same genes."""
    import torch

    from scfviz.model.checkpoint import load_checkpoint, save_checkpoint

    model = load_checkpoint(folder / "model")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    save_checkpoint(model, folder / "other", name="other", licence="", readme="", training={})
    return folder / "other"


def test_cells_are_never_embedded_where_no_weight_is_on_the_model(folder, classifier, other_model, monkeypatch):
    """A classifier that reads genes alone embedded all cells: minutes for nothing."""
    from scfviz.model import infer

    def fail(*_args, **_more):
        raise AssertionError("embedded for nothing")

    fitted = read_classifier(classifier)
    assert fitted.learned.weights["genes_logistic"] == 1 and not fitted.needs_model
    expected = annotate(folder, reference=classifier).cells["annotated_type"]
    monkeypatch.setattr(infer, "embed_cells", fail)
    found = annotate(folder, reference=classifier, checkpoint=other_model)
    assert (found.cells["annotated_type"] == expected).all() and len(found.tables["clusters"])
    found = annotate(folder, reference=folder / "reference.h5ad", method="genes_logistic")
    assert (found.cells["annotated_type"].astype(str) == truth_of(folder)).mean() > 0.8
    shipped = scfviz.run_task("annotation", dataset=str(folder / "query.h5ad"), checkpoint=str(folder / "model"))
    assert shipped.report["provenance"]["reference"]["name"] == "blood"
    options = dict(shipped.report["options"]) | {"reference": str(CLASSIFIERS.assets / "blood")}
    said = Answered(get_task("annotation"), replace(shipped, report=dict(shipped.report) | {"options": options}))
    assert "reference=find_classifier('blood')" in said.say("script").code
    assert "one batch" in said.say("caveats")[0] and "scfoundation" not in said.say("citations")
    with pytest.raises(AssertionError, match="for nothing"):
        annotate(folder, reference=folder / "reference.h5ad", method="model_probe")


def test_a_classifier_of_another_model_or_damaged_is_refused(folder, classifier, other_model, tmp_path):
    import shutil

    asked = ["--label", "cell_type", "--checkpoint", str(folder / "model"), "--method", "model_probe"]
    assert main(["annotate", "fit", str(folder / "reference.h5ad"), "--out", str(tmp_path / "probe"), *asked]) == 0
    with pytest.raises(CheckpointError, match="fitted on embeddings of 'tiny'"):
        annotate(folder, reference=tmp_path / "probe", checkpoint=other_model)
    shutil.copytree(classifier, tmp_path / "damaged")
    with open(tmp_path / "damaged" / "parameters.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\1\0")
    with pytest.raises(CheckpointError, match="damaged"):
        read_classifier(tmp_path / "damaged")
    with pytest.raises(OptionError, match="fitted with the method"):
        annotate(folder, reference=classifier, method="genes_knn")


def test_fine_tuning_teaches_a_copy_of_the_last_layer_and_tests_it_on_other_cells(folder, tmp_path, monkeypatch):
    from scfviz.model import checkpoint, infer
    from scfviz.tasks.annotation import tune

    parts = tune.split_cells(np.repeat([0, 1, 2], [50, 4, 2]))
    assert [(parts[:50] == part).sum() for part in range(3)] == [40, 5, 5]
    assert parts[50:].tolist() == [0, 2, 0, 1, 0, 2], "also few cells are learned from, and one is tested"
    with pytest.raises(DatasetError, match="to decide when to stop"):
        tune.tune_last_layer(None, None, np.zeros(3, int), 1, np.zeros(3, int))
    monkeypatch.setattr(tune, "EPOCHS", 1)
    seen, embed = [], infer.embed_cells
    monkeypatch.setattr(
        infer, "embed_cells", lambda counts, model, **more: seen.append(model) or embed(counts, model, **more)
    )
    found = annotate(folder, reference=folder / "reference.h5ad", method="model_finetuned")
    assert set(found.scores["methods"]) == {"combination", "model_finetuned", "genes_logistic"}
    assert any("fine-tuned on" in note for note in found.notes) and found.cells["annotated_type"].notna().all()
    assert "Fine-tuned last layer, and a small head" in verdict(found.scores)
    plain = checkpoint.load_checkpoint(folder / "model").state_dict()
    changed = {name for name, tensor in seen[0].state_dict().items() if not tensor.equal(plain[name])}
    last = f"encoder.{max(int(name.split('.')[1]) for name in plain if name.startswith('encoder.'))}."
    assert changed and all(name.startswith((last, "encoder_norm.")) for name in changed)


def test_what_was_measured_is_said_with_its_interval(tmp_path):
    from scfviz.tasks.annotation.measured import describe_measured, measured_table, read_measured

    assert read_measured(tmp_path / "none.json") is None
    scores = {"macro_f1 auto": [0.9, 0.8, 1.0], "coverage": [0.92, 0.9, 0.94], "unseen auroc": None}
    curve = {"5": {"combination": [0.7, 0.6, 0.8], "genes_logistic": [0.6, 0.5, 0.7]}, "50": {}}
    sets = {
        name: {"scores": scores | {"combination minus logistic": difference}, "units": units, "curve": curve}
        for name, difference, units in (("a_1", [0.1, 0.05, 0.2], "donor"), ("b", [0.0, -0.1, 0.1], None))
    }
    found = {"within": sets, "across": {"a to b": sets["b"] | {"curve": None}}, "nominal_coverage": 0.9}
    found["celltypist"] = {"b": {"0": {"macro_f1": 0.8, "macro_f1 of the recipe": 0.79, "equal labels": 0.98}}}
    of_sets = {"belief all of it, distance half": {"coverage": [0.93, 0.9, 0.95]}}
    found["sets"] = {"evaluation/b": of_sets | {"units": "donor"}, "panels/c": of_sets | {"units": "donor"}}
    said = " ".join(describe_measured(found))
    assert "for 93% to 93% of the cells of held-out donors or batches (1 datasets), and" in said
    assert "within a dataset the combination with the model was better in 1, worse in 0 and not clearly" in said
    assert "in 2 of 2 cases" in said and "92% to 92%" in said and "held-out donors or batches (1 datasets)" in said
    assert "for 98% to 98% of the cells (1 datasets); its macro-F1 differed by +0.010 to +0.010" in said
    first, *_, last = measured_table(found)
    assert first["Data"] == "a 1" and first["Tested on"] == "held-out values of donor"
    assert first["Macro-F1"] == "0.900 (0.800 to 1.000)" and first["AUROC of types not learned"] == ""
    assert last["Tested on"] == "another dataset"


def test_an_interrupted_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    from scfviz.model.prepared import PreparedModel

    expected = annotate(folder, reference=folder / "reference.h5ad", method="model_probe").cells
    given = {"dataset": folder / "query.h5ad", "reference": folder / "reference.h5ad", "checkpoint": folder / "model"}
    task, stages = get_task("annotation"), []
    options = read_options(task.options_type, {k: str(v) for k, v in given.items()} | {"method": "model_probe"})
    stopping = Steps(tmp_path, lambda _, stage: stages.append(stage), lambda: "Annotating the cells" in stages)
    with pytest.raises(Stopped):
        compute(task, options, stopping)

    def fail(*_args):
        raise AssertionError("embedded again")

    monkeypatch.setattr(PreparedModel, "encode", fail)
    pd.testing.assert_frame_equal(compute(task, options, Steps(tmp_path)).cells, expected)


def test_a_small_head_can_be_kept_in_a_folder(folder, tmp_path):
    asked = ["--label", "cell_type", "--checkpoint", str(folder / "model"), "--method", "model_head"]
    assert main(["annotate", "fit", str(folder / "reference.h5ad"), "--out", str(tmp_path / "head"), *asked]) == 0
    fitted = read_classifier(tmp_path / "head")
    assert fitted.needs_model and set(fitted.learned.methods) == {"model_head"}
    found = annotate(folder, reference=tmp_path / "head")
    assert np.isin(found.cells["annotated_type"].astype(str), [*GROUPS, "unknown"]).all()
    assert (
        main(
            ["annotate", "fit", str(folder / "reference.h5ad"), "--out", str(tmp_path / "no"), *asked[:-1], "model_knn"]
        )
        == 2
    )


def test_a_finetuned_classifier_is_a_folder_that_labels_as_the_app_does(folder, tmp_path, monkeypatch):
    from scfviz.tasks.annotation import tune

    monkeypatch.setattr(tune, "EPOCHS", 1)
    asked = ["--label", "cell_type", "--checkpoint", str(folder / "model"), "--method", "model_finetuned"]
    assert main(["annotate", "fit", str(folder / "reference.h5ad"), "--out", str(tmp_path / "tuned"), *asked]) == 0
    fitted = read_classifier(tmp_path / "tuned")
    assert len(fitted.tuned) and "fine-tuned" in (tmp_path / "tuned" / "README.md").read_text()
    at_once = annotate(folder, reference=folder / "reference.h5ad", label="cell_type", method="model_finetuned")
    kept = annotate(folder, reference=tmp_path / "tuned")
    pd.testing.assert_series_equal(kept.cells["annotated_type"], at_once.cells["annotated_type"])
    pd.testing.assert_series_equal(kept.cells["annotated_confidence"], at_once.cells["annotated_confidence"])


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


def test_a_reference_of_another_species_is_refused():
    human, mouse = (SimpleNamespace(gene_report=SimpleNamespace(organism=name)) for name in ("human", "mouse"))
    reference.refuse_other_species(human, human)
    with pytest.raises(GeneError, match="genes are those of the human, the dataset's those of the mouse"):
        reference.refuse_other_species(human, mouse)


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
