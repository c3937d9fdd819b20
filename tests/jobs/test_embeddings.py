"""Kept embeddings: found for the same cells and model, and never for others."""

import numpy as np
import pytest
from app_pages import work_off
from small_cells import make_cells, save_tiny_checkpoint

from scfviz import jobs
from scfviz.jobs import queue
from scfviz.jobs.embeddings import find_embedding
from scfviz.jobs.workspace import read_json, write_json
from scfviz.model.checkpoint import checkpoint_info


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A file of which some cells are labelled, and a model."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    cells = make_cells(60)
    cells.obs["cell_type"] = cells.obs["cell_type"].where(np.arange(60) < 40)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return jobs.Workspace(tmp_path / "work"), save_tiny_checkpoint(tmp_path / "model")


def run(workspace, kind, **options):
    job = jobs.submit(workspace, kind, {name: str(value) for name, value in options.items()})
    work_off(workspace)
    assert jobs.status(workspace, job).state == "done", jobs.status(workspace, job).error
    return job


def test_an_embedding_is_computed_once_for_a_dataset_and_a_model(world, tmp_path, monkeypatch):
    """A task embedded the cells again that lay embedded in the workspace: minutes for nothing."""
    from scfviz.model import infer

    workspace, model = world
    path = tmp_path / "cells.h5ad"
    same = {"checkpoint": checkpoint_info(model).hash, "gene_column": None, "counts": None}
    asking = workspace.jobs / "asking"
    assert find_embedding(asking, path, same) is None
    job = run(workspace, "embedding", dataset=path, checkpoint=model)
    kept, values = find_embedding(asking, path, same)
    assert len(kept) == len(values) == 60 and np.isfinite(values).all()
    assert find_embedding(asking, path, same | {"checkpoint": "another"}) is None
    about = read_json(workspace.jobs / job / "job.json")
    write_json(workspace.jobs / job / "job.json", about | {"scope": "somebody's"})
    assert find_embedding(asking, path, same) is None, "what is another visitor's is not found"
    write_json(workspace.jobs / job / "job.json", about)

    def fail(*_args, **_more):
        raise AssertionError("embedded again")

    monkeypatch.setattr(infer, "embed_cells", fail)
    run(workspace, "annotation", dataset=path, label="cell_type", checkpoint=model, method="model_probe")
