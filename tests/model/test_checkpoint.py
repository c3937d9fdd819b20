"""Checkpoint folders: whole, in agreement with themselves, and atomically written."""

import json
import subprocess
import sys

import pytest
import torch

from scfviz.errors import CheckpointError
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint, save_checkpoint
from scfviz.model.config import PRESETS, ModelConfig
from scfviz.model.scfoundation import count_parameters


@pytest.fixture
def folder(small_model, tmp_path):
    return save_checkpoint(
        small_model, tmp_path / "small", name="small", licence="Apache-2.0", readme="# Small\n", training={}
    )


def test_a_saved_model_loads_with_the_same_numbers_and_genes(small_model, folder):
    loaded = load_checkpoint(folder)
    assert loaded.genes == small_model.genes and loaded.config == small_model.config and not loaded.training
    for name, tensor in small_model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_half_precision_files_are_half_the_size_and_load_as_float32(small_model, folder, tmp_path):
    half = save_checkpoint(
        small_model, tmp_path / "half", name="half", licence="", readme="", training={"steps": 1}, half=True
    )
    sizes = [(path / "weights.safetensors").stat().st_size for path in (folder, half)]
    assert sizes[1] < 0.6 * sizes[0]
    assert {p.dtype for p in load_checkpoint(half).parameters()} == {torch.float32}


def test_info_tells_trained_from_untrained_and_identifies_the_weights(small_model, folder, tmp_path):
    info = checkpoint_info(folder)
    assert (info.name, info.is_trained, info.licence, info.readme) == ("small", False, "Apache-2.0", "# Small\n")
    assert info.n_parameters == sum(p.numel() for p in small_model.parameters())
    with torch.no_grad():
        small_model.norm.bias[0] += 1e-3
    other = save_checkpoint(small_model, tmp_path / "o", name="small", licence="", readme="", training={"steps": 1})
    assert checkpoint_info(other).is_trained and checkpoint_info(other).hash != info.hash


def test_info_does_not_import_torch(folder):
    code = (
        "import sys; from scfviz.model.checkpoint import checkpoint_info; "
        f"checkpoint_info({str(folder)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["config.json", "genes.tsv", "weights.safetensors"])
def test_a_missing_part_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_parts_that_disagree_are_refused(folder):
    lines = (folder / "genes.tsv").read_text().splitlines()
    (folder / "genes.tsv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(CheckpointError, match="63 genes, its configuration says 64"):
        load_checkpoint(folder)


def test_weights_of_another_size_are_refused(folder):
    stored = json.loads((folder / "config.json").read_text())
    stored["model"]["encoder_width"] = 64
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="disagree on"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda s: s.update(format=99), "format 99"),
        (lambda s: s.pop("name"), "cannot be read"),
        (lambda s: s["model"].update(seq_len=3), r"unknown fields \['seq_len'\]"),
        (lambda s: s["model"].update(n_bins="many"), "n_bins = 'many'"),
        (lambda s: s["model"].update(encoder_heads=5), "5 heads"),
    ],
)
def test_a_wrong_configuration_is_named(folder, damage, message):
    stored = json.loads((folder / "config.json").read_text())
    damage(stored)
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_cut_weights_are_refused(folder):
    whole = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder)


def test_a_failed_save_leaves_the_old_folder_whole(small_model, folder, monkeypatch):
    before = checkpoint_info(folder).hash
    monkeypatch.setattr("safetensors.torch.save_file", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(small_model, folder, name="new", licence="", readme="", training={})
    assert checkpoint_info(folder).hash == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_published_size_has_the_published_number_of_parameters():
    assert count_parameters(ModelConfig()) == 119_252_285
    assert 2.5e6 < count_parameters(PRESETS["3M"]) < 4e6
    assert 9e6 < count_parameters(PRESETS["10M"]) < 12e6
