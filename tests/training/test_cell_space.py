"""A cell space: fitted on a corpus, kept beside the weights, and of these weights alone."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_cells import give_cell_space, save_tiny_checkpoint, write_cells
from small_corpus import make_corpus

from scfviz.__main__ import main
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import CheckpointError, DatasetError, GeneError
from scfviz.model.cell_space import FILE, CellSpace, load_cell_space, save_cell_space
from scfviz.model.checkpoint import cell_space_of, checkpoint_info, load_checkpoint, save_checkpoint
from scfviz.training.cell_space import SpaceOptions, contrast, fit_cell_space

pytestmark = pytest.mark.usefixtures("one_thread")


def components(values):
    return values.toarray()


def neighbours_of_its_kind(places, kinds):
    """Share of cells whose nearest other cell is of their kind."""
    cosines = places @ places.T / np.outer(*[np.linalg.norm(places, axis=1)] * 2)
    np.fill_diagonal(cosines, -np.inf)
    return (kinds[cosines.argmax(1)] == kinds).mean()


@pytest.fixture
def checkpoint(tmp_path):
    return save_tiny_checkpoint(tmp_path / "tiny")


@pytest.fixture
def space(tmp_path):
    return give_cell_space(save_tiny_checkpoint(tmp_path / "first"))


def test_places_have_length_one_and_do_not_depend_on_their_block(space, monkeypatch):
    embedding = np.random.default_rng(1).normal(size=(50, 128)).astype(np.float32)
    whole = space.transform(embedding)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    monkeypatch.setattr("scfviz.model.cell_space._ROWS", 7)
    np.testing.assert_allclose(space.transform(embedding), whole, atol=1e-6)
    assert np.isfinite(space.transform(space.mean[None])).all()


def test_cells_of_a_kind_that_noise_hides_come_together():
    """Kinds differ in three of forty numbers; the others are noise that cells of a kind do not share."""
    from scfviz.training.cell_space import _Dataset, _fit

    rng = np.random.default_rng(0)
    centres, spread = rng.normal(size=(5, 3)), np.r_[np.full(3, 1.0), np.full(37, 3.0)]

    def draw(n):
        kinds = rng.integers(5, size=n)
        cells = rng.normal(size=(2, n, 40)) * spread * np.r_[np.full(3, 0.2), np.ones(37)]
        cells[:, :, :3] += centres[kinds] * 2
        return kinds, cells.astype(np.float32)

    datasets = []
    for name in ("one", "two"):
        kinds, cells = draw(120)
        near = np.stack(
            [rng.choice(np.flatnonzero((kinds == k) & (np.arange(120) != i)), 5) for i, k in enumerate(kinds)]
        )
        datasets.append(_Dataset(name, cells, near))
    options = SpaceOptions(dims=8, steps=150, learning_rate=1e-2)
    mean, loadings, loss = _fit(datasets, options)
    again = _fit(datasets, options)
    np.testing.assert_array_equal(loadings, again[1])
    kinds, (cells, _thinned) = draw(200)
    before = neighbours_of_its_kind(cells - cells.mean(0), kinds)
    after = neighbours_of_its_kind(CellSpace(mean, loadings).transform(cells), kinds)
    assert before < 0.5 and after > 0.8 and np.isfinite(loss)


def test_contrast_is_least_where_partners_meet_and_knows_its_like():
    import torch

    together = torch.eye(4).repeat(2, 1)
    own = torch.eye(8, dtype=torch.bool)
    alike = own | own.roll(4, 0)
    assert contrast(together, alike, 0.1) < 1e-3 < contrast(torch.eye(8), alike, 0.1)
    everyone = torch.ones(8, 8, dtype=torch.bool)  # nobody to be told from: nothing to learn
    assert contrast(torch.eye(8), everyone, 0.1) < 1e-6


def test_a_space_is_fitted_on_training_cells_of_large_datasets(small_model, genes, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", genes, sizes=(120, 90, 30, 80))
    said, options = [], SpaceOptions(dims=4, steps=5, cells_per_dataset=60)
    found = fit_cell_space(small_model, corpus, components, options, report=said.append)
    assert found.about["datasets"] == ["set0", "set1"] and found.about["n_cells"] == 120  # too small; held out whole
    assert found.dims == 4 and len(found.mean) == 128 and "set1" in said[1]
    same = fit_cell_space(small_model, corpus, components, options)
    assert same.hash == found.hash
    with pytest.raises(DatasetError, match="1 datasets"):
        fit_cell_space(small_model, corpus, components, options, leave_out=["set1"])
    with pytest.raises(DatasetError, match="no dataset liver"):
        fit_cell_space(small_model, corpus, components, options, leave_out=["liver"])
    small_model.genes = small_model.genes[::-1]
    with pytest.raises(GeneError, match="another order"):
        fit_cell_space(small_model, corpus, components, options)


def test_saved_and_loaded_with_its_checkpoint_alone(space, checkpoint, tmp_path):
    info = checkpoint_info(checkpoint)
    embedding = np.random.default_rng(1).normal(size=(3, 128)).astype(np.float32)
    assert cell_space_of(info) is None and load_checkpoint(checkpoint).arrange(embedding) is embedding
    path = save_cell_space(space, checkpoint, info.hash)
    assert checkpoint_info(checkpoint).hash == info.hash  # results of the weights stay what they are
    model = load_checkpoint(checkpoint)
    np.testing.assert_array_equal(model.arrange(embedding), space.transform(embedding))
    assert model.cell_space.hash == space.hash and model.cell_space.about == space.about
    narrow = embedding[:, :32]  # pooling `max`
    assert model.arrange(narrow) is narrow
    other = save_tiny_checkpoint(tmp_path / "other", seed=1)
    shutil.copyfile(path, other / FILE)
    with pytest.raises(CheckpointError, match="was fitted on the weights"):
        load_checkpoint(other)
    assert load_checkpoint(other, with_cell_space=False).cell_space is None
    save_checkpoint(model, tmp_path / "copy", name="copy", licence="", readme="", training={})
    assert cell_space_of(checkpoint_info(tmp_path / "copy")) is None


def test_a_damaged_file_is_refused_by_name(space, checkpoint):
    info = checkpoint_info(checkpoint)
    path = save_cell_space(space, checkpoint, info.hash)
    whole = path.read_bytes()
    for broken in (whole[:-40], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=FILE):
            load_checkpoint(checkpoint)
    numbers = {"mean": space.mean, "loadings": space.loadings}
    for about in ("[1]", "3", "no json"):
        save_file(numbers, path, metadata={"checkpoint": info.hash, "hash": space.hash, "about": about})
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(checkpoint)
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="64 numbers"):
        load_cell_space(checkpoint, info.hash, 64)


def test_a_map_is_another_one_once_there_is_a_space(space, checkpoint, tmp_path):
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.spec import identity_of, read_options

    dataset = write_cells(tmp_path / "cells.h5ad", 20)

    def identity(name, **more):
        task = get_task(name)
        given = {"dataset": str(dataset), "checkpoint": str(checkpoint)} | more
        return identity_of(task, read_options(task.options_type, given))

    before = identity("embedding"), identity("enhancement")
    save_cell_space(space, checkpoint, checkpoint_info(checkpoint).hash)
    assert identity("embedding") == before[0] | {"cell_space": space.hash}
    assert identity("enhancement") == before[1]


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scfviz.training.cell_space.SpaceOptions", partial(SpaceOptions, steps=3))
    checkpoint = save_tiny_checkpoint(tmp_path / "tiny")
    corpus = make_corpus(tmp_path / "corpus", list(load_vocabulary().symbols[:64]))
    assert main(["cell-space", "--checkpoint", str(checkpoint), "--corpus", str(corpus.folder)]) == 2
    assert "another order" in capsys.readouterr().err and not (checkpoint / FILE).exists()
    whole = make_corpus(tmp_path / "whole", list(load_vocabulary().symbols), sizes=(45, 45, 5))
    assert main(["cell-space", "--checkpoint", str(checkpoint), "--corpus", str(whole.folder)]) == 0
    assert "2 datasets" in capsys.readouterr().out
    space = cell_space_of(checkpoint_info(checkpoint))
    assert space.about["corpus"] == whole.fingerprint and json.dumps(space.about)
