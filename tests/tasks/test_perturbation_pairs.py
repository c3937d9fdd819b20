"""Pairs of perturbations, what to perturb next, likeness, and other lines' answers for own cells."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from perturbed_cells import SINGLES, make_screen
from scipy import sparse

from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.perturbation import interactions
from scfviz.tasks.perturbation.alike import link_alike, place_alike
from scfviz.tasks.perturbation.answers import AnsweredGenes
from scfviz.tasks.perturbation.effects import ScreenEffects
from scfviz.tasks.perturbation.extrapolate import join_lines
from scfviz.tasks.perturbation.fit import SINGLE, PerturbationModel
from scfviz.tasks.perturbation.interactions import (
    MIN_PAIRS,
    InteractionLaw,
    learn_law,
    measure_interactions,
    name_type,
    predict_interactions,
)
from scfviz.tasks.perturbation.next_steps import rank_next
from scfviz.tasks.perturbation.spaces import GeneSpace
from scfviz.tasks.run import run_task

N_GENES, NOISE = 400, 0.02


def make_effects(sizes: dict[tuple[str, str], float], *, n: int = 8, seed: int = 0) -> ScreenEffects:
    """Single effects of G0, G1, ..., and pairs that do so much more than the sum; means with sampling noise."""
    rng = np.random.default_rng(seed)
    singles = {f"G{i}": rng.normal(size=N_GENES) * (rng.random(N_GENES) < 0.3) for i in range(n)}
    targets = [(gene,) for gene in singles] + list(sizes)
    change = [*singles.values(), *((1 + size) * (singles[a] + singles[b]) for (a, b), size in sizes.items())]
    control = rng.normal(size=N_GENES) * NOISE
    change = np.array(change) + rng.normal(size=(len(targets), N_GENES)) * NOISE - control
    return ScreenEffects(
        tuple(f"R{i}" for i in range(N_GENES)),
        tuple("+".join(one) for one in targets),
        tuple(targets),
        np.full(len(targets), 50),
        50,
        np.ones(N_GENES),
        change,
        np.full(change.shape, 2 * NOISE**2),
    )


def test_sizes_of_interactions_are_found_within_their_intervals():
    truth = {("G0", "G1"): 0.0, ("G2", "G3"): -0.4, ("G4", "G5"): 0.5}
    found = measure_interactions(make_effects(truth)).set_index(["first", "second"])
    for pair, size in truth.items():
        assert found.loc[pair, "size"] == pytest.approx(size, abs=0.04)
    types = [found.loc[pair, "type"] for pair in truth]
    assert types == [interactions.ADDITIVE, interactions.BUFFERING, interactions.SYNERGY]


def test_noise_makes_no_interaction_out_of_a_sum():
    """Noise of the single effects is in the pair's own and in the sum: without taking it off, sums looked buffering."""
    sizes = [measure_interactions(replace_noise(seed))["size"].iloc[0] for seed in range(40)]
    assert abs(np.mean(sizes)) < 3 * np.std(sizes) / np.sqrt(len(sizes)) + 0.02


def replace_noise(seed: int) -> ScreenEffects:
    effects = make_effects({("G0", "G1"): 0.0}, seed=0)
    rng, noise = np.random.default_rng(seed), 0.3
    control = rng.normal(size=N_GENES) * noise
    change = effects.change + rng.normal(size=effects.change.shape) * noise - control
    return replace(effects, change=change, variance=np.full(change.shape, 2 * noise**2))


def test_what_changes_nothing_is_like_nothing():
    """Of a change that is noise the likeness to others was 1 or -1."""
    effects = make_effects({})
    change = effects.change.copy()
    change[2:4] = np.random.default_rng(1).normal(size=(2, N_GENES)) * np.sqrt(2) * NOISE
    genes = [f"G{i}" for i in range(8)]
    table = predict_interactions(replace(effects, change=change), InteractionLaw(-0.2, 0.0, 0.1, 0.5, 9), genes)
    is_open = table["first"].isin(["G2", "G3"]) | table["second"].isin(["G2", "G3"])
    assert table["likeness"].isna().equals(is_open) and table["predicted"].isna().equals(is_open)
    assert set(table["type"][is_open]) == {interactions.UNCLEAR} and table["likeness"].abs().max() < 0.5


def test_the_own_gene_makes_no_perturbation_strong():
    effects = make_effects({}, n=3)
    change = effects.change.copy()
    change[0], change[1] = 0, effects.change[1] / 10
    change[0, 0] = 100
    strength = replace(effects, genes=("G0", *effects.genes[1:]), change=change).strength()
    assert strength[0] == 0 and 1 < strength[1] < strength[2]


def test_types_are_named_as_their_meanings_say():
    one = np.ones(2)
    assert name_type(-0.3, 0.1, one, 0.9, 1.0) == interactions.REDUNDANT
    assert name_type(-0.4, 0.1, np.array([0.9, 0.1]), 0.0, 1.0) == interactions.EPISTATIC
    assert name_type(0.1, 0.4, one, 0.0, 1.0) == interactions.UNCLEAR
    assert name_type(-0.3, 0.1, one, 0.0, 0.2) == interactions.NEW
    assert set(interactions.MEANINGS) == set(interactions.TYPES)


def test_a_law_is_learned_from_enough_pairs_and_says_nothing_from_few():
    likeness = np.linspace(-0.5, 0.9, 20)
    table = pd.DataFrame({"likeness": likeness, "size": 0.1 - 0.6 * likeness})
    law = learn_law(table)
    assert law.is_learned and law.correlation > 0.95 and law.predict(np.array(0.5)) == pytest.approx(-0.2, abs=0.08)
    few = learn_law(table.head(MIN_PAIRS - 1))
    effects = make_effects({("G0", "G1"): -0.4}, n=4)
    said = predict_interactions(effects, few, ["G0", "G1", "G2", "G3"])
    assert said["predicted"].isna().all() and len(said) == 6
    assert said.set_index(["first", "second"]).loc[("G0", "G1"), "measured"] == pytest.approx(-0.4, abs=0.05)
    known = predict_interactions(effects, InteractionLaw(-0.5, 0, 0.05, 0.9, 20), ["G2", "G3"])
    assert known["type"].tolist() == [interactions.BUFFERING]


def next_model(share: float) -> tuple[PerturbationModel, dict[str, GeneSpace]]:
    """One family of ten genes, none measured; one of three, two measured; and one gene alone."""
    genes = ("F0", "F1", *(f"C{i}" for i in range(10)), "P0", "S0")
    vectors = np.zeros((len(genes), 3), dtype=np.float32)
    vectors[2:12, 0], vectors[[0, 1, 12], 1], vectors[13, 2] = 1, 1, 1
    rng = np.random.default_rng(0)
    change = rng.normal(size=(2, len(genes)))
    effects = ScreenEffects(
        genes, ("F0", "F1"), (("F0",), ("F1",)), np.full(2, 50), 50, np.ones(len(genes)), change, 0.01 + 0 * change
    )
    views = {"combination": {"error_ratio": 1 - share}, "mean": {"error_ratio": 1.0}}
    place = {gene: i for i, gene in enumerate(genes)}
    go = GeneSpace("go", place, sparse.csr_matrix(vectors))
    weights = {SINGLE: {"nearest_go": 1.0}}
    model = PerturbationModel(effects, weights, {}, np.zeros((2, len(genes))), {SINGLE: {"views": views}}, {})
    return model, {"go": go, "model": replace(go, name="model", vectors=vectors)}


def test_the_next_gene_stands_for_many_and_is_not_known_already():
    model, spaces = next_model(0.8)
    table = rank_next(model, spaces)
    assert table["gene"][0].startswith("C") and not table["gene"][1].startswith("C"), "one of the ten says it of all"
    assert set(table["gene"]) == {*(f"C{i}" for i in range(10)), "P0", "S0"}
    assert list(table["gene"][:2]) != ["C0", "P0"] and table["information"].sum() <= 1
    unsure, _ = next_model(0.0)
    assert rank_next(unsure, spaces)["others"].max() < 0.02, (
        "where nearness explains nothing, nothing is said of others"
    )


def test_genes_that_are_not_expressed_are_no_candidates():
    model, spaces = next_model(0.8)
    silent = replace(model, effects=replace(model.effects, control=np.zeros(14)))
    with pytest.raises(DatasetError, match="No gene is left"):
        rank_next(silent, spaces)
    assert len(rank_next(silent, spaces, least_level=0.0)) == 12


def test_links_join_what_is_alike_and_places_are_the_same_every_time():
    alike = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.2, 0], [0.1, 0.2, 1, 0.7], [0, 0, 0.7, 1]])
    links = link_alike(alike, list("abcd"))
    assert [(one.first, one.second) for one in links.itertuples()] == [("a", "b"), ("c", "d")]
    np.testing.assert_array_equal(place_alike(links, list("abcd")), place_alike(links, list("abcd")))
    assert place_alike(link_alike(np.eye(3), list("abc")), list("abc")).shape == (3, 2)


def answered(genes: tuple[str, ...], p: list[float]) -> AnsweredGenes:
    row = np.array([p])
    return AnsweredGenes(("X",), genes, row, row, row, {})


def test_lines_are_joined_over_the_genes_that_they_read_out():
    said = {
        "one": (answered(("A", "B"), [0.8, 0.1]), answered(("A", "B"), [0.9, 0.5])),
        "two": (answered(("A", "C", "X"), [0.4, 0.6, 0.9]), answered(("A", "C", "X"), [0.6, 0.2, 0.5])),
    }
    levels = pd.DataFrame({"level": [1.0, 2.0], "detected": [0.5, 0.9]}, index=pd.Index(["A", "C"], name="gene"))
    table = join_lines(said, "X").set_index("gene")
    assert list(table.index) == ["A", "C", "B"] and table.loc["A", "p_changed"] == pytest.approx(0.6)
    assert table.loc["A", "n_agree"] == 2 and table.loc["C", "n_lines"] == 1
    assert table.loc["A", "p_up"] == pytest.approx((0.8 * 0.9 + 0.4 * 0.6) / 1.2)
    assert list(join_lines(said, "X", levels)["gene"]) == ["A", "C"], "genes that the cells lack are left out"


def test_a_guide_table_makes_the_conditions_of_a_screen_whatever_its_form(tmp_path):
    screen = make_screen(12, doubles=())
    names = screen.obs["condition"].astype(str).to_numpy()
    guides = ["NTg1", *(f"{gene}g1" for gene in SINGLES)]
    table = np.zeros((len(names), len(guides)), dtype=np.float32)
    table[np.arange(len(names)), [0 if one == "ctrl" else 1 + SINGLES.index(one) for one in names]] = 9
    counts = pd.DataFrame(table, index=screen.obs_names, columns=guides)
    counts.to_csv(tmp_path / "guides.csv")
    counts.to_csv(tmp_path / "guides.tsv.gz", sep="\t")
    ad.AnnData(sparse.csr_matrix(table), counts[[]], pd.DataFrame(index=guides)).write_h5ad(tmp_path / "guides.h5ad")
    screen.obs = screen.obs.drop(columns="condition")
    screen.write_h5ad(tmp_path / "screen.h5ad")
    asked = {"dataset": str(tmp_path / "screen.h5ad")}
    found = [
        run_task("perturbation", **asked, guides=str(tmp_path / name)).cells["perturbation_condition"].astype(str)
        for name in ("guides.csv", "guides.tsv.gz", "guides.h5ad")
    ]
    assert set(found[0]) == {"control", *SINGLES}
    assert all((one == found[0]).all() for one in found)
    with pytest.raises(OptionError, match="Leave one out"):
        run_task("perturbation", **asked, guides=str(tmp_path / "guides.csv"), column="sample")
    (tmp_path / "wrong.csv").write_text("barcode,KLF1g1\ncell0,-3\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        run_task("perturbation", **asked, guides=str(tmp_path / "wrong.csv"))
