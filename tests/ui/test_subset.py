"""A subset opens on what its parent's maps show of its cells, told apart from maps of these cells alone."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import test_explorer as explorer
from app_pages import spec_of, text_of
from test_explorer import FILE, open_page, source
from test_explorer_labels import LASSO, ask_subset, embedded, view_of

from scfviz import jobs
from scfviz.analysis.selection.rules import Categories
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plain

dataset = explorer.dataset


def inner_page():
    """The explorer on a subset of a dataset with an embedding; gives page and file."""
    job = embedded(n_removed=20)
    data = explorer_data.explore(source(), job, None)
    view = replace(view_of(LASSO), data=data, embed_job=job)
    path = sources.resolve(ref := ask_subset(view, "left")).path
    return open_page(dataset=ref), path, data


def test_a_subset_opens_on_its_parents_maps(dataset):
    app, path, whole = inner_page()
    part = ad.read_h5ad(path)
    place = {cell: row for row, cell in enumerate(whole.obs.index)}
    rows = [place[cell] for cell in part.obs_names]
    for way in ("scfoundation", "baseline"):
        name = {"scfoundation": "model"}.get(way, way)
        assert np.array_equal(part.obsm[f"X_umap_{way}_inherited"], whole.maps[f"umap_{name}"][rows])
        assert f"X_umap_{way}" not in part.obsm, "that name is for a map of these cells alone"
    assert part.obs["leiden_scfoundation_inherited"].tolist() == whole.obs["clusters_model"].iloc[rows].tolist()
    shown = [entry["title"] for entry in spec_of(app)["maps"]]
    assert any("of the parent's map" in title for title in shown), shown
    assert f"cells** of {plain(FILE)}" in text_of(app) and "lineage-back" in [button.key for button in app.button]
    assert "A map is on its way" not in text_of(app)


def test_a_subset_of_a_subset_tells_the_maps_of_both_apart(dataset):
    _, path, _ = inner_page()
    ref = next(job for job in jobs.list_jobs(jobs.Workspace()) if job.kind == "subset")
    ref = f"subset:{ref.id}/{path.name}"
    inner = view_of(Categories("doublet", (True,)), ref=ref)
    assert "of the parent's map" in inner.data.titles["X_umap_scfoundation_inherited"]
    data = explorer_data.explore(sources.resolve(ask_subset(inner, "inner")), None, None)
    assert FILE in data.titles["X_umap_scfoundation_inherited"] and "parent" not in " ".join(data.titles.values())
    assert not [name for name in data.maps if name.startswith("X_scfoundation")], "an embedding is no map"


@pytest.mark.parametrize("has_map", [False, True])
def test_the_quick_map_of_a_demo_goes_before_the_models(dataset, monkeypatch, has_map):
    """On a first visit both would compete for the same cores, and only the quick one is there in seconds."""
    whole = ad.read_h5ad(dataset)
    if not has_map:
        del whole.obsm["X_umap"]
    whole.write_h5ad(dataset)
    demo = replace(source(), ref="demo:pbmc3k")
    monkeypatch.setattr(sources, "resolve", lambda ref: demo)
    open_page(dataset="demo:pbmc3k")
    kinds = {job.kind for job in jobs.list_jobs(jobs.Workspace())}
    assert ("embedding" in kinds, "quick_map" in kinds) == (has_map, not has_map)
