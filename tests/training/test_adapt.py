"""Going on from a checkpoint with one's own cells, the plan of a run, and both from the command line."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_cells import save_tiny_checkpoint, write_cells
from small_corpus import make_corpus
from train_small import CONFIG, options

from scfviz.__main__ import main
from scfviz.data.corpus_reader import Corpus
from scfviz.errors import DatasetError, OptionError
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint, save_checkpoint
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.adapt import adapt
from scfviz.training.adapters import add_adapters, merge_adapters
from scfviz.training.batches import TrainingParts
from scfviz.training.objective import Objective, forward_flops
from scfviz.training.options import BatchOptions, MaskingOptions
from scfviz.training.plan import fit_scaling_law, plan_training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("cells") / "mine.h5ad", 60)


def short(**changes):
    return options(steps=2, batch_size=4, decoder_rows=512, validate_every=2, save_every=2, **changes)


# ---- adapters


def test_adapters_change_nothing_until_they_learn_and_nothing_when_merged(small_model, genes, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", genes)
    batch = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=6), seed=0)[0]
    with torch.no_grad():
        plain = Objective(small_model)(batch)
        adapted = add_adapters(small_model, 4)
        torch.testing.assert_close(Objective(adapted)(batch), plain)
        for name, parameter in adapted.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.1)
        learned = Objective(adapted)(batch)
        assert not torch.allclose(learned, plain)
        names = set(ScFoundation(small_model.config, genes).state_dict())
        merged = merge_adapters(adapted)
        torch.testing.assert_close(Objective(merged)(batch), learned, rtol=1e-4, atol=1e-3)
    assert set(merged.state_dict()) == names
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_only_adapters_learn(small_model):
    total = sum(p.numel() for p in small_model.parameters())
    add_adapters(small_model, 2)
    learned = {name for name, p in small_model.named_parameters() if p.requires_grad}
    assert learned and all(name.endswith((".up", ".down")) for name in learned)
    assert sum(p.numel() for p in small_model.parameters() if p.requires_grad) < 0.35 * total
    with pytest.raises(OptionError, match="rank"):
        add_adapters(small_model, 0)


@pytest.mark.parametrize("rank", [None, 2])
def test_adapting_starts_at_the_checkpoint_and_keeps_its_licence(tiny, cells, tmp_path, rank):
    info = checkpoint_info(tiny)
    start = tmp_path / "start"
    save_checkpoint(load_checkpoint(tiny), start, name="start", licence="for research only", readme="", training={})
    folder = adapt([cells], tmp_path / "out", short(), checkpoint=start, rank=rank)
    adapted = checkpoint_info(folder)
    assert adapted.config == info.config and adapted.licence == "for research only"
    assert adapted.training["start_from"]["name"] == "start" and adapted.training["steps"] == 2
    before, after = load_checkpoint(tiny), load_checkpoint(folder)
    moved = {name for name, weight in before.state_dict().items() if not torch.equal(weight, after.state_dict()[name])}
    assert "encoder.0.expand.weight" in moved
    assert ("gene_embedding.weight" in moved) == (rank is None)
    assert all(torch.equal(a, b) for a, b in zip(before.buffers(), after.buffers(), strict=True))
    assert adapt([cells], tmp_path / "out", short(), checkpoint=start, rank=rank, resume=True) == folder


def test_adapting_helps_on_the_cells_it_saw(genes, tmp_path):
    """From a checkpoint trained on one corpus to cells of another kind: their loss falls."""
    torch.manual_seed(0)
    model = ScFoundation(replace(CONFIG, dropout=0.0), genes)
    save_checkpoint(model, tmp_path / "start", name="s", licence="Apache-2.0", readme="", training={})
    from scfviz.training.pretrain import pretrain

    corpus = make_corpus(tmp_path / "corpus", genes)
    changes = options(steps=60, validate_every=60)
    pretrain(
        corpus.folder,
        tmp_path / "out",
        CONFIG,
        replace(changes, start_from=tmp_path / "start"),
        prepare=lambda m: add_adapters(m, 8),
        finish=merge_adapters,
    )
    batch = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=64), seed=9)[0]
    with torch.no_grad():
        losses = [
            float(Objective(load_checkpoint(folder))(batch).sum())
            for folder in (tmp_path / "start", tmp_path / "out/checkpoint")
        ]
    assert losses[1] < 0.9 * losses[0]


# ---- plan


def test_arithmetic_agrees_with_the_published_table():
    from scfviz.model.config import PRESETS

    config = PRESETS["100M"]
    encoder = [forward_flops(config, [n], 0) / 1e9 for n in (500, 1000, 2000, 5000)]
    assert encoder == pytest.approx([94, 207, 487, 1771], rel=0.01)
    assert forward_flops(config, [0], 19_266) / 1e9 == pytest.approx(872, rel=0.03)


def test_a_plan_adds_up(genes, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", genes)
    plan = plan_training(corpus.folder, CONFIG, n_cells=1_000_000, epochs=2, device_tflops=0.5)
    lengths = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=200), seed=1)[0].tokens.lengths
    assert plan.n_cells == 2_000_000
    assert plan.tokens_per_cell == pytest.approx(np.mean(lengths), rel=0.05)
    assert plan.flops == pytest.approx(2e6 * 3 * forward_flops(CONFIG, lengths, 66) / 200, rel=0.05)
    assert plan.days[1] == pytest.approx(plan.flops / 0.5e12 / 86_400)
    assert plan.days[64] == pytest.approx(plan.days[1] / 64)
    measured = plan_training(corpus.folder, CONFIG)
    assert measured.flops_per_second > 0 and "measured" in measured.rate_source
    with pytest.raises(OptionError):
        plan_training(corpus.folder, CONFIG, epochs=0)


def test_the_scaling_law_is_found_again(tmp_path):
    for i, scale in enumerate((1.0, 1.3)):
        rows = [f"{f:.6g},{scale * 5 * f**-0.05:.8g}" for f in np.geomspace(1e12, 1e16, 6)]
        (tmp_path / f"{i}.csv").write_text("flops,validation\n" + "\n".join(rows) + "\n1e10,\n")
    law = fit_scaling_law([tmp_path / "0.csv", tmp_path / "1.csv"])
    assert (law["a"], law["b"]) == (pytest.approx(5, rel=1e-3), pytest.approx(0.05, rel=1e-3))
    (tmp_path / "short.csv").write_text("flops,validation\n1e12,1.0\n")
    with pytest.raises(DatasetError, match="three"):
        fit_scaling_law([tmp_path / "short.csv"])


# ---- command line


def test_from_three_files_to_a_trained_checkpoint_with_commands(tmp_path, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(3):
        write_cells(folder / f"set{i}.h5ad", 60, seed=i)
    corpus, out = str(tmp_path / "corpus"), str(tmp_path / "out")
    build = ["corpus", "build", str(folder), "--out", corpus, "--hold-out", "set2", "--more-than-genes", "50"]
    assert main(build) == 0
    assert "set2: 60 of 60 cells kept" in capsys.readouterr().out
    assert Corpus(corpus).n_cells("held-out datasets") == 60
    few = ["--batch-size", "4", "--decoder-rows", "512", "--validation-cells", "4", "--log-every", "1"]
    train = ["pretrain", "--corpus", corpus, "--preset", "tiny", "--out", out, *few]
    assert main([*train, "--steps", "2"]) == 0
    assert main([*train, "--steps", "2"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*train, "--steps", "3", "--resume"]) == 0
    assert "resumed at step 2" in capsys.readouterr().out
    assert checkpoint_info(tmp_path / "out/checkpoint").training["steps"] == 3
    plan = ["corpus", "plan", "--corpus", corpus, "--preset", "100M", "--cells", "50000000", "--tflops", "300"]
    assert main([*plan, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["n_parameters"] == 119_252_285 and printed["days"]["64"] > 0


def test_commands_refuse_what_makes_no_sense(tmp_path, capsys):
    assert main(["pretrain", "--corpus", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no training corpus" in capsys.readouterr().err
    assert main(["corpus", "build", str(tmp_path / "none.h5ad"), "--out", str(tmp_path / "corpus")]) == 2
    assert "None of the 1 files" in capsys.readouterr().err
    assert main(["adapt", str(tmp_path / "none.h5ad"), "--out", str(tmp_path / "a"), "--checkpoint", "nowhere"]) == 2
    assert "no checkpoint folder" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; from scfviz.__main__ import main; code = main(['pretrain', '--help']);"
        "print('HEAVY', [m for m in ('torch', 'anndata', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--masked-expressed" in done.stdout and "HEAVY []" in done.stdout
