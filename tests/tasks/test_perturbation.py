"""Perturbations: measured changes, views of unseen ones, what each is worth, predictors as folders."""

import importlib
import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from perturbed_cells import SINGLES, make_screen
from scipy import sparse
from sklearn.metrics import roc_auc_score
from small_cells import make_cells, save_tiny_checkpoint, write_cells

import scfviz
from scfviz.data.normalise import log_normalise
from scfviz.data.open import OpenDataset
from scfviz.data.perturbations import read_design
from scfviz.errors import CheckpointError, DatasetError, GeneError, OptionError, Stopped
from scfviz.model.checkpoint import load_checkpoint
from scfviz.tasks.perturbation import answers, insilico, quality, scores, steer
from scfviz.tasks.perturbation.compute import fit_perturbations
from scfviz.tasks.perturbation.effects import library_sizes, measure_effects, sum_conditions
from scfviz.tasks.perturbation.fit import KINDS, PerturbationModel, kind_of, predict_perturbation
from scfviz.tasks.perturbation.labels import LabelSummary, LabelTable, overlap, summarise
from scfviz.tasks.perturbation.methods import GRAPH, VIEWS, Views
from scfviz.tasks.perturbation.predictor import PREDICTORS, LineAnswers, find_predictor, read_predictor, save_predictor
from scfviz.tasks.perturbation.run import predictor_of
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of
from scfviz.tasks.registry import get_task
from scfviz.tasks.run import compute, run_task
from scfviz.tasks.spec import read_options
from scfviz.tasks.steps import Steps


@pytest.fixture(scope="module")
def counts():
    return OpenDataset(make_screen()).counts


@pytest.fixture(scope="module")
def model(counts) -> PerturbationModel:
    return fit_perturbations(counts)


def test_changes_are_those_of_the_means(counts):
    design = read_design(counts.obs)
    effects = measure_effects(counts, design)
    values = log_normalise(counts.rows(0, counts.n_obs)).toarray()
    place = {str(gene): i for i, gene in enumerate(counts.genes)}
    columns = [place[gene] for gene in effects.genes]
    names = counts.obs["condition"].astype(str).to_numpy()
    control = values[names == "ctrl"][:, columns]
    mine = values[names == "KLF1+MAPK1"][:, columns]
    row = effects.conditions.index("KLF1+MAPK1")
    np.testing.assert_allclose(effects.change[row], mine.mean(axis=0) - control.mean(axis=0), atol=1e-5)
    expected = mine.var(axis=0, ddof=1) / len(mine) + control.var(axis=0, ddof=1) / len(control)
    np.testing.assert_allclose(effects.variance[row], expected, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(effects.halves.mean(axis=0), effects.change, atol=1e-5)  # halves of equal size


def test_order_of_cells_and_of_genes_changes_nothing(counts):
    first = measure_effects(counts, read_design(counts.obs))
    rng = np.random.default_rng(1)
    screen = make_screen()
    screen = screen[rng.permutation(screen.n_obs), rng.permutation(screen.n_vars)].copy()
    other = OpenDataset(screen).counts
    second = measure_effects(other, read_design(other.obs))
    order = [second.genes.index(gene) for gene in first.genes]
    np.testing.assert_allclose(second.change[:, order], first.change, atol=1e-6)


def test_blocks_change_nothing_and_a_sum_can_be_stopped(counts, monkeypatch):
    design, sizes = read_design(counts.obs), counts.total_counts
    whole = sum_conditions(counts, design.codes, len(design.conditions), sizes)
    blocks = type(counts).blocks
    monkeypatch.setattr(type(counts), "blocks", lambda self, rows=None: blocks(self, 7))
    np.testing.assert_allclose(
        sum_conditions(counts, design.codes, len(design.conditions), sizes), whole, rtol=1e-6, atol=1e-6
    )
    with pytest.raises(Stopped):
        sum_conditions(counts, design.codes, len(design.conditions), sizes, should_stop=lambda: True)


def flat_spaces(**near: float) -> dict[str, GeneSpace]:
    """A is near B as said, C is near nobody."""
    vectors = np.eye(4, dtype=np.float32)
    vectors[1] = [near.get("ab", 0.0), np.sqrt(1 - near.get("ab", 0.0) ** 2), 0, 0]
    space = GeneSpace("go", {"A": 0, "B": 1, "C": 2, "D": 3}, sparse.csr_matrix(vectors))
    return {"go": space, "model": replace(space, name="model", vectors=vectors)}


def test_additive_is_the_sum_of_what_was_measured_alone():
    change = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [1.0, 2, 5]])
    views = Views(("x", "y", "z"), (("A",), ("B",), ("C",), ("A", "B")), change, flat_spaces())
    said = views.predict([("A", "C"), ("D",), ("A", "D")])
    np.testing.assert_allclose(said["additive"], [[1, 0, 3], [1 / 3, 2 / 3, 1], [4 / 3, 2 / 3, 1]])
    np.testing.assert_allclose(said["mean"][1], change[:3].mean(axis=0))
    assert not said["no_change"].any() and set(said) == set(VIEWS) - {GRAPH}


def test_a_gene_near_to_a_measured_one_is_predicted_like_it_and_a_far_one_like_the_mean():
    rng = np.random.default_rng(0)
    change = rng.normal(size=(3, 40))
    views = Views(tuple(map(str, range(40))), (("A",), ("C",), ("D",)), change, flat_spaces(ab=0.95))
    said = views.predict([("B",), ("E",)])
    mean = change.mean(axis=0)
    for view in ("nearest_go", "nearest_model"):
        toward = (said[view][0] - mean) @ (change[0] - mean)
        assert toward > 0.5 * ((change[0] - mean) ** 2).sum()
        np.testing.assert_allclose(said[view][1], mean)


def test_nothing_but_doubles_gives_single_effects():
    change = np.array([[1.0, 1.0], [1.0, 2.0], [0.0, 3.0]])  # A = (1, 0), B = (0, 1), C = (0, 2) as near as can be
    views = Views(("x", "y"), (("A", "B"), ("A", "C"), ("B", "C")), change, flat_spaces())
    assert set(views.singles) == {"A", "B", "C"} and views.singles["A"][0] > 0.5 > views.singles["A"][1]


def test_kinds_of_questions():
    assert [kind_of(one, {"A"}) for one in (("B",), ("B", "C"), ("A", "B"))] == ["single", "double_0", "double_1"]
    assert kind_of(("A", "B"), {"A", "B"}) == "double_2"


def test_doubles_of_known_genes_are_predicted_and_every_kind_has_weights(model):
    assert set(model.weights) == set(KINDS) == set(model.spread)
    for weights in model.weights.values():
        assert abs(sum(weights.values()) - 1) < 1e-9 and min(weights.values()) >= 0
    views = model.scores["double_2"]["views"]
    assert views["combination"]["error_ratio"] < 0.3 and views["no_change"]["error_ratio"] == pytest.approx(1)
    assert views["combination"]["pearson_control"] > 0.8
    assert views["no_change"]["discrimination"] == 0.5 and views["no_change"]["n_distinct"] == 1
    assert 0.6 < model.scores["double_2"]["coverage"]["measured"] <= 1


def test_the_perturbed_gene_itself_is_in_no_score(counts):
    """A target goes down in every knock-down: counted in, every view would look good."""
    effects = measure_effects(counts, read_design(counts.obs))
    wild = np.where(effects.own_gene(), 1e3, effects.change)
    from scfviz.tasks.perturbation.fit import learn

    first, second = (learn(e, spaces_of()).scores for e in (effects, replace(effects, change=wild)))
    assert first["single"]["views"]["no_change"] == second["single"]["views"]["no_change"]
    assert effects.own_gene().sum(axis=1).tolist() == [len(one) for one in effects.targets]


def test_what_was_measured_is_given_back_and_the_order_of_genes_does_not_matter(model):
    found = predict_perturbation(model, ["MAPK1+KLF1", "KLF1+MAPK1", "P53", "KLF1+TP53", "SOX2"])
    assert found.conditions == ("KLF1+MAPK1", "KLF1+MAPK1", "TP53", "KLF1+TP53", "SOX2")
    assert found.kinds == ("measured", "measured", "measured", "double_2", "single")
    row = model.effects.conditions.index("KLF1+MAPK1")
    np.testing.assert_array_equal(found.change[0], model.effects.change[row])
    np.testing.assert_array_equal(found.change[0], found.change[1])
    assert (
        np.isnan(found.measured[3]).all() and (found.low <= found.change).all() and (found.change <= found.high).all()
    )
    with pytest.raises(GeneError, match="more than two genes"):
        predict_perturbation(model, ["KLF1+TP53+SOX2"])


def test_a_predictor_comes_back_as_it_was_saved(model, tmp_path):
    folder = save_predictor(model, tmp_path / "mine", card="# mine\n")
    again = read_predictor(folder)
    first, second = (predict_perturbation(one, ["SOX2", "KLF1+TP53"]) for one in (model, again))
    np.testing.assert_allclose(second.change, first.change, atol=1e-5)
    np.testing.assert_allclose(second.high, first.high, atol=1e-5)
    assert again.effects.conditions == model.effects.conditions
    assert json.dumps(again.scores) == json.dumps(model.scores)
    with pytest.raises(OptionError, match="exists already"):
        save_predictor(model, folder, card="")
    with pytest.raises(OptionError, match="is no predictor"):
        find_predictor(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["genes.tsv", "parameters.safetensors", "predictor.json"])
def test_a_folder_whose_parts_disagree_is_refused(model, tmp_path, part):
    folder = save_predictor(model, tmp_path / "mine", card="")
    path = folder / part
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        read_predictor(folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError):
        read_predictor(folder)


def test_another_model_is_refused(model):
    other = replace(model, checkpoint={"name": "other", "hash": "0" * 16})
    with pytest.raises(CheckpointError, match="fitted with the gene embeddings of 'other'"):
        predict_perturbation(other, ["SOX2"])


def test_escaped_cells_are_found_and_their_share(counts):
    screen = make_screen(80, escaped=0.5, doubles=(), seed=3)
    mixed = OpenDataset(screen).counts
    for cells, low, high in ((counts, 0.0, 0.25), (mixed, 0.3, 0.7)):
        design = read_design(cells.obs)
        effects = measure_effects(cells, design)
        responded = quality.score_cells(cells, design, effects, cells.total_counts)
        table = quality.describe_conditions(cells, design, effects, responded, cells.total_counts)
        assert np.isnan(responded[design.codes == 0]).all()
        assert low <= table["escaped"].median() <= high
        assert (table["target_change"] < 0).all() and (table["target_high"] < 0).mean() > 0.8


def test_a_batch_without_controls_is_said():
    obs = make_screen(20).obs
    obs["batch"] = np.where(obs["condition"].isin(["ctrl", "KLF1"]), "one", "two")
    notes = quality.describe_batches(obs, read_design(obs, column="condition"))
    assert len(notes) == 1 and "cannot be told from the batch's" in notes[0] and "KLF1 " not in notes[0]


def test_library_sizes_come_from_a_column_that_has_them(counts):
    assert (library_sizes(counts, None) == counts.total_counts).all()
    with pytest.raises(OptionError, match="no column 'depth'"):
        library_sizes(counts, "depth")
    with pytest.raises(OptionError, match="does not hold a number"):
        library_sizes(counts, "condition")


@pytest.mark.parametrize(
    ("conditions", "words"),
    [(["ctrl", "KLF1", "TP53"], "There are 2 conditions"), (["vehicle", "dexamethasone"], "are not genes")],
)
def test_what_cannot_be_learned_from_is_refused(conditions, words):
    screen = make_screen(30)
    screen = screen[: 30 * len(conditions)].copy()
    screen.obs["condition"] = np.repeat(conditions, 30)
    with pytest.raises(DatasetError, match=words):
        fit_perturbations(OpenDataset(screen).counts, read_design(screen.obs, column="condition"))


def test_scores_have_their_right_values():
    rng = np.random.default_rng(0)
    truth, said, genes = rng.integers(0, 2, 300), rng.integers(0, 9, 300), rng.integers(0, 12, 300)
    found = scores.auroc_per_gene(truth, said, genes)
    assert len(found) == 12
    for gene in range(12):
        rows = genes == gene
        assert found[str(gene)] == pytest.approx(roc_auc_score(truth[rows], said[rows]))
    assert scores.auroc_per_gene(np.ones(4), np.arange(4), np.zeros(4)) == {}
    measured = rng.normal(size=(6, 30))
    assert (scores.discrimination(measured, measured) == 1).all()
    np.testing.assert_allclose(scores.discrimination(np.ones((6, 30)), measured).mean(), 0.5)
    none = np.zeros_like(measured)
    assert scores.error_ratio(measured, measured, none) == 0 and scores.error_ratio(none, measured, none) == 1
    assert np.isnan(scores.error_ratio(measured, measured, measured**2)), "changes that are all noise have no ratio"
    np.testing.assert_allclose(scores.pearson(2 * measured, measured), 1)
    assert np.isnan(scores.pearson(none, measured)).all()
    assert scores.on_scale(0.75, 0.5, 1.0) == 0.5 and scores.collapse(none, measured)["n_distinct"] == 1


def label_table(n_perturbations: int = 60, n_genes: int = 30, seed: int = 0) -> LabelTable:
    """Two families of knock-downs change two families of genes; names have a place in both spaces."""
    from scfviz.data.vocabulary import load_vocabulary

    rng = np.random.default_rng(seed)
    symbols = [gene for gene in load_vocabulary().symbols if gene in spaces_of()["go"].place]
    rows = symbols[:: len(symbols) // n_perturbations][:n_perturbations]
    columns = symbols[3 :: len(symbols) // n_genes][:n_genes]
    pairs = [(p, g, int(rng.random() < 0.3)) for p in rows for g in columns if rng.random() < 0.5]
    return LabelTable.of_pairs(*zip(*pairs, strict=True))


def family_spaces(table: LabelTable) -> tuple[dict[str, GeneSpace], LabelTable]:
    """Spaces in which neighbours share a family, and labels that follow the families."""
    rng = np.random.default_rng(1)
    names = sorted({*table.perturbations, *table.genes})
    family = {name: i % 2 for i, name in enumerate(names)}
    vectors = np.array([[family[n], 1 - family[n], 0.1] for n in names], dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    space = GeneSpace("go", {name: i for i, name in enumerate(names)}, sparse.csr_matrix(vectors))
    pairs = table.labels.tocoo()
    same = [family[table.perturbations[r]] == family[table.genes[c]] for r, c in zip(pairs.row, pairs.col, strict=True)]
    labels = np.where(rng.random(len(same)) < 0.1, ~np.array(same), same).astype(int)
    perturbations, genes = (
        np.array(names_)[i] for names_, i in ((table.perturbations, pairs.row), (table.genes, pairs.col))
    )
    learned = LabelTable.of_pairs(perturbations, genes, labels)
    return {
        "go": space,
        "model": replace(space, name="model", vectors=vectors, source={"name": "x", "hash": "y"}),
    }, learned


def test_answers_follow_similar_knock_downs_and_know_their_worth():
    spaces, table = family_spaces(label_table())
    found = answers.fit_answers(table, spaces)
    assert found.scores["losses"]["combination"] < 0.7 * found.scores["losses"]["frequency"]
    assert found.weights["frequency"] < 0.2
    said = answers.predict_answers(found, table.perturbations, spaces)
    truth = table.labels.toarray()
    assert said.estimate[truth == 2].mean() > 0.7 > 0.3 > said.estimate[truth == 1].mean()
    assert ((said.low <= said.estimate + 1e-9) & (said.estimate <= said.high + 1e-9)).all()
    unknown = answers.predict_answers(found, ["NOSUCHGENE"], spaces)
    assert np.isfinite(unknown.estimate).all()


def test_a_knock_downs_own_labels_take_no_part_in_its_answer():
    spaces, table = family_spaces(label_table())
    turned = table.labels.copy()
    part = slice(turned.indptr[0], turned.indptr[1])
    known = answers.Answerer(table, spaces)
    turned.data[part] = 3 - turned.data[part]
    other = answers.Answerer(replace(table, labels=turned), spaces)
    other.frequency = known.frequency
    for view in answers.VIEWS:
        near = [one.evidence(view, table.perturbations[:1])[1] for one in (known, other)]
        np.testing.assert_allclose(*near)
    assert not known.spaces["go"].similarity(["NOSUCHGENE"], table.perturbations).any()


def test_what_is_kept_of_labels_says_what_they_say_and_holds_none_of_them():
    spaces, table = family_spaces(label_table(200, 90))
    kept = summarise(table, overlap(table.perturbations, spaces))
    whole, small = (answers.Answerer(one, spaces).evidence("go", table.perturbations) for one in (table, kept))
    for exact, near in zip(whole, small, strict=True):
        assert np.corrcoef(exact.ravel(), near.ravel())[0, 1] > 0.95
    back = kept.above[0].astype(np.float32) @ kept.above[1].astype(np.float32)
    labels, guessed = table.parts[0].toarray(), back
    there = table.labels.toarray() > 0
    assert np.abs(np.corrcoef(labels[there], guessed[there])[0, 1]) < 0.9, "the labels themselves can be read off"
    assert isinstance(kept, LabelSummary) and kept.n_labels == there.sum()


def test_answers_come_back_as_they_were_saved(tmp_path):
    spaces, table = family_spaces(label_table())
    found = answers.fit_answers(table, spaces)
    line = LineAnswers(found, found, {"line": "Nowhere", "title": "Nowhere"})
    again = read_predictor(save_predictor(line, tmp_path / "line", card=""))
    for one in (again.changed, again.direction):
        first, second = (answers.predict_answers(a, ["KLF1", table.perturbations[0]], spaces) for a in (found, one))
        np.testing.assert_allclose(second.estimate, first.estimate, atol=1e-6)
    with pytest.raises(OptionError, match="At least 10"):
        answers.fit_answers(table.take(np.arange(5)), spaces)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    make_screen().write_h5ad(path)
    return path


def test_the_task_stopped_and_resumed_gives_what_python_gives(dataset, tmp_path, model):
    task = get_task("perturbation")
    options = read_options(task.options_type, {"dataset": str(dataset)})
    stages: list[str] = []
    with pytest.raises(Stopped):
        compute(task, options, Steps(tmp_path, lambda _, stage: stages.append(stage), lambda: len(stages) > 4))
    assert (tmp_path / "sums.npy").exists()
    result = compute(task, options, Steps(tmp_path))
    whole = run_task("perturbation", dataset=dataset)
    np.testing.assert_array_equal(result.arrays["change"], whole.arrays["change"])
    assert json.dumps(result.scores) == json.dumps(whole.scores)
    for name, values in predictor_of(whole).factors.arrays().items():
        np.testing.assert_array_equal(predictor_of(result).factors.arrays()[name], values)
    first, second = (predict_perturbation(one, ["SOX2", "KLF1+TP53"]) for one in (predictor_of(whole), model))
    np.testing.assert_allclose(first.change, second.change, atol=1e-5)
    np.testing.assert_allclose(first.high, second.high, atol=1e-5)
    assert set(whole.cells["perturbation_condition"].cat.categories) == {"control", *model.effects.conditions}
    assert isinstance(whole.tables["scores"], pd.DataFrame)


def test_it_is_public_and_answers_in_five_lines(dataset):
    counts = OpenDataset(make_screen()).counts
    fitted = scfviz.fit_perturbations(counts, scfviz.read_design(counts.obs))
    assert scfviz.predict_perturbation(fitted, ["KLF1"]).change.shape == (1, len(fitted.effects.genes))
    assert set(SINGLES) < set(fitted.effects.genes)


@pytest.mark.parametrize("name", PREDICTORS.shipped())
def test_what_ships_answers_and_needs_the_model_that_ships(name):
    found, spaces = read_predictor(find_predictor(name)), spaces_of()
    if isinstance(found, PerturbationModel):
        said = predict_perturbation(found, ["KLF1", "KLF1+MAPK1", "GATA1"], spaces)
        assert said.kinds[0] == "measured" and np.isfinite(said.change).all()
        return
    said = answers.predict_answers(found.changed, ["GATA1"], spaces)
    assert ((said.estimate >= 0) & (said.estimate <= 1)).all() and said.estimate.std() > 0


@pytest.mark.parametrize("name", PREDICTORS.shipped())
def test_the_card_that_ships_is_the_one_that_is_written_now(name, monkeypatch):
    folder = find_predictor(name)
    monkeypatch.syspath_prepend(PREDICTORS.assets.parents[1] / "scripts")
    ship = importlib.import_module("ship_predictors")
    write = ship.norman_card if name == ship.NORMAN else partial(ship.line_card, name=name)
    assert (folder / "README.md").read_text(encoding="utf-8") == write(read_predictor(folder))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A file with genes enough for the model."""
    return write_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 60)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def test_a_changed_gene_changes_its_own_cells_alone(tiny):
    cells = make_cells(16)
    aligned = OpenDataset(cells).align()
    network = load_checkpoint(tiny)
    counts = aligned.rows(0, 16)
    column = next(i for i in np.flatnonzero(aligned.is_measured) if 5 < (counts[:, i] > 0).sum() < 12)
    gene = str(aligned.genes[column])
    has_it = np.asarray(counts[:, column].todense()).ravel() > 0
    found = insilico.perturb_in_silico(aligned, network, gene, precision="fp32")
    moves = np.abs(found.after - found.before).max(axis=1) > 0
    assert found.n_changed == has_it.sum() and not moves[~has_it].any() and moves[has_it].all()
    places = np.random.default_rng(0).normal(size=(16, 2))
    went = insilico.move_places(found.before, found.after, places)
    np.testing.assert_allclose(went[~has_it], places[~has_it], atol=1e-9)
    changed, level = insilico.change_counts(counts, column, "overexpress", gene)
    assert level > 0 and (changed[:, column].toarray() >= counts[:, column].toarray()).all()
    assert (changed != counts).sum(axis=0).nonzero()[1].tolist() == [column]
    assert (aligned.rows(0, 16) != counts).nnz == 0, "its input stays"


def test_differences_of_two_passes_are_taken_in_fp32_unless_asked_otherwise(tiny, monkeypatch):
    """In bf16 rounding is as large as what one gene changes in most others."""
    from scfviz.model import infer

    aligned, network, asked = OpenDataset(make_cells(16)).align(), load_checkpoint(tiny), []
    for name in ("embed_cells", "predict_expression"):
        whole = getattr(infer, name)

        def record(*args, whole=whole, **options):
            asked.append(options["precision"])
            return whole(*args, **options)

        monkeypatch.setattr(infer, name, record)
    gene = str(aligned.genes[int(aligned.rows(0, 16).sum(axis=0).argmax())])
    for given, used in (("auto", "fp32"), ("bf16", "bf16")):
        asked.clear()
        insilico.perturb_in_silico(aligned, network, gene, precision=given)
        assert asked == [used] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gene": None}, "No gene was given"),
        ({"gene": "NOSUCHGENE"}, "is not among the genes"),
        ({"gene": "A1BG", "column": "cell_type"}, "without the other"),
        ({"gene": "A1BG", "column": "cell_type", "group": "nobody"}, "0 cells have 'nobody'"),
    ],
)
def test_in_silico_refuses_in_words(cells, tiny, options, words):
    with pytest.raises(scfviz.ScfvizError, match=words):
        run_task("in_silico", dataset=cells, checkpoint=str(tiny), **options)


def test_in_silico_as_a_task_says_what_it_is(cells, tiny, monkeypatch):
    drawn = SimpleNamespace(umap=np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32))
    monkeypatch.setattr("scfviz.tasks.embedding.compute.build_map", lambda *args, **options: drawn)
    gene = str(make_cells(1).var_names[2])
    result = run_task("in_silico", dataset=cells, checkpoint=str(tiny), gene=gene, most_cells=12)
    assert result.notes[0] == insilico.EXPLORATION and np.isfinite(result.cells["in_silico_shift"]).sum() == 12
    assert result.arrays["places"].shape == result.arrays["moved"].shape == (len(result.kept), 2)
    assert set(result.tables["genes"].columns) == {"gene", "change", "low", "high"}


def test_the_perturbation_that_made_the_goal_goes_the_whole_way(counts):
    """The goal are cells of one condition: that condition alone reaches it, within its interval."""
    effects = measure_effects(counts, read_design(counts.obs))
    names = counts.obs["condition"].astype(str).to_numpy()
    difference = steer.measure_difference(counts, names == "ctrl", names == "KLF1", effects)
    table = steer.rank_perturbations(effects, difference).set_index("condition")
    assert table["cosine"].idxmax() == "KLF1" and table.loc["KLF1", "low"] < 1 < table.loc["KLF1", "high"] + 0.1
    assert table.loc["TP53", "cosine"] < 0.5 < table.loc["GATA1", "cosine"], "its family goes the same way"
    with pytest.raises(OptionError, match="The goal has 0 cells"):
        steer.measure_difference(counts, names == "ctrl", names == "nobody", effects)
    few = replace(effects, genes=tuple(f"X{i}" for i in range(len(effects.genes))))
    with pytest.raises(OptionError, match="0 of the screen's"):
        steer.measure_difference(counts, names == "ctrl", names == "KLF1", few)
