"""Embeddings made elsewhere come back: what the file holds is taken where it is right, else computed again; said."""

import anndata as ad
import numpy as np
import pytest
from small_cells import make_cells, save_tiny_checkpoint

import scfviz
from scfviz.__main__ import main
from scfviz.model import infer
from scfviz.tasks.registry import get_task
from scfviz.tasks.run import embedding_in_file, open_cells
from scfviz.tasks.spec import read_options
from scfviz.tasks.steps import Steps

N_OBS = 80

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Cells, two checkpoints, and what `scfviz embed` writes."""
    folder = tmp_path_factory.mktemp("in_file")
    make_cells(N_OBS).write_h5ad(folder / "cells.h5ad")
    for name, seed in (("tiny", 0), ("other", 1)):
        save_tiny_checkpoint(folder / name, seed=seed)
    out = ["embed", str(folder / "cells.h5ad"), str(folder / "embedded.h5ad"), "--checkpoint", str(folder / "tiny")]
    assert main(out) == 0
    return folder


@pytest.fixture
def computed(monkeypatch):
    """Cells that the model embeds, by call."""
    calls, embed_cells = [], infer.embed_cells

    def count(counts, *given, **options):
        calls.append(counts.n_obs)
        return embed_cells(counts, *given, **options)

    monkeypatch.setattr(infer, "embed_cells", count)
    monkeypatch.setattr("scfviz.tasks.embedding.in_file.embed_cells", count)
    return calls


def embed(file, checkpoint="tiny", **options):
    return scfviz.run_task("embedding", dataset=str(file), checkpoint=str(file.parent / checkpoint), **options)


def change(world, name, edit):
    """The embedded file with something changed."""
    adata = ad.read_h5ad(world / "embedded.h5ad")
    adata = edit(adata) or adata
    adata.write_h5ad(world / name)
    return world / name


def about_file(result):
    return [note for note in result.notes if "X_scfoundation" in note]


def test_an_embedding_in_the_file_is_taken_and_that_is_said(world, computed):
    expected = embed(world / "cells.h5ad")
    assert computed == [N_OBS] and not about_file(expected)
    computed.clear()
    found = embed(world / "embedded.h5ad")
    assert computed == [32], "some cells are computed again, to check"
    np.testing.assert_allclose(found.arrays["embedding"], expected.arrays["embedding"], atol=1e-5)
    assert "not computed again" in about_file(found)[0]
    assert found.report["provenance"]["read_from"] == "obsm['X_scfoundation']"
    np.testing.assert_allclose(found.arrays["joint"], expected.arrays["joint"], atol=1e-3)
    computed.clear()
    some = embed(world / "embedded.h5ad", filters={"min_genes": int(found.cells["n_genes"].median())})
    assert computed == [32] and 0 < len(some.kept) < N_OBS
    np.testing.assert_allclose(some.arrays["embedding"], found.arrays["embedding"][some.kept], atol=1e-5)


def zero(adata):
    adata.obsm["X_scfoundation"][:] = 0


def missing(adata):
    adata.obsm["X_scfoundation"][::2] = np.nan


def narrow(adata):
    adata.obsm["X_scfoundation"] = adata.obsm["X_scfoundation"][:, :10]


def mute(adata):
    del adata.uns["scfviz"]
    adata.obsm["X_scfoundation"] = adata.obsm["X_scfoundation"][::-1].copy()


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("other cells", lambda adata: adata[::-1].copy() if zero(adata) is None else None, "differ"),
        ("no numbers", missing, "differ"),
        ("other width", narrow, "has the shape"),
        ("in another order, without a word", mute, "differ"),
    ],
)
def test_what_is_not_of_these_cells_is_computed_again(world, computed, name, edit, said):
    file = change(world, f"{name}.h5ad", edit)
    found = embed(file)
    assert said in about_file(found)[0] and "computed again" in about_file(found)[0]
    assert computed[-1] == N_OBS and "read_from" not in found.report["provenance"]


def test_another_checkpoint_or_depth_is_computed_again(world, computed):
    found = embed(world / "embedded.h5ad", "other")
    assert "the checkpoint 'tiny'" in about_file(found)[0] and computed == [N_OBS]
    computed.clear()
    assert not about_file(embed(world / "embedded.h5ad", depth_fold=2.0)) and computed == [N_OBS]
    deep = ["embed", str(world / "cells.h5ad"), str(world / "deep.h5ad"), "--depth-fold", "2"]
    assert main([*deep, "--checkpoint", str(world / "tiny")]) == 0
    assert "another read depth" in about_file(embed(world / "deep.h5ad"))[0]


def test_without_a_word_of_its_making_the_right_values_are_taken(world, computed):
    """Another program may have dropped `uns`: what the values are is what counts."""

    def forget(adata):
        del adata.uns["scfviz"]

    found = embed(change(world, "forgotten.h5ad", forget))
    assert "not computed again" in about_file(found)[0] and computed == [32]


def test_other_tasks_take_it_too(world, computed):
    """A classifier on the embedding of the reference and of the query, both embedded elsewhere."""
    options = {"reference": str(world / "embedded.h5ad"), "label": "cell_type", "method": "model_probe"}
    query = change(world, "query.h5ad", lambda adata: adata[: N_OBS - 5].copy())
    found = scfviz.run_task("annotation", dataset=str(query), checkpoint=str(world / "tiny"), **options)
    assert computed and max(computed) <= 32
    make_cells(N_OBS)[: N_OBS - 5].copy().write_h5ad(world / "plain.h5ad")
    options |= {"dataset": str(world / "plain.h5ad"), "reference": str(world / "cells.h5ad")}
    expected = scfviz.run_task("annotation", checkpoint=str(world / "tiny"), **options)
    for column in ("annotated_type", "annotated_type_confidence"):
        if column in expected.cells:
            assert expected.cells[column].tolist() == pytest.approx(found.cells[column].tolist(), abs=1e-4)


def test_embeddings_of_two_files_in_one_task_are_kept_apart(world, tmp_path):
    """A reference's values lay in the file that the query's were written to."""
    task, steps = get_task("embedding"), Steps(tmp_path)
    back = change(world, "back.h5ad", lambda adata: adata[::-1].copy())
    found = []
    for name, file in (("reference", world / "embedded.h5ad"), ("embedding", back)):
        options = read_options(task.options_type, {"dataset": str(file), "checkpoint": str(world / "tiny")})
        cells = open_cells(task, options)
        found.append(embedding_in_file(str(file), cells.kept, cells.aligned, cells, options, steps, name).values)
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[1][::-1])
