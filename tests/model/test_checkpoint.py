"""Checkpoint folders: whole, in agreement with themselves, and atomically written."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from small_cells import save_tiny_checkpoint

from scfviz.errors import CheckpointError
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint, save_checkpoint
from scfviz.model.config import PRESETS, ModelConfig
from scfviz.model.infer import embed_cells, embed_genes, predict_expression
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


def edit(folder, change):
    stored = json.loads((folder / "config.json").read_text())
    change(stored)
    (folder / "config.json").write_text(json.dumps(stored))


def edit_genes(folder, change):
    head, *genes = (folder / "genes.tsv").read_text().splitlines()
    (folder / "genes.tsv").write_text("\n".join([head, *change(genes)]) + "\n")


def flip(folder):
    """Bytes in the middle differ: lengths and shapes stay."""
    content = bytearray((folder / "weights.safetensors").read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 400)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    (folder / "weights.safetensors").write_bytes(content)


DAMAGE = {
    "reordered genes": (lambda f: edit_genes(f, lambda genes: genes[::-1]), "genes.tsv"),
    "foreign genes": (lambda f: edit_genes(f, lambda genes: [f"BC_{i}" for i in range(len(genes))]), "genes.tsv"),
    "one gene renamed": (lambda f: edit_genes(f, lambda genes: [*genes[:-1], "TP53"]), "genes.tsv"),
    "a gene less": (lambda f: edit_genes(f, lambda genes: genes[:-1]), "genes.tsv"),
    "flipped bytes": (flip, "weights.safetensors"),
    "other sizes": (lambda f: edit(f, lambda s: s["model"].update(bin_alpha=2.0)), "sizes in config.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_folder_that_is_not_what_was_saved_is_refused_and_blamed(folder, damage):
    do, part = DAMAGE[damage]
    do(folder)
    for read in (checkpoint_info, load_checkpoint):
        with pytest.raises(CheckpointError, match=f"not what was saved.*{part}.*data are not to blame"):
            read(folder)


def test_damage_is_noticed_after_the_checkpoint_was_used(folder):
    """What is remembered of a file ends with its size and time of change."""
    load_checkpoint(folder)
    flip(folder)
    with pytest.raises(CheckpointError, match="not what was saved"):
        load_checkpoint(folder)


def unseal(folder):
    """As scfviz wrote it before there were checksums."""
    edit(folder, lambda stored: stored.pop("sha256"))


def test_checksums_do_not_change_the_identity_of_results(folder):
    before = checkpoint_info(folder)
    unseal(folder)
    assert (before.is_sealed, checkpoint_info(folder).is_sealed) == (True, False)
    assert checkpoint_info(folder).hash == before.hash


def test_the_shipped_checkpoint_is_sealed_and_keeps_its_identity():
    """Results of earlier computations are found by it."""
    info = checkpoint_info(default_checkpoint())
    assert info.is_sealed and info.hash == json.loads((info.folder / "scores.json").read_text())["checkpoint"]["hash"]


def test_without_checksums_parts_that_disagree_are_refused(folder):
    unseal(folder)
    edit_genes(folder, lambda genes: genes[:-1])
    with pytest.raises(CheckpointError, match="63 genes, its configuration says 64"):
        load_checkpoint(folder)


def test_without_checksums_weights_of_another_size_are_refused(folder):
    unseal(folder)
    edit(folder, lambda stored: stored["model"].update(encoder_width=64))
    with pytest.raises(CheckpointError, match="disagree on"):
        load_checkpoint(folder)


def test_without_checksums_weights_that_are_no_numbers_are_refused(small_model, tmp_path):
    with torch.no_grad():
        small_model.norm.bias[0] = float("nan")
    folder = save_checkpoint(small_model, tmp_path / "nan", name="nan", licence="", readme="", training={})
    unseal(folder)
    with pytest.raises(CheckpointError, match=r"no numbers, in 1 parts: norm\.bias"):
        load_checkpoint(folder)


@pytest.mark.parametrize("change", [lambda genes: genes[::-1], lambda genes: [*genes[1:], "A_GENE"]])
def test_without_checksums_only_the_published_gene_list_is_taken(tmp_path, change):
    folder = save_tiny_checkpoint(tmp_path / "tiny")
    unseal(folder)
    load_checkpoint(folder)
    edit_genes(folder, change)
    with pytest.raises(CheckpointError, match="not the published one.*data are not to blame"):
        load_checkpoint(folder)


def test_a_gene_list_with_repeats_or_broken_text_is_refused(small_model, folder, tmp_path):
    small_model.genes = [*small_model.genes[:-1], small_model.genes[0]]
    twice = save_checkpoint(small_model, tmp_path / "twice", name="twice", licence="", readme="", training={})
    with pytest.raises(CheckpointError, match="names 1 genes more than once"):
        load_checkpoint(twice)
    unseal(folder)
    (folder / "genes.tsv").write_bytes(b"symbol\n\xff\xfe\n")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_results_that_are_no_numbers_are_never_written(small_model, genes, tmp_path):
    """Saved with its checksums, so that only the computation can notice."""
    with torch.no_grad():
        small_model.encoder_norm.weight[0] = float("inf")
    counts = csr_matrix(np.eye(3, len(genes), dtype=np.float32))
    compute = (embed_cells, embed_genes, predict_expression)
    for number, of in enumerate(compute):
        with pytest.raises(CheckpointError, match="no numbers for cell number 1"):
            of(counts, small_model, precision="fp32", out=tmp_path / str(number))
        values = np.load(tmp_path / str(number) / "values.npy")
        assert np.isfinite(values).all() and not values.any()


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
    with pytest.raises(CheckpointError, match="damaged, not what was saved"):
        load_checkpoint(folder)
    unseal(folder)
    with pytest.raises(CheckpointError, match="weights .* are damaged"):
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
