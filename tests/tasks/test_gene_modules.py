"""Gene modules and networks: properties, right values, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from small_cells import make_cells, save_tiny_checkpoint

from scfviz.analysis.gene_sets import GeneSet
from scfviz.data.align import align_genes
from scfviz.errors import DatasetError, GeneError, OptionError
from scfviz.tasks.gene_modules import contexts as contexts_module
from scfviz.tasks.gene_modules import export
from scfviz.tasks.gene_modules.coexpression import correlate, pool_cells
from scfviz.tasks.gene_modules.compute import find_gene_modules, infer_network
from scfviz.tasks.gene_modules.contexts import Contexts, context_similarity, context_spread, embed_contexts
from scfviz.tasks.gene_modules.donors import compare_over_donors
from scfviz.tasks.gene_modules.genes import cell_keys, quarters_of, read_groups, sample_cells, transcription_factors
from scfviz.tasks.gene_modules.layout import place_genes
from scfviz.tasks.gene_modules.meaning import enrich_modules
from scfviz.tasks.gene_modules.modules import find_modules, link_graph
from scfviz.tasks.gene_modules.network import edge_weights, infer_edges, null_percentiles
from scfviz.tasks.gene_modules.options import GeneModulesOptions
from scfviz.tasks.gene_modules.prior import mark_known, read_prior
from scfviz.tasks.gene_modules.scores import activity, activity_weights, module_weights, recovery
from scfviz.tasks.spec import read_options

N_BLOCK = 12


def blocks_of_similarity(n_blocks: int = 3, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Similarity of genes that go together in blocks of twelve."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(n_blocks), N_BLOCK)
    values = 0.6 * (block[:, None] == block[None, :]) + noise * rng.normal(size=(len(block), len(block)))
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1)
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def found():
    """Modules of cells of three groups with forty genes each ten times higher, by co-expression."""
    aligned = align_genes(make_cells(300, depth=3000.0))
    return find_gene_modules(aligned, n_genes=150, trees=False)


def test_genes_of_a_group_are_a_module(found):
    names = list(make_cells(2).var_names)
    planted = pd.Series({name: i // 40 for i, name in enumerate(names[:120])})
    table = found.genes.set_index("gene")
    for group in range(3):
        mine = table.loc[table.index.isin(planted.index[planted == group]), "module"]
        assert len(mine) >= 15 and mine.mode()[0] > 0 and (mine == mine.mode()[0]).mean() > 0.9
    modules = {table.loc[table.index.isin(planted.index[planted == group]), "module"].mode()[0] for group in range(3)}
    assert len(modules) == 3, "groups have modules of their own"
    assert found.modules.curve["is_chosen"].sum() == 1


def test_the_same_cells_give_the_same_modules_in_any_order(found):
    cells = make_cells(300, depth=3000.0)
    order = np.random.default_rng(1).permutation(300)
    again = find_gene_modules(align_genes(cells[order].copy()), n_genes=150, trees=False)
    assert found.genes["gene"].tolist() == again.genes["gene"].tolist()
    np.testing.assert_allclose(found.similarity.combined, again.similarity.combined, atol=1e-4)
    assert (found.genes["module"] == again.genes["module"]).mean() > 0.98


def test_the_strongest_edges_stay_when_one_percent_of_the_cells_goes(found):
    """Published tools keep a fifth: samples and halves that depend on how many cells there are begin anew."""
    cells = make_cells(300, depth=3000.0)
    kept = np.sort(np.random.default_rng(0).permutation(300)[:297])
    again = find_gene_modules(align_genes(cells[kept].copy()), genes=found.genes["gene"].tolist(), choice="own")
    top = []
    for one in (found, again):
        names, values = one.prepared.genes.names, np.triu(np.abs(one.similarity.combined), 1)
        best = np.argsort(-values.ravel())[:1000]
        top.append({(names[i // len(names)], names[i % len(names)]) for i in best})
    assert len(top[0] & top[1]) / len(top[0] | top[1]) >= 0.8


def test_graphs_are_networkx_and_every_program_can_read_them(found, tmp_path):
    import networkx as nx

    graph = found.graph()
    assert set(graph) == set(found.genes["gene"]) and graph.number_of_edges() == len(found.links)
    again = nx.parse_graphml(export.graphml_bytes(graph).decode())
    assert set(again.nodes) == set(graph.nodes) and set(again.edges) == {tuple(map(str, e)) for e in again.edges}
    told = json.loads(export.cytoscape_bytes(graph))["elements"]
    assert len(told["nodes"]) == len(graph) and {"x", "y"} == set(told["nodes"][0]["position"])
    network = found.regulators()
    assert isinstance(network, nx.DiGraph)
    if network.number_of_edges():
        *_, about = next(iter(network.edges(data=True)))
        assert {"weight", "sign", "percentile", "stability"} <= set(about)


def test_contexts_are_streamed_and_do_not_depend_on_batch_or_interruption(small_model, tmp_path):
    from scfviz.errors import Stopped
    from scfviz.model.infer import embed_genes_per_cell

    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(2.0, (14, 64)).astype(np.float32))
    genes, quarter = np.array([3, 7, 20, 41]), np.repeat([0, 1, 2, 3], [5, 4, 3, 2])
    out, stop = tmp_path / "contexts", iter([False, True]).__next__
    with pytest.raises(Stopped):
        embed_contexts(counts, small_model, genes, quarter, precision="fp32", out=out, should_stop=stop)
    one = embed_contexts(counts, small_model, genes, quarter, precision="fp32", out=out)
    cells = embed_genes_per_cell(counts, small_model, genes=[f"G{i}" for i in genes], precision="fp32").values
    cells = cells.astype(np.float64)
    for number in range(4):
        own = cells[quarter == number]
        np.testing.assert_allclose(one.means[number], own.mean(axis=0), atol=2e-5)
        expected = np.einsum("nge,nhe->gh", own, own) / len(own)
        np.testing.assert_allclose(one.products[number], expected, rtol=1e-4, atol=1e-4)
    assert one.n_cells.tolist() == [5, 4, 3, 2]
    away = cells - cells.mean(axis=0)
    expected = np.einsum("nge,nhe->gh", away, away)
    length = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(context_similarity(one), expected / np.outer(length, length), atol=2e-3)
    np.testing.assert_allclose(context_spread(one), length**2 / 14, rtol=2e-3)


def test_a_sample_of_keys_is_used_where_it_changes_little(small_model, monkeypatch):
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(0.5, size=(14, 64)).astype(np.float32))
    genes, quarter = np.array([3, 7, 20, 41]), np.repeat([0, 1, 2, 3], [5, 4, 3, 2])
    exact = embed_contexts(counts, small_model, genes, quarter, precision="fp32")
    assert exact.provenance["keys_error"] < 1e-4, "all 64 genes are drawn"
    monkeypatch.setattr(contexts_module, "KEYS_DRAWN", 12)
    monkeypatch.setattr(contexts_module, "_LARGEST_ERROR", 10.0)
    rough = embed_contexts(counts, small_model, genes, quarter, precision="fp32")
    assert rough.provenance["keys_error"] > 1e-4 and np.abs(rough.means - exact.means).max() > 1e-5
    monkeypatch.setattr(contexts_module, "_LARGEST_ERROR", rough.provenance["keys_error"] / 2)
    whole = embed_contexts(counts, small_model, genes, quarter, precision="fp32")
    np.testing.assert_allclose(whole.products, exact.products, atol=1e-4)
    assert "keys_error" not in whole.provenance


def test_a_gene_is_like_those_that_change_with_it_not_like_those_that_look_like_it():
    """The mean over cells says which gene it is; clustering it found no genes that go together."""
    rng = np.random.default_rng(0)
    identity, change = rng.normal(size=(1, 4, 8)) * 5, rng.normal(size=(400, 1, 8))
    sign = np.array([1.0, 1.0, -1.0, 0.0])[None, :, None]
    cells = identity + sign * change + 0.01 * rng.normal(size=(400, 4, 8))
    parts = cells.reshape(4, 100, 4, 8)
    products = np.einsum("qnge,qnhe->qgh", parts, parts) / 100
    contexts = Contexts(products.astype(np.float32), parts.mean(axis=1).astype(np.float32), np.full(4, 100), {})
    similarity = context_similarity(contexts)
    assert similarity[0, 1] > 0.95 and similarity[0, 2] < -0.95 and abs(similarity[0, 3]) < 0.2
    assert context_similarity(contexts, (0, 2))[0, 1] > 0.95
    assert context_spread(contexts)[0] > 100 * context_spread(contexts)[3]


def test_pools_add_counts_and_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(3.0, (40, 6)).astype(np.float32))
    totals = np.asarray(counts.sum(axis=1)).ravel().astype(float)
    points = rng.normal(size=(40, 2))
    pools = pool_cells(counts, totals, points, np.arange(40), k=5)
    near = np.argsort(np.square(points - points[7]).sum(axis=1))[:5]
    expected = np.log1p(counts[near].sum(axis=0) / totals[near].sum() * 1e4)
    np.testing.assert_allclose(pools.values[7], np.asarray(expected).ravel(), rtol=1e-5)
    np.testing.assert_allclose(correlate(pools.values), np.corrcoef(pools.values.T), atol=1e-5)
    values = np.column_stack([pools.values, np.ones(40, np.float32)])
    assert (correlate(values)[6, :6] == 0).all(), "a gene that does not vary goes with none"


def test_what_is_drawn_for_a_cell_depends_on_its_name_alone():
    """Samples and halves were dealt in one order: a sample of every fourth cell held no cell of the second half."""
    names = np.array([f"cell{i}" for i in range(800)])
    groups = np.repeat(["a", "b", "c"], [600, 160, 40])
    keys = cell_keys(names, 0, "contexts")
    chosen = sample_cells(groups, keys, 200)
    assert len(np.unique(chosen)) == 200 and np.all(np.diff(chosen) > 0)
    assert [(groups[chosen] == name).sum() for name in "abc"] == [150, 40, 10]
    quarter = quarters_of(cell_keys(names, 0, "quarters"))
    assert np.bincount(quarter[chosen], minlength=4).min() > 30
    order = np.random.default_rng(0).permutation(800)[:792]
    np.testing.assert_array_equal(cell_keys(names[order], 0, "contexts"), keys[order])
    again = sample_cells(groups[order], keys[order], 198)
    assert len(set(names[order][again]) & set(names[chosen])) > 190
    assert len(np.unique(quarters_of(np.array([4, 8, 12, 16], dtype=np.uint64)))) == 4


def test_modules_are_the_blocks_and_noise_has_none():
    similarity = blocks_of_similarity()
    again = [blocks_of_similarity(seed=seed) for seed in (1, 2, 3, 4)]
    modules = find_modules(similarity, again)
    assert modules.n_modules == 3
    for block in range(3):
        assert len(set(modules.module[block * N_BLOCK : (block + 1) * N_BLOCK])) == 1
    assert modules.stability.min() > 0.95 and modules.connectivity.max() == 1.0
    rng = np.random.default_rng(0)
    noise = [0.05 * rng.normal(size=similarity.shape).astype(np.float32) for _ in range(5)]
    noise = [(one + one.T) / 2 for one in noise]
    quiet = find_modules(noise[0], noise[1:])
    assert (quiet.module > 0).mean() < 0.6 and quiet.stability.mean() < 0.5


def test_places_are_the_same_every_time_and_discs_do_not_overlap():
    similarity = blocks_of_similarity(5)
    graph, module = link_graph(similarity), np.repeat(np.arange(1, 6), N_BLOCK)
    module[3] = 0
    places = place_genes(graph, module)
    np.testing.assert_array_equal(places, place_genes(graph, module))
    assert np.isfinite(places).all()
    middles = np.stack([places[module == number].mean(axis=0) for number in range(1, 6)])
    radii = [np.hypot(*(places[module == n] - middles[n - 1]).T).max() for n in range(1, 6)]
    for a in range(5):
        for b in range(a):
            assert np.hypot(*(middles[a] - middles[b])) > 0.95 * (radii[a] + radii[b])
    assert np.hypot(*places[3]) > np.hypot(*places[module > 0].T).max(), "genes in no module lie around"


def test_an_edge_is_judged_among_its_factors_targets_and_against_genes_like_the_factor():
    """A target that every gene is linked with is no evidence for any factor."""
    rng = np.random.default_rng(0)
    n = 60
    similarity = 0.05 * rng.normal(size=(n, n))
    similarity[:, 10] += 0.5  # popular
    similarity[0, 20] = 0.4  # of the factor alone
    similarity = np.triu(similarity, 1) + np.triu(similarity, 1).T
    is_factor = np.arange(n) == 0
    null = null_percentiles(similarity, np.array([0]), is_factor, np.ones(n))
    assert null[0, 20] == 1.0 and null[0, 10] < 0.9
    weights = edge_weights(similarity, np.array([0]))
    assert weights[0, 0] == 0 and weights[0, [10, 20]].min() > 0.95
    names = np.array([f"G{i}" for i in range(n)])
    table = infer_edges(
        names, np.array([0]), is_factor, np.ones(n), {"coexpression": similarity}, similarity, [similarity] * 2, None
    )
    edge = table[table["target"] == "G20"].iloc[0]
    assert edge["sign"] == 1 and edge["stability"] == 1.0 and np.isnan(edge["r_model"])


def test_meaning_beats_random_genes_or_has_no_name():
    rng = np.random.default_rng(0)
    pool = np.array([f"P{i}" for i in range(400)])
    sets = [GeneSet("planted", "GO:1", tuple(pool[:20]))]
    sets += [GeneSet(f"other {i}", "", tuple(rng.choice(pool, 20, replace=False))) for i in range(60)]
    module = np.repeat([1, 2], [20, 20])
    names = np.concatenate([pool[:20], rng.choice(pool[50:], 20, replace=False)])
    meaning = enrich_modules(module, names, pool, rng.random(400), sets)
    assert meaning.names[1] == "planted" and meaning.table.iloc[0]["random"] == 0
    assert meaning.table.iloc[0]["n_overlap"] == 20
    assert meaning.names[2] == ""


def test_scores_are_those_of_the_genes_less_controls_and_activity_is_a_t_value():
    from scipy.stats import linregress

    positions, pool = np.arange(10), np.arange(200)
    module = np.array([1] * 6 + [2] * 4)
    names = np.array([f"P{i}" for i in range(200)])
    weights = module_weights(module, positions, pool, names, np.linspace(0, 2, 200), 0)
    np.testing.assert_allclose(weights.sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(weights[:6, 0], 1 / 6, atol=1e-6)
    assert (weights[:6, 0] > 0).all() and (weights[6:, 0] <= 0).all()
    rng = np.random.default_rng(0)
    values, signs = rng.random((5, 30)), np.where(rng.random((30, 2)) < 0.3, 1.0, 0.0)
    found = activity(values, activity_weights(signs))
    for cell in range(5):
        line = linregress(signs[:, 1], values[cell])
        np.testing.assert_allclose(found[cell, 1], line.slope / line.stderr, rtol=1e-4)


def test_recovery_is_the_area_that_targets_gain_among_the_first_genes():
    """By its definition: a curve that steps up at each target, against one whose targets all come first."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (12, 60)).astype(np.float32)
    targets = rng.random((60, 3)) < 0.2
    targets[:, 2] = False
    order, n_top = rng.permutation(60), 25
    found = recovery(sparse.csr_matrix(counts), targets, order, n_top)
    for cell in range(len(counts)):
        ranked = [gene for gene in np.lexsort((order, -counts[cell])) if counts[cell, gene] > 0]
        for factor in (0, 1):
            of_cell = np.cumsum([targets[gene, factor] for gene in ranked] + [0] * 60)[: n_top - 1].sum()
            n_targets = targets[:, factor].sum()
            best = np.minimum(np.arange(1, n_top), n_targets).sum()
            assert found[cell, factor] == pytest.approx(of_cell / best)
    assert (found[:, 2] == 0).all() and found.max() <= 1
    first = np.zeros((60, 1), dtype=bool)
    first[np.lexsort((order, -counts[0]))[:5]] = True
    assert recovery(sparse.csr_matrix(counts[:1]), first, order, n_top)[0, 0] == 1


def test_groups_are_compared_over_donors_not_over_cells():
    from scipy.stats import ttest_ind, ttest_rel

    rng = np.random.default_rng(0)
    donors, groups = np.repeat([f"d{i}" for i in range(8)], 40), np.tile(np.repeat(["a", "b"], 20), 8)
    values = rng.normal(size=(320, 2)) + np.repeat(rng.normal(size=8), 40)[:, None]
    values[groups == "a", 0] += 1
    means = {g: np.array([values[(donors == d) & (groups == g)].mean(axis=0) for d in np.unique(donors)]) for g in "ab"}
    table = compare_over_donors(values, ["x", "y"], groups, donors, "a", "b").set_index("name")
    assert table["is_paired"].all() and table.index[0] == "x"
    np.testing.assert_allclose(table.loc[["x", "y"], "pvals"], ttest_rel(means["a"], means["b"]).pvalue, rtol=1e-8)
    half = np.where(donors < "d4", "a", "b")
    apart = compare_over_donors(values, ["x", "y"], half, donors, "a", "b").set_index("name")
    of_donor = np.array([values[donors == d].mean(axis=0) for d in np.unique(donors)])
    expected = ttest_ind(of_donor[:4], of_donor[4:], equal_var=False)
    np.testing.assert_allclose(apart.loc[["x", "y"], "pvals"], expected.pvalue, rtol=1e-8)
    low, high = expected.confidence_interval()
    np.testing.assert_allclose(apart.loc[["x", "y"], ["low", "high"]], np.stack([low, high], axis=1), rtol=1e-6)
    with pytest.raises(OptionError, match="no repeats"):
        compare_over_donors(values, ["x", "y"], groups, np.where(donors < "d2", donors, ""), "a", "b")


def test_transcription_factors_are_an_asset():
    factors = transcription_factors()
    assert len(factors) > 1_300 and {"GATA1", "SPI1", "TP53", "PAX5"} <= factors and "CD3D" not in factors


@pytest.mark.parametrize(
    ("text", "n_edges", "words"),
    [
        ("source,target,weight\nSPI1,LYZ,1\nGATA1,HBB,-1\n", 2, "2 edges"),
        ("tf\ttarget\nSPI1\tLYZ\n", 1, "no signs"),
        ("source,target\nENSG00000066336,ENSG00000090382\n", 1, "1 edges"),
        ("source,target\nSPI1,LYZ\nnonsense,LYZ\n", 1, "left out"),
    ],
)
def test_a_known_network_is_read_with_symbols_or_ensembl_ids_with_signs_or_without(tmp_path, text, n_edges, words):
    (tmp_path / "prior.csv").write_text(text)
    prior = read_prior(tmp_path / "prior.csv")
    assert len(prior.edges) == n_edges and words in " ".join(prior.notes)
    assert ("SPI1", "LYZ") in prior.edges
    table = pd.DataFrame({"source": ["SPI1", "SPI1"], "target": ["LYZ", "CD3D"]})
    assert mark_known(table, prior)["is_known"].tolist() == [True, False]


def test_bad_networks_are_refused_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="columns a, b"):
        read_prior(tmp_path / "columns.csv")
    (tmp_path / "names.csv").write_text("source,target\nfoo1,bar2\n")
    with pytest.raises(GeneError, match="None of the 1 edges"):
        read_prior(tmp_path / "names.csv")
    monkeypatch.setattr("scfviz.tasks.gene_modules.prior.MOST_EDGES", 3)
    (tmp_path / "large.csv").write_text("source,target\n" + "SPI1,LYZ\n" * 5)
    with pytest.raises(DatasetError, match="more than 3 edges"):
        read_prior(tmp_path / "large.csv")


def test_bad_input_is_refused_in_a_sentence():
    cells = make_cells(60)
    few_genes = cells[:, :10].copy()
    few_genes.var_names = ["CD3D", "LYZ", "MS4A1", "NKG7", "GNLY", "CD8A", "CST3", "PPBP", "FCN1", "IL7R"]
    with pytest.raises(GeneError, match="At least 20 are needed"):
        find_gene_modules(align_genes(few_genes, genes=list(few_genes.var_names)))
    with pytest.raises(DatasetError, match="At least 30"):
        find_gene_modules(align_genes(make_cells(12)))
    with pytest.raises(OptionError, match="needs a model"):
        find_gene_modules(align_genes(cells), view="model")
    for names in (["NOSUCH", "CD33X"], ["NOSUCH,CD33X"]):
        with pytest.raises(GeneError, match="None of the 2 genes of your list"):
            find_gene_modules(align_genes(cells), genes=names)
    given = {"dataset": "cells.h5ad", "checkpoint": "model"}
    with pytest.raises(OptionError, match="At most 5,000 genes"):
        read_options(GeneModulesOptions, given | {"n_genes": 30_000})
    with pytest.raises(OptionError, match="A list of genes is needed"):
        read_options(GeneModulesOptions, given | {"choice": "own"})


def test_small_groups_are_taken_together_and_groups_of_one_cell_refused():
    obs = pd.DataFrame({"type": ["a"] * 30 + ["b"] * 3, "cell": [f"c{i}" for i in range(33)]})
    labels, notes = read_groups(obs, "type")
    assert set(labels) == {"a", "other cells"} and "b (3)" in notes[0]
    with pytest.raises(OptionError, match="the largest with 1 cells"):
        read_groups(obs, "cell")
    with pytest.raises(OptionError, match="no column 'no'"):
        read_groups(obs, "no")


def test_without_a_transcription_factor_there_are_modules_and_no_network():
    cells = make_cells(80, depth=3000.0)
    kept = [name for name in cells.var_names if name not in transcription_factors()]
    found = find_gene_modules(align_genes(cells[:, kept].copy()), n_genes=100)
    assert not len(found.network) and any("no regulators" in note for note in found.notes)
    graph = infer_network(align_genes(cells[:, kept].copy()), n_genes=60)
    assert graph.number_of_edges() == 0


def test_the_task_reads_contexts_with_the_model_and_goes_on_after_an_interruption(tmp_path):
    from scfviz.errors import Stopped
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.run import compute
    from scfviz.tasks.steps import Steps

    make_cells(60, depth=3000.0).write_h5ad(tmp_path / "cells.h5ad")
    task = get_task("gene_modules")
    given = {"dataset": str(tmp_path / "cells.h5ad"), "checkpoint": str(save_tiny_checkpoint(tmp_path / "tiny"))}
    options = read_options(GeneModulesOptions, given | {"n_genes": 60, "most_cells": 40, "group_by": "cell_type"})
    (tmp_path / "work").mkdir()
    asked = []
    stop = Steps(tmp_path / "work", should_stop=lambda: asked.append(0) or len(asked) > 12)
    with pytest.raises(Stopped):
        compute(task, options, stop)
    result = compute(task, options, Steps(tmp_path / "work"))
    assert result.tables["views"]["view"].tolist() == ["model", "coexpression"]
    assert result.tables["views"]["weight"].sum() == pytest.approx(1)
    assert {"model_gain", "model_gain_low", "weight_model"} <= set(result.scores)
    n_modules = len(result.tables["modules"])
    assert result.arrays["module_scores"].shape == (60, n_modules) and "gene_module_1" in result.cells
    assert any("The model read" in note for note in result.notes)
    assert result.tables["genes"]["spread"].notna().all()


@pytest.mark.slow
def test_blood_has_t_cell_b_cell_monocyte_and_cytotoxic_modules_with_their_markers(shared):
    """Real cells: each kind's markers lie together, in a module of their own."""
    from scfviz.data.open import open_dataset

    opened = open_dataset(shared / "data" / "evaluation" / "pbmc3k.h5ad")
    cells = opened.counts.subset(np.arange(0, opened.n_obs, 2))
    markers = {
        "T cell": ["CD3D", "CD3E", "IL7R", "LTB", "IL32"],
        "B cell": ["CD79A", "CD79B", "MS4A1", "TCL1A"],
        "monocyte": ["LYZ", "S100A8", "S100A9", "CST3", "FCN1"],
        "cytotoxic": ["NKG7", "GZMB", "PRF1", "GNLY", "CST7"],
    }
    asked = [gene for genes in markers.values() for gene in genes]
    found = find_gene_modules(cells, genes=asked, n_genes=400, trees=False)
    module = found.genes.set_index("gene")["module"]
    most = {name: module[[gene for gene in genes if gene in module]].mode()[0] for name, genes in markers.items()}
    assert len(set(most.values())) == 4 and min(most.values()) > 0, most
    for name, genes in markers.items():
        assert (module[genes] == most[name]).mean() >= 0.75, (name, module[genes])
    assert any(found.meaning.names.values()), "some module means more than random genes do"
