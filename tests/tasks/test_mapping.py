"""Mapping onto a reference: the indices are right, order and pieces change nothing, the reference's picture stays."""

import json

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from small_cells import GROUPS, make_cells, save_tiny_checkpoint

import scfviz
from scfviz.__main__ import main
from scfviz.data import matrix
from scfviz.data.align import align_genes
from scfviz.errors import DatasetError, GeneError, OptionError
from scfviz.tasks.mapping import (
    balanced,
    compute,
    harmony,
    integrate,
    labels,
    lisi,
    neighbors,
    novelty,
    power,
    profiles,
    scores,
    search,
    spaces,
)
from scfviz.tasks.mapping.labels import NO_COUNTERPART, read_labels
from scfviz.tasks.mapping.options import MappingOptions
from scfviz.tasks.spec import read_options

N_REFERENCE, N_QUERY = 150, 60


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(checkpoint):
    from scfviz.model.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def both():
    """A query and a reference of the same three groups, the reference with a map of its own."""
    cells = make_cells(N_REFERENCE + N_QUERY, depth=3000.0)
    query, reference = cells[N_REFERENCE:].copy(), cells[:N_REFERENCE].copy()
    place = {name: at for name, at in zip(GROUPS, [(0, 0), (10, 0), (0, 10)], strict=True)}
    noise = np.random.default_rng(0).normal(size=(N_REFERENCE, 2))
    reference.obsm["X_umap"] = np.array([place[name] for name in reference.obs["cell_type"]]) + noise
    return query, reference


@pytest.fixture(scope="module")
def found(both, model):
    query, reference = both
    return map_them(query, reference, model)


def map_them(query, reference, model, **options):
    picture = np.asarray(reference.obsm["X_umap"])
    return scfviz.map_cells(align_genes(query), align_genes(reference), model, picture=picture, **options)


def test_lisi_of_hand_made_cases():
    line = np.arange(200.0)[:, None]
    apart = np.concatenate([line, line + 1e6])
    batches = np.repeat([0, 1], 200)
    np.testing.assert_allclose(lisi.mixing_of(apart, batches), 1.0)
    mixed = np.random.default_rng(0).normal(size=(600, 2))
    assert np.median(lisi.mixing_of(mixed, np.arange(600) % 2)) == pytest.approx(2.0, abs=0.08)
    assert np.median(lisi.mixing_of(mixed, np.arange(600) % 3)) == pytest.approx(2.9, abs=0.15)
    equal = lisi.compute_lisi(np.ones((1, 90)), np.arange(90)[None] % 3)
    np.testing.assert_allclose(equal, 3.0, rtol=1e-6)
    assert np.isnan(lisi.compute_lisi(np.empty((1, 0)), np.empty((1, 0), int))).all()
    assert lisi.scale_ilisi(2.0, 2) == 1 and lisi.scale_ilisi(1.0, 2) == 0
    assert lisi.scale_clisi(1.0, 5) == 1 and lisi.scale_clisi(5.0, 5) == 0


def test_lisi_weighs_neighbours_to_the_wanted_perplexity():
    distances = np.sort(np.random.default_rng(0).random((5, 90)), axis=1)
    weights = lisi._weigh(distances, np.log(30.0))
    np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 30.0, rtol=1e-4)


def test_mixing_is_scored_within_shared_types_whatever_their_shares():
    rng = np.random.default_rng(0)
    types = np.repeat(["a", "b", "c"], [400, 300, 100])
    points = rng.normal(size=(800, 3)) + 50 * np.array([ord(t) for t in types])[:, None]
    batches = rng.random(800) < 0.2  # one batch is four times the other
    batches[types == "c"] = True  # and one type is in one batch alone
    score = lisi.score_mixing(points, batches, types)
    assert score["n_shared_types"] == 2 and score["clisi"] == pytest.approx(1.0)
    assert score["ilisi"] == pytest.approx(0.93, abs=0.1)


def test_neighbours_are_exact_and_do_not_depend_on_order_or_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    points, cells = rng.normal(size=(300, 20)), rng.normal(size=(50, 20))
    distances = np.sqrt(((cells[:, None] - points[None]) ** 2).sum(axis=2))
    numbers, found = neighbors.NeighborSearch(points).nearest(cells, 7)
    np.testing.assert_array_equal(numbers, np.argsort(distances, axis=1)[:, :7])
    monkeypatch.setattr(neighbors, "_ROWS", 7)
    order = rng.permutation(50)
    again = neighbors.NeighborSearch(points).nearest(cells[order], 7)
    np.testing.assert_array_equal(again[0], numbers[order])
    np.testing.assert_array_equal(again[1], found[order])
    own = neighbors.NeighborSearch(points).nearest(points, 3, own=np.arange(300))[0]
    assert (own != np.arange(300)[:, None]).all()
    assert neighbors.NeighborSearch(points[:4]).nearest(points[:4], 9, own=np.arange(4))[0].shape == (4, 3)
    chosen = neighbors.spread_sample(points, 40)
    moved = rng.permutation(300)
    assert set(moved[neighbors.spread_sample(points[moved], 40)]) == set(chosen)


def test_one_shift_is_found_and_few_pairs_give_less_of_it():
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(4, 10))
    reference = centres[rng.integers(4, size=400)] + rng.normal(size=(400, 10))
    true = np.r_[1.5, np.zeros(9)]
    query = centres[rng.integers(3, size=200)] + rng.normal(size=(200, 10)) + true
    shift = spaces.find_shift(reference, query)
    assert np.linalg.norm(shift.vector - true) < 0.5 and shift.n_pairs > 50
    few = spaces.find_shift(reference, query[:5])
    assert np.linalg.norm(few.vector) < 0.6 * np.linalg.norm(true)


def two_platforms(seed=0):
    """Six types in a reference; the same and a seventh on a platform that catches each gene differently."""
    rng = np.random.default_rng(seed)
    types = rng.gamma(0.5, 1.0, (7, 800)) + 0.02
    caught = rng.lognormal(0, 0.5, 800)
    of_reference, of_query = np.repeat(np.arange(6), 60), np.repeat(np.arange(7), 20)

    def draw(shares):
        return sparse.csr_matrix(rng.poisson(1500 * shares / shares.sum(axis=1, keepdims=True)))

    near = np.minimum(of_query, 5)  # the seventh lies nearest to the sixth
    neighbours = 60 * near[:, None] + rng.integers(0, 60, (140, 15))
    query = power._InMemory(draw(types[of_query] * caught))
    return query, power._InMemory(draw(types[of_reference])), neighbours, of_query, near


def test_a_cluster_is_like_its_neighbours_whatever_the_platform_and_unlike_those_of_another_type():
    """By distance, other platforms were new and other tissues were not."""
    query, reference, neighbours, groups, near = two_platforms()
    found = profiles.compare_groups(query, reference, neighbours, groups, near)
    assert min(found[name].value for name in "012345") > 2 * novelty.UNLIKE > 2 * found["6"].value
    assert all(one.is_among_types for one in found.values())
    order = np.random.default_rng(1).permutation(140)
    shuffled = power._InMemory(query.counts[order])
    again = profiles.compare_groups(shuffled, reference, neighbours[order], groups[order], near[order])
    assert all(again[name].value == pytest.approx(found[name].value, abs=1e-9) for name in found)


def test_nobody_can_tell_of_few_cells_or_of_groups_that_do_not_differ():
    query, reference, neighbours, groups, near = two_platforms()
    of_one = profiles.compare_groups(query, reference, neighbours, np.zeros(140), near)
    assert np.isnan(of_one["0.0"].value)
    few = np.where(np.arange(140) < 5, "few", groups.astype(str))
    assert np.isnan(profiles.compare_groups(query, reference, neighbours, few, near)["few"].value)
    halves = np.where(groups == 0, np.arange(140) % 2, 2)  # of one type, by chance
    alone = profiles.compare_groups(query, reference, neighbours, halves, np.zeros(140))
    assert not alone["0"].is_among_types


def test_the_distance_of_a_platform_is_taken_out_where_clusters_fit():
    rng = np.random.default_rng(0)
    own = rng.normal(0, 0.2, 500)
    scores, likeness = rng.normal(0.5, 0.2, 200), np.full(200, 0.8)
    platform, typical = novelty.typical_fit(scores, likeness, own)
    assert platform == pytest.approx(0.5, abs=0.05) and typical == 0.8
    assert novelty.typical_fit(scores, np.full(200, 0.1), own)[0] == 0.0, "another tissue is no platform"
    assert novelty.typical_fit(scores - 1, likeness, own)[0] == 0.0


def test_cells_get_their_label_and_lie_in_their_island(both, found):
    query, reference = both
    truth = query.obs["cell_type"].to_numpy().astype(str)
    assert (found.nearest == truth).mean() > 0.95 and found.names == tuple(sorted(GROUPS, key=str.casefold))
    assert (found.label == NO_COUNTERPART).mean() < 0.15
    for name in GROUPS:
        middle = reference.obsm["X_umap"][(reference.obs["cell_type"] == name).to_numpy()].mean(axis=0)
        assert np.linalg.norm(found.umap[truth == name].mean(axis=0) - middle) < 1.5
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert ((found.p_value > 0) & (found.p_value <= 1)).all()


def test_order_and_pieces_of_the_query_change_nothing(both, model, found, monkeypatch):
    query, reference = both
    order = np.random.default_rng(1).permutation(N_QUERY)
    monkeypatch.setattr(compute, "_ROWS", 13)
    monkeypatch.setattr(matrix, "block_rows", lambda *_: 7)
    again = map_them(query[order].copy(), reference, model)
    assert (again.label == found.label[order]).all()
    np.testing.assert_allclose(again.probability, found.probability[order], atol=1e-4)
    np.testing.assert_allclose(again.distance, found.distance[order], rtol=1e-3)
    np.testing.assert_allclose(again.umap, found.umap[order], atol=0.1)


def test_a_type_that_the_reference_lacks_is_noticed(both, model):
    query, reference = both
    known = reference[reference.obs["cell_type"] != "monocyte"].copy()
    mapped = map_them(query, known, model)
    new = (query.obs["cell_type"] == "monocyte").to_numpy()
    assert (mapped.label[new] == NO_COUNTERPART).mean() > 0.8 > 0.3 > (mapped.label[~new] == NO_COUNTERPART).mean()
    table = scores.summarise_clusters(query.obs["cell_type"].to_numpy().astype(str), mapped, 0.05).set_index("cluster")
    assert table.loc["monocyte", "relative_distance"] > 1.2 > table.loc["T cell", "relative_distance"]
    assert table.loc["monocyte", "has_no_counterpart"] and not table.loc["T cell", "has_no_counterpart"]


def test_ten_cells_and_one_cell_are_mapped(both, model):
    query, reference = both
    for n_cells in (1, 10):
        mapped = map_them(query[:n_cells].copy(), reference, model)
        assert (mapped.nearest == query.obs["cell_type"].to_numpy()[:n_cells].astype(str)).mean() >= 0.9
        assert np.isfinite(mapped.umap).all()


def test_a_query_a_hundred_times_larger_than_the_reference_is_mapped():
    cells = make_cells(2_030, depth=2000.0)
    query, reference = (align_genes(cells[rows].copy()) for rows in (slice(30, 2_030), slice(0, 20)))
    pair = compute.pair_cells(query, reference, read_labels(reference.obs))
    nothing = [np.zeros((n_cells, 4), dtype=np.float32) for n_cells in (20, 2_000)]  # a model that sees nothing
    fitted = compute.fit_reference(pair, nothing[0], n_neighbors=5)
    mapped = compute.map_points(fitted, fitted.spaces.project(query, nothing[1]), np.zeros((20, 2)))
    assert (mapped.nearest == query.obs["cell_type"].to_numpy().astype(str)).mean() > 0.9
    assert fitted.used["model"] < 0.1 and np.isfinite(mapped.distance).all()
    assert scores.mixing_with_reference(fitted, mapped).shape == (2_000,)


def test_cells_without_counts_on_the_common_genes_have_no_numbers(both, model):
    query, reference = both
    query, kept = query.copy(), reference[:, : reference.n_vars - 100].copy()
    dense = query.X.toarray()
    dense[3, : kept.n_vars] = 0
    query.X = dense
    mapped = map_them(query, kept, model)
    assert np.isnan(mapped.distance[3]) and mapped.label[3] == NO_COUNTERPART and mapped.nearest[3] is None
    assert np.isfinite(np.delete(mapped.distance, 3)).all()


def test_every_space_can_be_chosen_and_no_other(both, model):
    query, reference = both
    for space in ("pca", "model", "both"):
        assert len(map_them(query[:5].copy(), reference, model, space=space).label) == 5
    with pytest.raises(OptionError, match="no space 'umap'"):
        map_them(query, reference, model, space="umap")


def test_a_place_is_where_most_neighbours_lie_not_between_islands():
    picture = np.array([[0.0, 0], [1, 0], [0, 1], [100, 100], [np.nan, np.nan]])
    look = search.Look(np.ones((1, 1)), np.zeros(1), np.arange(5)[None], np.full((1, 5), 0.2))
    placed = search.place_cells(look, picture)[0]
    assert (placed <= 1).all() and (placed >= 0).all()
    lost = search.Look(np.ones((1, 1)), np.zeros(1), np.array([[4, 4]]), np.full((1, 2), 0.5))
    assert np.isnan(search.place_cells(lost, picture)).all()


def test_power_says_which_missing_type_would_be_noticed_and_from_how_many_cells(both, model):
    query, reference = (align_genes(cells) for cells in both)
    pair = compute.pair_cells(query, reference, read_labels(reference.obs))
    embedding = (
        np.random.default_rng(0).normal(size=(N_REFERENCE, 8)).astype(np.float32)
    )  # of a model that sees nothing
    fitted = compute.fit_reference(pair, embedding, space="pca")
    table = power.measure_power(pair, embedding, fitted).set_index("label")
    assert set(table.index) == set(GROUPS) and (table["auroc"] > 0.9).all()
    assert (table["auroc_pca"] == table["auroc"]).all() and (abs(table["auroc_model"] - 0.5) < 0.2).all()
    assert all(table.loc[name, "taken_for"] in set(GROUPS) - {name} for name in GROUPS)
    size, n_noticed = power.missing_type_size(table)
    assert size <= 20 and n_noticed == 3
    assert (table["detected_by_both"] > 0.8).all() and (table["false_by_both"] < 0.2).all()


@pytest.mark.parametrize(("limit", "is_said"), [(100, False), (10_000, True)])
def test_few_common_genes_are_said_to_hide_another_tissue(both, monkeypatch, limit, is_said):
    monkeypatch.setattr(compute, "FEW_FOR_LIKENESS", limit)
    query, reference = (align_genes(cells) for cells in both)
    notes = compute.pair_cells(query, reference, read_labels(reference.obs)).notes
    assert any("another tissue can look like the right one" in note for note in notes) == is_said


def test_the_size_from_which_a_type_is_noticed_follows_from_two_shares():
    from scipy.stats import binom

    sizes = [power.noticed_from(detected, 0.05) for detected in (1.0, 0.5, 0.2, 0.1)]
    assert sizes == sorted(sizes) and sizes[0] == 2 and sizes[-1] > 100
    needed = binom.isf(0.01, sizes[1], 0.05) + 1
    assert binom.sf(needed - 1, sizes[1], 0.5) >= 0.8 and binom.sf(needed - 1, sizes[1], 0.05) <= 0.01
    assert power.noticed_from(0.05, 0.05) is None and power.noticed_from(0.0, 0.05) is None


def test_distances_of_cells_like_the_reference_keep_the_false_rate(both):
    """Cells that helped to learn a space lie farther out in it: judged by them, nothing was ever new."""
    rng = np.random.default_rng(0)
    cells = make_cells(600, depth=600.0, seed=3)
    query, reference = (align_genes(cells[rows].copy()) for rows in (slice(0, 300), slice(300, 600)))
    pair = compute.pair_cells(query, reference, read_labels(reference.obs))
    nothing = [rng.normal(size=(300, 4)).astype(np.float32) for _ in range(2)]
    fitted = compute.fit_reference(pair, nothing[0], space="pca")
    mapped = compute.map_points(
        fitted, fitted.spaces.project(pair.query, nothing[1]), np.zeros((300, 2)), correction="none"
    )
    assert 0.02 < (mapped.p_value < 0.05).mean() < 0.1


def test_exchanged_genes_keep_depth_and_sparsity(both):
    counts = next(align_genes(both[0]).blocks())[1]
    moved = power.exchange_genes(counts)
    assert (moved.sum(axis=1) == counts.sum(axis=1)).all() and moved.nnz == counts.nnz
    assert (moved != counts).nnz > counts.nnz / 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda obs: obs.drop(columns="cell_type"), OptionError, "no column 'cell_type'"),
        (lambda obs: obs.assign(cell_type="T cell"), OptionError, "the label 'T cell' only"),
        (lambda obs: obs.assign(cell_type=np.nan), OptionError, "no label|numbers"),
        (lambda obs: obs.assign(cell_type=np.arange(len(obs)) / 3), OptionError, "holds numbers"),
        (lambda obs: obs.assign(cell_type=obs.index), OptionError, "different labels for 150 cells"),
    ],
)
def test_columns_that_hold_no_labels_are_refused_in_words(both, change, error, words):
    with pytest.raises(error, match=words):
        read_labels(change(both[1].obs.copy()), "cell_type")


def test_a_column_of_labels_is_found_and_missing_labels_are_a_group(both):
    obs = both[1].obs.copy()
    assert read_labels(obs).column == "cell_type"
    obs["cell_type"] = obs["cell_type"].astype(object).where(np.arange(len(obs)) > 5, None)
    assert read_labels(obs).names == (*sorted(GROUPS, key=str.casefold), "missing")
    with pytest.raises(DatasetError, match="no column of labels"):
        labels.find_column(obs[["age"]])


def test_datasets_that_cannot_be_compared_are_refused_in_words(both, model):
    query, reference = both
    with pytest.raises(GeneError, match="0 genes of the model in common"):
        map_them(query[:, :200].copy(), reference[:, 200:].copy(), model)
    with pytest.raises(DatasetError, match="reference has 5 cells"):
        map_them(query, reference[[*range(5)]].copy(), model, column="cell_type")


@pytest.fixture(scope="module")
def files(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / "query.h5ad", folder / "reference.h5ad"]
    for cells, path in zip(both, paths, strict=True):
        cells.write_h5ad(path)
    return paths


def test_the_command_writes_labels_distance_and_place(files, checkpoint, tmp_path, capsys):
    query, reference = files
    out = tmp_path / "out.h5ad"
    given = ["map", str(query), str(out), "--reference", str(reference), "--checkpoint", str(checkpoint), "--json"]
    assert main(given) == 0
    report = json.loads(capsys.readouterr().out)
    written = ad.read_h5ad(out)
    assert (written.obs["mapped_nearest"] == written.obs["cell_type"].astype(str)).mean() > 0.95
    assert written.obsm["X_umap_reference"].shape == (N_QUERY, 2) and written.obs["mapped_distance"].notna().all()
    about = report["provenance"]
    assert about["provenance"]["reference"] == "reference.h5ad" and about["provenance"]["common_genes"] > 300
    assert about["provenance"]["reference_picture"] == "X_umap" and report["scores"]["transfer_f1"] > 0.95
    assert main([*given[:2], str(tmp_path / "b.h5ad"), "--checkpoint", str(checkpoint)]) == 2
    assert "No reference was given" in capsys.readouterr().err
    assert main([*given[:2], str(tmp_path / "b.h5ad"), "--reference", str(query), "--checkpoint", str(checkpoint)]) == 2
    assert "same data as the query" in capsys.readouterr().err


def test_the_picture_of_the_reference_is_the_same_whatever_is_mapped(files, both, checkpoint, tmp_path):
    both[0][:10, :300].copy().write_h5ad(tmp_path / "few.h5ad")
    given = {"reference": files[1], "checkpoint": checkpoint}
    results = [scfviz.run_task("mapping", dataset=path, **given) for path in (files[0], tmp_path / "few.h5ad")]
    for result in results:
        np.testing.assert_array_equal(result.arrays["reference_map"], both[1].obsm["X_umap"].astype(np.float32))
    assert list(results[0].tables) == list(results[1].tables) and len(results[1].cells) == 10
    assert results[0].tables["flow"]["n_cells"].sum() == N_QUERY


def test_a_tiny_reference_says_what_it_cannot_say(files, both, checkpoint, tmp_path):
    both[1][:16].copy().write_h5ad(tmp_path / "tiny.h5ad")
    result = scfviz.run_task("mapping", dataset=files[0], reference=tmp_path / "tiny.h5ad", checkpoint=checkpoint)
    assert "With 16 cells in the reference no cell can be called" in " ".join(result.notes)
    assert (result.cells["mapped_label"] != NO_COUNTERPART).all()


def test_a_copy_of_the_query_is_no_reference_and_normalised_values_are_refused(files, checkpoint, tmp_path):
    (tmp_path / "copy.h5ad").write_bytes(files[0].read_bytes())
    with pytest.raises(OptionError, match="same data as the query"):
        scfviz.run_task("mapping", dataset=files[0], reference=tmp_path / "copy.h5ad", checkpoint=checkpoint)
    normal = ad.read_h5ad(files[1])
    normal.X = np.random.default_rng(0).normal(size=normal.shape)
    normal.write_h5ad(tmp_path / "normal.h5ad")
    with pytest.raises(DatasetError, match="The reference: "):
        scfviz.run_task("mapping", dataset=files[0], reference=tmp_path / "normal.h5ad", checkpoint=checkpoint)


@pytest.fixture(scope="module")
def batched(both):
    """Two batches of the same groups; in the second, a tenth of the genes is caught six times as often."""
    cells = both[1].copy()
    cells.obs["batch"] = np.where(np.arange(N_REFERENCE) < 90, "v2", "v3")
    counts = cells.X.toarray()
    counts[90:, 7::10] *= 6
    cells.X = counts.astype(np.float32)
    return cells


def test_batches_mix_after_one_shift_each_and_types_stay_apart(batched, model):
    aligned = align_genes(batched)
    found = integrate.integrate_batches(aligned, model, "batch")
    table = integrate.score_integration(found, batched.obs["cell_type"].to_numpy().astype(str))
    table = table.set_index(["space", "batches"])
    before, after = (table.loc["pca", stage] for stage in ("as it is", "one shift a batch"))
    assert before["ilisi"] < 0.4 and after["ilisi"] > before["ilisi"] + 0.3
    assert after["clisi"] > 0.9 and after["n_shared_types"] == 3
    graph = table.loc["graph", balanced.STAGE]
    assert not graph["ilisi"] > -1 and 0 <= graph["clisi"] <= 1
    assert ((found.mixing >= -1e-9) & (found.mixing <= 1 + 1e-9)).all() and found.n_pairs["v3"] > 50
    np.testing.assert_array_equal(found.after.pca[:90], found.before.pca[:90])


def test_balanced_neighbours_are_the_nearest_of_every_batch(batched):
    rng = np.random.default_rng(0)
    points, batches = rng.normal(size=(50, 4)), np.repeat(["a", "b"], [30, 20])
    numbers, distances = balanced.balanced_neighbors(points, batches)
    assert (np.diff(distances, axis=1) >= 0).all() and not (numbers == np.arange(50)[:, None]).any()
    far = np.linalg.norm(points[:, None] - points, axis=2) + np.where(np.eye(50) > 0, np.inf, 0)
    for cell in (0, 44):
        for batch in ("a", "b"):
            mine = np.flatnonzero(batches == batch)
            expected = mine[np.argsort(far[cell, mine])[:3]]
            assert set(expected) == set(numbers[cell][batches[numbers[cell]] == batch])
    apart = points + 50 * (np.arange(50) % 2)[:, None]
    assert balanced.balanced_purity(apart, batches, np.arange(50) % 2) > balanced.balanced_purity(
        points, batches, np.arange(50) % 2
    )


@pytest.mark.parametrize("correction", ["clusters", "harmony"])
def test_corrections_by_cluster_mix_batches_as_well(batched, model, correction):
    found = integrate.integrate_batches(align_genes(batched), model, "batch", correction=correction)
    table = integrate.score_integration(found, batched.obs["cell_type"].to_numpy()).set_index(["space", "batches"])
    before, after = (table.loc["pca", stage] for stage in ("as it is", integrate.STAGES[correction]))
    assert after["ilisi"] > before["ilisi"] + 0.2 and after["clisi"] > 0.8


def test_each_soft_cluster_has_its_own_shift_and_the_reference_stays():
    """One vector for all cells cannot take out a shift that differs between types."""
    rng = np.random.default_rng(0)
    centres, shifts = 6 * np.eye(3, 8), rng.normal(size=(3, 8))
    own, other = np.repeat([0, 1, 2], 60), np.repeat([0, 1, 2], 40)
    reference = centres[own] + 0.3 * rng.normal(size=(180, 8))
    query = centres[other] + shifts[other] + 0.3 * rng.normal(size=(120, 8))
    kept = reference.copy()
    corrected = harmony.shift_by_clusters(reference, query)
    np.testing.assert_array_equal(reference, kept)
    for name in range(3):
        away = [np.linalg.norm(part[other == name].mean(axis=0) - centres[name]) for part in (query, corrected)]
        assert away[1] < 0.3 * away[0]


def test_harmony_is_refused_where_it_is_not_installed_and_for_a_picture_that_stays(monkeypatch):
    monkeypatch.setattr(harmony, "is_installed", lambda: False)
    for options, words in (
        ({"batch": "sample"}, "not installed"),
        ({"reference": "r.h5ad"}, "picture would not stay"),
        ({"batch": "sample", "correction": "none"}, "No correction"),
    ):
        with pytest.raises(OptionError, match=words):
            read_options(MappingOptions, {"dataset": "q.h5ad", "correction": "harmony"} | options)


def test_caveats_say_what_would_pass_unnoticed():
    from scfviz.tasks.mapping import reporting
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.reporting import Answered
    from scfviz.tasks.result import Result

    report = {"options": {"correction": "shift"}, "checkpoint": None}
    weak = {"n_labels_left_out": 9, "n_labels_noticed": 2, "control_no_counterpart": 0.4}
    good = {"n_labels_left_out": 9, "n_labels_noticed": 9, "noticed_from": 12, "control_no_counterpart": 0.95}
    said = [
        reporting.caveats(Answered(get_task("mapping"), Result(np.arange(1), None, scores=found, report=report)))
        for found in (weak, good)
    ]
    assert len(said[0]) == 2 and "only 2 were noticed" in said[0][0] and "40%" in said[0][1] and said[1] == ()


def test_an_integration_is_a_task_of_one_dataset(batched, checkpoint, tmp_path):
    batched.write_h5ad(tmp_path / "batches.h5ad")
    result = scfviz.run_task("mapping", dataset=tmp_path / "batches.h5ad", batch="batch", checkpoint=checkpoint)
    assert result.arrays["umap_integrated"].shape == (N_REFERENCE, 2) and len(result.tables["spaces"]) == 7
    assert set(result.cells) == {"mapped_mixing", "mapped_cluster"} and "cell_type" in result.notes[0]


@pytest.mark.parametrize(
    ("column", "error", "words"),
    [
        ("none", OptionError, "no column"),
        ("sample", OptionError, "1 different values"),
        ("age", OptionError, "150 different values"),
        ("odd", DatasetError, "fewer than 10 cells"),
    ],
)
def test_columns_that_hold_no_batches_are_refused_in_words(batched, column, error, words):
    obs = batched.obs.assign(odd=np.where(np.arange(N_REFERENCE) < 3, "a", "b"))
    with pytest.raises(error, match=words):
        integrate.read_batches(obs, column)
