"""The quick map: any cells in seconds, without a model; what it leaves out is said."""

import anndata as ad
import numpy as np
import pytest
from app_pages import open_explorer, spec_of, text_of, work_off
from small_cells import make_cells, write_cells

import scfviz
from scfviz import jobs
from scfviz.data.open import OpenDataset
from scfviz.tasks.quick_map.compute import draw_quick_map


def test_groups_lie_apart_and_a_sample_is_said():
    from sklearn.metrics import adjusted_rand_score

    cells = make_cells(240)
    counts = OpenDataset(cells).counts
    drawn = draw_quick_map(counts)
    assert np.isfinite(drawn.umap).all() and not drawn.notes
    assert adjusted_rand_score(cells.obs["cell_type"], drawn.clusters) > 0.9
    assert np.array_equal(draw_quick_map(counts).umap, drawn.umap)
    part = draw_quick_map(counts, most_cells=100)
    assert np.isfinite(part.umap[:, 0]).sum() == 100 == sum(c is not None for c in part.clusters)
    assert "random sample of 100 of 240 cells" in part.notes[0]
    assert scfviz.draw_quick_map is draw_quick_map


def test_cells_without_counts_have_no_place_and_genes_need_not_be_the_models():
    cells = make_cells(120)
    cells.var_names = [f"probe_{i}" for i in range(cells.n_vars)]
    cells.X[7] = 0
    drawn = draw_quick_map(OpenDataset(cells).counts)
    assert (
        np.isnan(drawn.umap[7]).all() and drawn.clusters[7] is None and np.isfinite(np.delete(drawn.umap, 7, 0)).all()
    )
    assert "1 cells without" in drawn.notes[0]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_file_without_a_map_gets_one_by_itself(data):
    """The explorer was a dead end until the model had run."""
    write_cells(data / "cells.h5ad", 150)
    app = open_explorer("cells.h5ad")
    assert "A map is on its way" in text_of(app)
    assert [job.kind for job in jobs.list_jobs(jobs.Workspace()) if job.kind != "gene_store"] == ["quick_map"]
    assert jobs.kinds.lane_of("quick_map") == "quick"
    work_off()
    app = open_explorer("cells.h5ad")
    assert [entry["name"] for entry in spec_of(app)["maps"]] == ["umap_quick"] and "on its way" not in text_of(app)
    assert "150 of 150 cells shown" in text_of(app)


def test_a_file_with_a_map_of_its_own_needs_none(data):
    cells = make_cells(60)
    cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(60, 2))
    cells.write_h5ad(data / "cells.h5ad")
    open_explorer("cells.h5ad")
    assert "quick_map" not in [job.kind for job in jobs.list_jobs(jobs.Workspace())]


def test_a_panel_that_the_model_refuses_has_its_map(data):
    cells = make_cells(90, depth=400)
    ad.AnnData(cells.X[:, :100], cells.obs, cells.var.iloc[:100]).write_h5ad(data / "panel.h5ad")
    open_explorer("panel.h5ad")
    work_off()
    assert spec_of(open_explorer("panel.h5ad"))["n"] == 90


def test_what_is_compiled_for_a_map_is_kept_for_the_next_process():
    from umap import umap_

    from scfviz.tasks.embedding.compute import build_map

    build_map(np.random.default_rng(0).normal(size=(40, 5)))
    assert umap_.smooth_knn_dist.stats.cache_path is not None
    assert sum({**umap_.smooth_knn_dist.stats.cache_hits, **umap_.smooth_knn_dist.stats.cache_misses}.values()) >= 1
