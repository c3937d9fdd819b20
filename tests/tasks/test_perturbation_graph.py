"""The view of perturbations over a graph of genes: what it finds, what it must not find, what is kept of it."""

from dataclasses import replace

import numpy as np
import pytest
from perturbed_cells import make_screen
from scipy import sparse

from scfviz.data.open import OpenDataset
from scfviz.data.perturbations import read_design
from scfviz.errors import CheckpointError
from scfviz.tasks.perturbation import graph
from scfviz.tasks.perturbation.card import verdict
from scfviz.tasks.perturbation.effects import ScreenEffects, control_profiles, measure_effects
from scfviz.tasks.perturbation.fit import PerturbationModel, learn, predict_perturbation
from scfviz.tasks.perturbation.methods import GRAPH, TITLES, Views
from scfviz.tasks.perturbation.predictor import find_predictor, read_predictor, save_predictor
from scfviz.tasks.perturbation.spaces import COEXPRESSION, GeneSpace

N_GENES, N_READ_OUT, N_FAMILIES = 80, 50, 5
NAMES = tuple(f"G{i:02d}" for i in range(N_GENES))
ASKED = NAMES[60:]
FAMILY = np.arange(N_GENES) % N_FAMILIES


def make_spaces(*, shuffled: bool = False) -> dict[str, GeneSpace]:
    """Families are expressed together in control cells; processes and embeddings know nothing of them."""
    rng = np.random.default_rng(0)
    place = {name: i for i, name in enumerate(NAMES)}
    profiles = rng.normal(size=(N_FAMILIES, 200))[FAMILY] + rng.normal(size=(N_GENES, 200))
    together = graph.coexpression_space(rng.permutation(NAMES).tolist() if shuffled else NAMES, profiles)
    alone = np.eye(N_GENES, dtype=np.float32)
    return {
        "go": GeneSpace("go", place, sparse.csr_matrix(alone)),
        "model": GeneSpace("model", place, alone, {"name": "x", "hash": "y"}),
        COEXPRESSION: together,
    }


def make_effects() -> ScreenEffects:
    """A family of perturbed genes moves the cells one way; 60 of 80 were measured."""
    rng = np.random.default_rng(1)
    clean = rng.normal(size=(N_FAMILIES, N_READ_OUT))[FAMILY[:60]]
    noise = 0.3
    change = clean + noise * rng.normal(size=clean.shape)
    halves = np.stack([change, change])
    genes = tuple(f"R{i}" for i in range(N_READ_OUT))
    targets = tuple((name,) for name in NAMES[:60])
    control, variance = np.ones(N_READ_OUT), np.full(change.shape, noise**2)
    return ScreenEffects(genes, NAMES[:60], targets, np.full(60, 50), 200, control, change, variance, halves)


@pytest.fixture(scope="module")
def model() -> PerturbationModel:
    return learn(make_effects(), make_spaces())


def test_a_signal_that_lies_in_the_graph_is_found_and_weighs(model):
    views = model.scores["single"]["views"]
    rest = [views[name]["error_ratio"] for name in TITLES if name != GRAPH]
    assert views[GRAPH]["error_ratio"] < 0.7 * min(rest)
    assert model.weights["single"][GRAPH] > 0.5
    gain = model.scores["single"]["gain_of_graph"]
    assert gain["low"] > 0.2 and views[GRAPH]["n_distinct"] > 30 and views[GRAPH]["spread"] > 0.3
    assert TITLES[GRAPH].lower() in verdict(model, "single").lower()
    truth = np.array([make_effects().change[FAMILY[:60] == family].mean(axis=0) for family in FAMILY[60:]])
    said = predict_perturbation(model, ASKED, make_spaces()).views[GRAPH]
    assert np.corrcoef(said.ravel(), truth.ravel())[0, 1] > 0.7


def test_a_shuffled_graph_gets_no_weight_and_says_the_mean():
    spaces = make_spaces(shuffled=True)
    found = learn(make_effects(), spaces)
    assert found.weights["single"].get(GRAPH, 0) < 0.02
    assert found.scores["single"]["gain_of_graph"]["low"] <= 0
    said = predict_perturbation(found, ASKED, spaces).views
    np.testing.assert_allclose(said[GRAPH], said["mean"])


def test_the_networks_own_doubt_is_told_and_pairs_add_up(model):
    spaces = make_spaces()
    found = predict_perturbation(model, [*ASKED, f"{ASKED[0]}+{ASKED[1]}", f"{ASKED[0]}+G00"], spaces)
    members = model.factors.say(ASKED)
    assert members.shape == (graph.N_MEMBERS, len(ASKED), N_READ_OUT)
    np.testing.assert_allclose(found.graph_spread[: len(ASKED)], members.std(axis=0, ddof=1))
    assert (found.graph_spread[:-1].max(axis=1) > 0).all()
    np.testing.assert_allclose(found.views[GRAPH][-2], found.views[GRAPH][0] + found.views[GRAPH][1])
    np.testing.assert_allclose(found.views[GRAPH][-1], found.views[GRAPH][0] + make_effects().change[0])


def test_a_gene_that_no_signal_reaches_is_predicted_like_the_mean(model):
    said = predict_perturbation(model, ["NOSUCHGENE"], make_spaces()).views
    np.testing.assert_allclose(said[GRAPH], said["mean"])


def test_a_folder_gives_the_same_numbers_and_trains_nothing(model, tmp_path, monkeypatch):
    spaces = make_spaces()
    again = read_predictor(save_predictor(model, tmp_path / "mine", card=""))
    monkeypatch.setattr(graph, "fit_factors", None)
    monkeypatch.setattr(graph, "spread_signals", None)
    first, second = (predict_perturbation(one, [*ASKED, "G60+G61"], spaces) for one in (model, again))
    np.testing.assert_allclose(second.views[GRAPH], first.views[GRAPH], atol=1e-5)
    np.testing.assert_allclose(second.change, first.change, atol=1e-5)
    np.testing.assert_array_equal(second.graph_spread, first.graph_spread)
    with pytest.raises(ValueError, match="another graph"):
        graph.GraphFactors.of_arrays(model.factors.arrays() | {"graph_genes": np.frombuffer(b"A\nB", np.uint8)})


def test_a_predictor_from_before_this_view_goes_on_working(model, tmp_path):
    old = replace(model, factors=None, weights={k: {"mean": 0.5, "ridge_pca": 0.5} for k in model.weights})
    again = read_predictor(save_predictor(old, tmp_path / "old", card=""))
    found = predict_perturbation(again, ASKED, make_spaces())
    assert GRAPH not in found.views and np.isfinite(found.change).all() and np.isnan(found.graph_spread).all()
    torn = save_predictor(replace(model, factors=None), tmp_path / "torn", card="")
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        read_predictor(torn)
    shipped = read_predictor(find_predictor("activation_k562"))
    assert np.isfinite(predict_perturbation(shipped, ["GATA1"]).change).all()


def test_the_order_of_perturbations_changes_nothing_and_a_seed_gives_the_same():
    effects, spaces = make_effects(), make_spaces()
    order = np.random.default_rng(3).permutation(60)
    signals = graph.spread_signals(spaces, NAMES)
    said = []
    for rows in (np.arange(60), np.arange(60), order):
        part = effects.take(rows)
        views = Views(part.genes, part.targets, part.change, spaces).with_graph(signals)
        said.append(views.predict([(gene,) for gene in ASKED], [GRAPH])[GRAPH])
    np.testing.assert_array_equal(said[0], said[1])
    np.testing.assert_allclose(said[0], said[2], atol=2e-3)


def test_a_signal_goes_to_neighbours_and_theirs_and_no_further():
    """A chain A - B - C - D: two steps."""
    links = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=np.float32)
    links /= np.linalg.norm(links, axis=1, keepdims=True)
    space = GeneSpace("go", {gene: i for i, gene in enumerate("ABCD")}, sparse.csr_matrix(links))
    found = graph.spread_signals({"go": space}, ["A", "Z"])
    assert found.genes == tuple("ABCD")
    a, b, c, d = found.table[:, 0]
    assert b > c > 0 == d and a > 0 and not found.table[:, 1].any()


def test_profiles_of_controls_are_theirs_whatever_the_order_of_cells():
    screen = make_screen()
    found = []
    for cells in (screen, screen[np.random.default_rng(0).permutation(screen.n_obs)].copy()):
        counts = OpenDataset(cells).counts
        design = read_design(counts.obs)
        effects = measure_effects(counts, design)
        found.append(control_profiles(counts, design, effects.genes, counts.total_counts))
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0].mean(axis=1), effects.control, rtol=1e-5, atol=1e-6)
