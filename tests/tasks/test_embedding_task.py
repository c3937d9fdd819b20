"""Baseline, maps, clusters, scores: right against scanpy and scikit-learn, the same every time, for few cells too."""

import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from small_cells import give_cell_space, make_cells, save_tiny_checkpoint

from scfviz.analysis.metrics import choose_labels, score_agreement
from scfviz.data import matrix
from scfviz.data.align import align_genes
from scfviz.data.open import open_dataset
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.embedding import compute as task
from scfviz.tasks.embedding import sampled
from scfviz.tasks.embedding.compute import (
    JointEmbedding,
    build_map,
    cluster_cells,
    cluster_map,
    embed_baseline,
    join_embeddings,
)
from scfviz.tasks.embedding.neighbors import neighbor_search
from scfviz.tasks.embedding.sampled import choose_sample, laid_out_in, score_fidelity

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cells():
    return make_cells(150)


@pytest.fixture(scope="module")
def aligned(cells):
    return align_genes(cells)


@pytest.fixture(scope="module")
def baseline(aligned):
    return embed_baseline(aligned, n_top_genes=200, n_comps=20)


@pytest.fixture(scope="module")
def baseline_map(baseline):
    return build_map(baseline)


def test_baseline_is_what_scanpy_gives_step_by_step(cells, baseline):
    import scanpy as sc

    adata = cells.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=200)
    sc.pp.pca(adata, n_comps=20, mask_var="highly_variable", svd_solver="arpack", random_state=0)
    expected = adata.obsm["X_pca"]
    signs = np.sign((expected * baseline).sum(axis=0))
    assert baseline.dtype == np.float32 and baseline.shape == (150, 20)
    np.testing.assert_allclose(baseline * signs, expected, atol=2e-3)


def test_baseline_does_not_depend_on_reading_in_pieces(cells, baseline, monkeypatch):
    monkeypatch.setattr(matrix, "block_rows", lambda *_: 7)
    np.testing.assert_allclose(embed_baseline(align_genes(cells), n_top_genes=200, n_comps=20), baseline, atol=1e-5)


def test_variable_genes_of_many_cells_are_chosen_on_a_sample_but_all_cells_are_embedded(aligned, monkeypatch):
    monkeypatch.setattr(task, "MAX_CELLS_FOR_GENES", 60)
    values = embed_baseline(aligned, n_top_genes=200, n_comps=5)
    assert values.shape == (150, 5)
    np.testing.assert_array_equal(values, embed_baseline(aligned, n_top_genes=200, n_comps=5))


def test_baseline_and_map_are_the_same_every_time(aligned, baseline, baseline_map):
    np.testing.assert_array_equal(embed_baseline(aligned, n_top_genes=200, n_comps=20), baseline)
    again = build_map(baseline)
    np.testing.assert_array_equal(again.umap, baseline_map.umap)
    np.testing.assert_array_equal(again.clusters, baseline_map.clusters)


def test_tasks_leave_their_input_alone(cells, aligned, baseline):
    before, obs = cells.X.copy(), cells.obs.copy()
    values = baseline.copy()
    embed_baseline(aligned, n_top_genes=100, n_comps=3)
    build_map(values)
    np.testing.assert_array_equal(values, baseline)
    assert (cells.X != before).nnz == 0
    pd.testing.assert_frame_equal(cells.obs, obs)


def test_map_finds_the_groups(cells, baseline, baseline_map):
    agreement = score_agreement(baseline, baseline_map.clusters, cells.obs["cell_type"])
    assert agreement.ari > 0.8 and agreement.nmi > 0.8 and agreement.silhouette > 0.1
    assert baseline_map.notes == ()


def test_clusters_at_another_resolution_come_from_the_saved_neighbours(baseline_map):
    np.testing.assert_array_equal(cluster_cells(baseline_map.neighbors, resolution=1.0), baseline_map.clusters)
    counts = [len(set(cluster_cells(baseline_map.neighbors, resolution=r))) for r in (0.1, 1.0, 5.0)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    sizes = pd.Series(baseline_map.clusters).value_counts()
    assert list(sizes.index) == sorted(sizes.index, key=int), "'0' is the largest"


def test_clusters_are_numbered_from_the_largest():
    """The cluster of the first cell was "0", however small."""
    blocks = sparse.block_diag([np.ones((n, n), np.float32) for n in (8, 30, 15)], format="csr")
    assert cluster_cells(blocks).tolist() == ["2"] * 8 + ["0"] * 30 + ["1"] * 15


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf")])
def test_senseless_resolution_is_refused(baseline_map, resolution):
    with pytest.raises(OptionError, match="resolution"):
        cluster_cells(baseline_map.neighbors, resolution=resolution)


@pytest.mark.parametrize("n_obs", [1, 2, 3, 4, 5, 20])
def test_few_cells_give_what_can_be_computed_and_the_reason_for_the_rest(cells, n_obs):
    few = align_genes(cells[:n_obs].copy())
    values = embed_baseline(few)
    assert values.shape[0] == n_obs and np.isfinite(values).all()
    drawn = build_map(values)
    assert drawn.umap.shape == (n_obs, 2) and drawn.clusters.shape == (n_obs,)
    assert drawn.neighbors.shape == (n_obs, n_obs)
    assert np.isfinite(drawn.umap).all() == (n_obs >= 3)
    assert bool(drawn.notes) == (n_obs < 16)
    score = score_agreement(values, drawn.clusters, cells.obs["cell_type"][:n_obs])
    assert score.silhouette is not None or score.notes


def test_identical_cells_are_said_to_be_identical():
    drawn = build_map(np.ones((40, 8)))
    assert np.isfinite(drawn.umap).all() and "same embedding" in drawn.notes[0]
    cells = make_cells(5)
    cells.X = sparse.vstack([cells.X[0]] * 5, format="csr")
    with pytest.raises(DatasetError, match="None of the .* genes differs"):
        embed_baseline(align_genes(cells))


def test_embedding_with_nan_is_refused_with_the_first_cell():
    values = np.ones((30, 4))
    values[7, 2] = np.nan
    with pytest.raises(DatasetError, match="first is cell 7"):
        build_map(values)


def test_cell_without_counts_is_named(cells):
    empty = cells.copy()
    keep = np.ones((empty.n_obs, 1))
    keep[[4, 9]] = 0
    empty.X = sparse.csr_matrix(empty.X.multiply(keep))
    empty.X.eliminate_zeros()
    with pytest.raises(DatasetError, match="2 cells have no counts.*'cell4'"):
        embed_baseline(align_genes(empty))


def test_scores_are_those_of_scikit_learn(cells, baseline):
    from sklearn import metrics

    clusters = np.random.default_rng(0).integers(4, size=150).astype(str)
    labels = cells.obs["cell_type"]
    got = score_agreement(baseline, clusters, labels)
    assert got.ari == metrics.adjusted_rand_score(labels, clusters)
    assert got.nmi == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters))
    assert got.silhouette == pytest.approx(metrics.silhouette_score(baseline, labels))
    assert abs(got.ari) < 0.1, "chance"
    same = score_agreement(baseline, np.asarray(labels), labels)
    assert same.ari == 1 and same.nmi == pytest.approx(1)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_cells_without_a_label_are_left_out_and_counted(cells, baseline, baseline_map, missing):
    labels = cells.obs["cell_type"].astype(object)
    labels.iloc[:50] = missing
    got = score_agreement(baseline, baseline_map.clusters, labels)
    rest = score_agreement(baseline[50:], baseline_map.clusters[50:], cells.obs["cell_type"][50:])
    assert (got.n, got.n_unlabelled) == (100, 50)
    assert (got.ari, got.nmi, got.silhouette) == (rest.ari, rest.nmi, rest.silhouette)


def test_what_has_no_score_is_none_with_the_reason(baseline, baseline_map):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (["a"] * 150, [None] * 150, ["a"] + [None] * 149):
            got = score_agreement(baseline, baseline_map.clusters, labels)
            assert (got.ari, got.nmi, got.silhouette, got.n_silhouette) == (None, None, None, 0)
            assert "at least two labels" in got.notes[0]
        each_its_own = score_agreement(baseline, baseline_map.clusters, [f"c{i}" for i in range(150)])
        assert each_its_own.silhouette is None and "label of its own" in each_its_own.notes[0]


def test_silhouette_of_many_cells_is_sampled_and_says_so(cells, baseline, baseline_map):
    got = score_agreement(baseline, baseline_map.clusters, cells.obs["cell_type"], max_silhouette_cells=60)
    assert got.n_silhouette == 60 and got.n == 150 and "60 of 150" in got.notes[0]
    whole = score_agreement(baseline, baseline_map.clusters, cells.obs["cell_type"])
    assert got.silhouette == pytest.approx(whole.silhouette, abs=0.1) and whole.notes == ()


def test_lengths_that_differ_are_refused(baseline, baseline_map):
    with pytest.raises(OptionError, match="149 labels"):
        score_agreement(baseline, baseline_map.clusters, ["a"] * 149)


def test_columns_of_labels_are_found_by_content():
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(list("aabb") * 30),
            "batch": ["x", "y", None, "x"] * 30,
            "doublet": [True, False] * 60,
            "n_counts": np.arange(120) % 3,
            "constant": "s",
            "barcode": [f"b{i}" for i in range(120)],
            "clone": [f"b{i // 2}" for i in range(118)] + [f"q{i}" for i in range(2)],
            "nothing": [None] * 120,
        }
    )
    chosen, left_out = choose_labels(obs, most=50)
    assert chosen == ["cell_type", "batch", "doublet"]
    assert set(left_out) == {"constant", "barcode", "clone", "nothing"}
    assert "same value" in left_out["constant"] and "no values" in left_out["nothing"]


# ---- both together


def test_the_joint_embedding_is_the_components_and_a_quarter_as_much_of_the_model(monkeypatch):
    rng = np.random.default_rng(0)
    components = rng.normal(size=(90, 6)).astype(np.float32) * [5, 3, 2, 1, 1, 1]
    seen = rng.normal(size=(90, 4)) @ rng.normal(size=(4, 40)) + 0.01 * rng.normal(size=(90, 40))
    joint = join_embeddings(components, seen)
    np.testing.assert_array_equal(joint[:, :6], components.astype(np.float32))
    assert joint.shape == (90, 26) and joint.dtype == np.float32
    assert joint[:, 6:].var(axis=0).sum() == pytest.approx(0.25 * components.var(axis=0).sum(), rel=0.01)
    moved = join_embeddings(components, seen * rng.uniform(0.1, 10, 40) + 1e3)  # units of its dimensions do not matter
    np.testing.assert_allclose(moved, joint, atol=1e-3)
    monkeypatch.setattr(task, "_ROWS", 7)
    np.testing.assert_allclose(join_embeddings(components, seen), joint, atol=1e-5)


def test_a_model_that_sees_no_difference_leaves_the_components_as_they_are():
    components = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    joint = join_embeddings(components, np.full((30, 8), 3.3, np.float32))
    np.testing.assert_array_equal(joint[:, :5], components)
    assert not joint[:, 5:].any()
    assert np.isfinite(join_embeddings(np.zeros((1, 1), np.float32), np.ones((1, 8), np.float32))).all()


def test_cells_that_were_not_there_are_placed_as_those_that_were():
    rng = np.random.default_rng(1)
    components, seen = rng.normal(size=(40, 3)), rng.normal(size=(40, 10))
    joint = JointEmbedding().fit(components, seen)
    np.testing.assert_array_equal(joint.transform(components, seen)[5:9], joint.transform(components[5:9], seen[5:9]))
    assert joint.transform(components[:0], seen[:0]).shape == (0, 13)


@pytest.mark.slow
def test_more_cells_than_are_searched_exactly_get_a_map(tmp_path):
    """Beyond 8,192 cells scanpy takes pynndescent: one version cannot be read, and none reads a mapped file."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 8_300)
    points = rng.normal(size=(len(group), 3)).astype(np.float32) + 12 * group[:, None]
    np.save(tmp_path / "values.npy", points)
    drawn = build_map(
        np.load(tmp_path / "values.npy", mmap_mode="r")
    )  # as an embedding that was computed is handed out
    assert np.isfinite(drawn.umap).all()
    assert all(len(set(drawn.clusters[group == side]) & set(drawn.clusters[group != side])) == 0 for side in (0, 1))


@pytest.mark.slow
def test_what_is_compiled_for_umap_is_kept():
    """Every process compiled pynndescent's distances again as soon as it was imported: most of a first map's time."""
    code = (
        "import scfviz.tasks.embedding.kept_umap, pynndescent\n"
        "print(len(pynndescent.distances.squared_euclidean.stats.cache_misses))"
    )
    for _ in range(2):  # the first may be the first of this installation
        compiled = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(compiled) == 0


def small_islands(n_obs=900, seed=0):
    """Cells of three kinds that lie apart, in 10 dimensions."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n_obs)
    return rng.normal(size=(n_obs, 10)).astype(np.float32) + 15 * np.eye(3, 10, dtype=np.float32)[kind], kind


def by_scanpy(points):
    """Neighbours and UMAP step by step."""
    import anndata as ad
    import scanpy as sc

    adata = ad.AnnData(points)
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X", random_state=0)
    sc.tl.umap(adata, random_state=0)
    return adata


@pytest.mark.parametrize("n_islands", [1, 3, 7])
def test_a_map_is_scanpys_however_many_parts_the_graph_has(n_islands):
    rng = np.random.default_rng(0)
    island = rng.integers(0, n_islands, 60 * n_islands)
    points = (0.01 * rng.normal(size=(len(island), 8)) + rng.uniform(size=(n_islands, 8))[island]).astype(np.float32)
    drawn, known = build_map(points), by_scanpy(points)
    np.testing.assert_array_equal(drawn.umap, known.obsm["X_umap"])
    assert (drawn.neighbors != known.obsp["connectivities"]).nnz == 0
    assert connected_components(drawn.neighbors, directed=False)[0] == n_islands


def test_clusters_are_scanpys_in_a_fraction_of_its_memory():
    """Edges as tuples of numbers took 150 bytes each, 0.7 GB for 200,000 cells."""
    import anndata as ad
    import scanpy as sc

    graph = sparse.random(2_000, 2_000, 0.01, format="csr", dtype=np.float32, random_state=0)
    graph = (graph + graph.T).tocsr()
    adata = ad.AnnData(shape=(2_000, 0))
    sc.tl.leiden(adata, adjacency=graph, flavor="igraph", n_iterations=2, directed=False, random_state=3)
    tracemalloc.start()
    found = cluster_cells(graph, seed=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert adjusted_rand_score(found, adata.obs["leiden"]) == 1 and len(set(found)) > 1
    assert peak < 80 * graph.nnz


def test_the_start_of_a_map_is_found_among_few_vectors_and_the_same(monkeypatch):
    from scfviz.tasks.embedding import kept_umap

    points = np.random.default_rng(0).uniform(size=(2_000, 2)) * [3, 1]
    graph = NearestNeighbors(n_neighbors=30).fit(points).kneighbors_graph(mode="connectivity")
    graph = graph.maximum(graph.T).tocoo()
    draws, peaks, starts = [], [], []
    for most in (200, 15):
        monkeypatch.setattr(kept_umap, "MOST_VECTORS", most)
        rng = np.random.RandomState(0)
        tracemalloc.start()
        start = kept_umap.spectral.spectral_layout(points, graph, 2, rng)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        starts.append(start * np.sign(start[0]))
        draws.append(rng.random_sample())
    np.testing.assert_allclose(starts[1], starts[0], atol=1e-6)
    assert draws[0] == draws[1] and peaks[1] < peaks[0]


@pytest.mark.slow
def test_a_map_holds_its_cells_no_second_time():
    """Of many cells: two copies of 200,000 embeddings and what was compiled for a search stood beside the layout."""
    code = """
import threading
import numpy as np
from scfviz.tasks.embedding.compute import build_map

def own():
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

rng, peaks, done = np.random.default_rng(0), [0], threading.Event()
build_map(rng.normal(size=(9_000, 4)).astype(np.float32))  # loads and compiles
points = rng.normal(size=(12_000, 1_024)).astype(np.float32)
floor = own()

def look():
    while not done.wait(0.005):
        peaks.append(own())

looking = threading.Thread(target=look)
looking.start()
build_map(points)
done.set()
looking.join()
print((max(peaks) - floor) / points.nbytes)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory of a process is read from /proc")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 0 < float(shown.stdout) < 0.8, "trees, neighbours and graph take 0.4 of these cells, a copy 1"


@pytest.mark.slow
def test_neighbours_of_many_cells_are_scanpys():
    points = np.random.default_rng(0).normal(size=(8_400, 4)).astype(np.float32)
    import anndata as ad
    import scanpy as sc

    found = []
    for search in (None, neighbor_search(len(points), 15, 0)):
        adata = ad.AnnData(points)
        sc.pp.neighbors(adata, n_neighbors=15, use_rep="X", random_state=0, transformer=search)
        found.append(adata.obsp["connectivities"])
    assert (found[0] != found[1]).nnz == 0 and found[0].nnz > 0


def test_of_many_cells_a_sample_is_laid_out_and_the_others_stand_among_their_own_kind():
    points, kind = small_islands()
    drawn = build_map(points, most_cells=300)
    chosen = choose_sample(len(points), 300, 0)
    np.testing.assert_array_equal(drawn.umap[chosen], build_map(points[chosen]).umap)
    centres = np.stack([drawn.umap[chosen][kind[chosen] == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(drawn.umap[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, kind)
    for cluster in set(drawn.clusters):
        assert len(set(kind[drawn.clusters == cluster])) == 1, "no cluster holds two kinds"
    assert "300 of 900 cells" in drawn.notes[0]
    assert (drawn.fidelity.n_laid_out, drawn.fidelity.n_placed) == (300, 600)


def test_at_the_limit_nothing_changes():
    points, _ = small_islands(120)
    drawn, plain = build_map(points, most_cells=120), build_map(points)
    np.testing.assert_array_equal(drawn.umap, plain.umap)
    assert drawn.fidelity is None and drawn.notes == plain.notes
    np.testing.assert_array_equal(
        cluster_map(drawn.neighbors, resolution=0.3), cluster_cells(plain.neighbors, resolution=0.3)
    )


def test_clusters_at_another_resolution_leave_no_placed_cell_alone():
    points, kind = small_islands()
    drawn = build_map(points, most_cells=300)
    np.testing.assert_array_equal(cluster_map(drawn.neighbors), drawn.clusters)
    coarse = cluster_map(drawn.neighbors, resolution=0.05)
    assert adjusted_rand_score(coarse, kind) == 1


def test_fidelity_is_the_share_of_true_neighbours_on_the_picture(monkeypatch):
    rng = np.random.default_rng(0)
    plane, chosen = rng.normal(size=(400, 2)), np.arange(100)
    assert score_fidelity(plane, plane, chosen).placed == score_fidelity(plane, plane, chosen).laid_out == 1
    scattered = plane.copy()
    scattered[100:] = rng.normal(size=(300, 2))
    found = score_fidelity(plane, scattered, chosen)
    assert found.placed < 0.1, "by chance 15 of 399"
    by_hand = NearestNeighbors(n_neighbors=15)
    true, drawn = (by_hand.fit(of).kneighbors(return_distance=False)[:100] for of in (plane, scattered))
    assert found.laid_out == pytest.approx(
        np.mean([len(set(a) & set(b)) / 15 for a, b in zip(true, drawn, strict=True)])
    )
    monkeypatch.setattr(sampled, "_ROWS_COMPARED", 7)
    assert score_fidelity(plane, scattered, chosen) == found, "however many cells are compared at a time"


def test_components_of_many_cells_are_those_of_a_sample_and_all_cells_are_projected(aligned):
    chosen = choose_sample(150, 60, 0)
    values = embed_baseline(aligned, n_top_genes=200, n_comps=5, most_cells=60)
    assert values.shape == (150, 5) and np.isfinite(values).all()
    np.testing.assert_allclose(values[chosen].mean(axis=0), 0, atol=1e-4)
    full = embed_baseline(aligned, n_top_genes=200, n_comps=5)
    assert abs(np.corrcoef(values[:, 0], full[:, 0])[0, 1]) > 0.8, "the same cells in much the same space"


@pytest.mark.slow
def test_placed_cells_of_a_real_dataset_keep_nearly_as_many_neighbours_as_those_laid_out():
    """Half of the cells laid out: what placing costs stays below a third of the neighbours that the picture keeps."""
    path = ROOT.parent / "shared" / "data" / "evaluation" / "pbmc3k.h5ad"
    if not path.exists():
        pytest.skip("needs shared/data/evaluation/pbmc3k.h5ad")
    counts = open_dataset(path).counts
    drawn = build_map(embed_baseline(counts, most_cells=counts.n_obs // 2), most_cells=counts.n_obs // 2)
    assert np.isfinite(drawn.umap).all()
    assert drawn.fidelity.placed > 2 / 3 * drawn.fidelity.laid_out > 0.05


@pytest.mark.slow
def test_the_models_map_is_drawn_in_its_cell_space_where_that_holds(tmp_path):
    import scfviz
    from scfviz.tasks.additions import additions
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.reporting import Answered

    make_cells(60).write_h5ad(tmp_path / "cells.h5ad")
    checkpoint = save_tiny_checkpoint(tmp_path / "tiny")
    asked = {"dataset": str(tmp_path / "cells.h5ad"), "checkpoint": str(checkpoint)}
    before, task = scfviz.run_task("embedding", **asked), get_task("embedding")
    assert "places" not in before.arrays and "cell space" not in Answered(task, before).say("methods")
    space = give_cell_space(checkpoint)
    result = scfviz.run_task("embedding", **asked)
    for name in ("embedding", "baseline", "joint", "umap_baseline", "umap_joint"):
        np.testing.assert_array_equal(result.arrays[name], before.arrays[name], err_msg=name)
    places = space.transform(before.arrays["embedding"])
    np.testing.assert_array_equal(result.arrays["places"], places)
    np.testing.assert_allclose(result.arrays["umap_model"], build_map(places).umap, rtol=1e-4, atol=1e-4)
    assert result.report["provenance"]["cell_space"] == space.hash in Answered(task, result).say("methods")
    assert additions(task, result, 60)["obsm"]["X_scfoundation_space"].shape == (60, 8)
    deeper = scfviz.run_task("embedding", **asked, depth_fold=3.0)  # fitted at the cells' own depth
    assert "places" not in deeper.arrays and "cell_space" not in deeper.report["provenance"]


def test_the_task_says_what_was_laid_out_on_page_and_report_and_below_the_limit_nothing(tmp_path, monkeypatch):
    import scfviz
    from scfviz.tasks.embedding import run
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.reporting import Answered
    from scfviz.tasks.result import read_graph
    from scfviz.ui.tasks.maps import describe_pictures
    from scfviz.ui.tasks.results import EmbeddingResult

    make_cells(150).write_h5ad(tmp_path / "cells.h5ad")
    asked = {"dataset": str(tmp_path / "cells.h5ad"), "checkpoint": str(save_tiny_checkpoint(tmp_path / "tiny"))}
    whole = scfviz.run_task("embedding", **asked)
    assert "pictures" not in whole.scores and "sample" not in Answered(get_task("embedding"), whole).say("methods")
    monkeypatch.setattr(run, "MOST_LAID_OUT", 70)
    result = scfviz.run_task("embedding", **asked)
    np.testing.assert_array_equal(result.arrays["embedding"], whole.arrays["embedding"])
    assert set(result.scores["pictures"]) == set(run.FILES)
    laid_out = choose_sample(150, 70, 0)
    for name in run.FILES:
        assert np.isfinite(result.arrays[f"umap_{name}"]).all()
        graph = read_graph(result.tables[f"neighbors_{name}"], 150)
        np.testing.assert_array_equal(laid_out_in(graph), laid_out)
        np.testing.assert_array_equal(cluster_map(graph), result.cells[f"clusters_{name}"].astype(str))
    assert any(note.startswith("All maps: A random sample of 70 of 150 cells") for note in result.notes)
    answered = Answered(get_task("embedding"), result)
    assert "random sample of 70 cells" in answered.say("step") and "the other 80" in answered.say("methods")
    section = answered.say("section")
    table = next(block for block in section.blocks if getattr(block, "name", "") == "Fidelity of the pictures")
    placed = result.scores["pictures"]["model"]["placed"]
    assert table.rows[0][:2] == ("model", f"{placed:.2f}")
    said = describe_pictures(EmbeddingResult("", result, result.tables["obs"], dict.fromkeys(run.FILES)))
    assert "70 cells, drawn at random" in said and f"{placed:.0%}" in said
