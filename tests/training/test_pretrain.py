"""Training: what it learns, what it sees, and that interruptions and ranks change nothing."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_corpus import make_corpus
from train_small import CONFIG, options

from scfviz.errors import CheckpointError, JobError, OptionError
from scfviz.model.attention import kernel_attention
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.batches import (
    TrainingParts,
    assemble_batch,
    held_out_cells,
    iterate_steps,
)
from scfviz.training.initialise import gene_means, initialise_from_data, prepare_layers, sample_cells
from scfviz.training.masking import cell_generator, mask_cell
from scfviz.training.objective import Objective
from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
from scfviz.training.pretrain import pretrain
from scfviz.training.state import TIMING, read_state
from scfviz.training.trainer import Ranks, Trainer

PROGRAM = Path(__file__).resolve().parents[1] / "helpers" / "train_small.py"
ON_RANKS = {"steps": 6, "log_every": 1, "learning_rate": 1e-4, "validate_every": 2, "max_genes": 30, "decoder_rows": 50}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", [f"G{i}" for i in range(64)])


def curve(out):
    """The log without what depends on the clock."""
    with (out / "log.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(stream)]


def command(corpus, out, *, resume=False, pause=0.0, ranks=1, **changes):
    how = "resume" if resume else "new"
    program = [str(PROGRAM), str(corpus.folder), str(out), how, json.dumps(changes), str(pause)]
    if ranks == 1:
        return [sys.executable, *program]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--master-port={port}"]
    return [sys.executable, *run, *program]


def environment():
    root = Path(__file__).resolve().parents[2]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}


def start(*args, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command(*args, **kwargs), text=True, env=environment(), **pipes)


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(corpus.folder, out, CONFIG, options())
    torch.set_num_threads(before)
    return out


def same_batch(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other, rtol=0, atol=0)
    assert a.positions == b.positions
    assert a.tokens.lengths == b.tokens.lengths
    torch.testing.assert_close(a.tokens.values_N, b.tokens.values_N, rtol=0, atol=0)


# ---- batches


def test_batches_do_not_depend_on_the_number_of_workers(corpus):
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=8, decoder_rows=40), seed=3)
    alone = list(iterate_steps(parts, 2, 8, n_workers=0))
    for n_workers in (1, 2):
        for mine, theirs in zip(alone, iterate_steps(parts, 2, 8, n_workers=n_workers), strict=True):
            same_batch(mine[0], theirs[0])


def test_an_epoch_shows_every_training_cell_once(corpus):
    n_cells = corpus.n_cells("train")
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=1), seed=3)
    first = [parts[i].positions[0] for i in range(n_cells)]
    second = [parts[i].positions[0] for i in range(n_cells, 2 * n_cells)]
    assert sorted(first) == sorted(second) == list(range(n_cells))
    assert first != second


def test_balanced_drawing_gives_small_datasets_more_turns_and_every_cell_of_one_the_same(corpus):
    n_cells, sizes = corpus.n_cells("train"), [s["n_kept"] for s in corpus.sources if not s["is_held_out"]]
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=1, balance=0.0), seed=3)
    epochs, positions = parts._draw(np.arange(10 * n_cells))
    sources = np.array([corpus.cell(int(p)).source for p in positions])
    assert abs(np.diff(np.bincount(sources))[0]) <= 10, sizes  # one more draw an epoch, when they do not divide
    for source in np.unique(sources):
        times = np.bincount(positions[sources == source] - positions[sources == source].min())
        assert times.max() - times.min() <= 1
    pairs = set(zip(epochs.tolist(), positions.tolist(), strict=True))
    assert len(pairs) == len(positions)  # else a cell would be masked twice in the same way
    assert (parts._draw(np.arange(55, 60))[1] == positions[55:60]).all()


def test_some_cells_are_shown_longer_when_asked(corpus):
    cut = BatchOptions(batch_size=64, max_genes=8, decoder_rows=30)
    lengths = [
        np.array(TrainingParts(corpus, MaskingOptions(), batches, seed=3)[0].tokens.lengths) - 2
        for batches in (
            cut,
            replace(cut, long_cells=0.25, long_genes=1000),
            replace(cut, long_cells=1, long_genes=1000),
        )
    ]
    assert lengths[0].max() == 8
    assert 0.1 < (lengths[1] > 8).mean() < 0.4 and (lengths[2] > 8).all()
    with pytest.raises(OptionError, match="long_cells"):
        BatchOptions(long_cells=2)


def test_ranks_and_parts_cut_the_same_global_batch(corpus):
    def cells(n_ranks, accumulate, step):
        batches = BatchOptions(batch_size=16, accumulate=accumulate)
        parts = [TrainingParts(corpus, MaskingOptions(), batches, 0, rank, n_ranks) for rank in range(n_ranks)]
        return [p for part in parts for i in range(accumulate) for p in part[step * accumulate + i].positions]

    for step in (0, 5):
        assert cells(1, 1, step) == cells(2, 1, step) == cells(2, 2, step) == cells(4, 2, step)


def test_held_out_cells_are_never_trained_on(corpus):
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=corpus.n_cells("train")), seed=0)
    trained = {(c.source, c.file_row) for c in (corpus.cell(p) for p in parts[0].positions)}
    for split in ("held-out cells", "held-out datasets"):
        for batch in held_out_cells(corpus, split, 100, MaskingOptions(), BatchOptions(), 0):
            assert not trained & {(c.source, c.file_row) for c in (corpus.cell(p, split) for p in batch.positions)}


# ---- objective


def test_the_loss_is_that_of_the_model_as_it_is_used(corpus):
    """The training pass over all genes gives the squared errors of `ScFoundation.forward`."""
    torch.manual_seed(0)
    model = ScFoundation(CONFIG, corpus.genes).eval()
    cells = []
    for position in range(5):
        found = corpus.cell(position)
        cells.append(mask_cell(found.genes, found.counts, 64, MaskingOptions(), cell_generator(0, 0, position)))
    rngs = [cell_generator(1, 0, i) for i in range(5)]
    batch = assemble_batch(cells, 64, BatchOptions(), rngs, range(5))
    hidden = [(i, gene) for i, c in enumerate(cells) for gene in c.loss_genes[c.is_hidden]]
    masked = tuple(torch.tensor(column) for column in zip(*hidden, strict=True))
    with torch.no_grad():
        predicted = model(batch.tokens, masked).numpy()
        sums = Objective(model)(batch).numpy()
    errors = [(predicted[i][c.loss_genes] - c.targets) ** 2 for i, c in enumerate(cells)]
    expected = [
        sum(e[c.is_expressed].sum() for e, c in zip(errors, cells, strict=True)),
        sum(e[~c.is_expressed].sum() for e, c in zip(errors, cells, strict=True)),
    ]
    np.testing.assert_allclose(sums, expected, rtol=1e-4)


def test_a_sampled_decoder_is_the_whole_one_on_average(corpus):
    """Weighted sums over a sample of keys estimate the sums over all of them."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8) for n in (5, 400, 400))
    projection = torch.randn(16, 8)
    whole = kernel_attention(q, k, v, projection)
    close = []
    for n in (50, 200):
        parts = []
        for seed in range(300):
            chosen = torch.from_numpy(np.random.default_rng(seed).choice(400, n, replace=False))
            weights = torch.full((1, n), 400 / n)
            parts.append(kernel_attention(q, k[:, :, chosen], v[:, :, chosen], projection, key_weights_BG=weights))
        close.append((torch.stack(parts).mean(0) - whole).abs().max())
    assert close[1] < close[0] < 0.15
    unweighted = kernel_attention(q, k, v, projection, key_weights_BG=torch.ones(1, 400))
    torch.testing.assert_close(unweighted, whole)


def test_sampled_rows_stand_for_all_rows(corpus):
    """Weights sum to the number of rows that a sample replaces, and every asked entry sits in its row."""
    for rows in (20, 36, 50):
        parts = TrainingParts(
            corpus, MaskingOptions(), BatchOptions(batch_size=32, max_genes=24, decoder_rows=rows), seed=1
        )
        batch = parts[3]
        assert batch.ids_BR.shape == (32, rows)
        np.testing.assert_allclose(batch.weights_BR.sum(1), 66, atol=12)
        n_tokens = sum(batch.tokens.lengths)
        cells, at = np.divmod(batch.loss_rows.numpy(), rows)
        assert set(cells) == set(range(32))
        asked = batch.sources_BR.numpy()[cells, at]
        assert (asked == n_tokens + 1).mean() > 0.7  # most are hidden
        for i, position in enumerate(batch.positions):
            ids = batch.ids_BR[i][batch.weights_BR[i] > 0].tolist()
            assert len(set(ids)) == len(ids), "a gene has one row"
            found = corpus.cell(position)
            raw = dict(zip(found.genes, np.log1p(found.counts * (1e4 / found.counts.sum())), strict=True))
            here = cells == i
            np.testing.assert_allclose(
                batch.targets[here], [raw.get(g, 0) for g in batch.ids_BR[i].numpy()[at[here]]], rtol=1e-4, atol=1e-6
            )


def test_recomputing_layers_changes_memory_only(corpus):
    batch = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=8), seed=0)[0]
    grads = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = ScFoundation(replace(CONFIG, dropout=0.0), corpus.genes).train()
        Objective(model, recompute_layers=recompute)(batch).sum().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_a_new_model_starts_from_the_data(corpus):
    """Better than random weights before the first step, and with tokens and cells that the encoder tells apart."""
    torch.manual_seed(0)
    model = ScFoundation(replace(CONFIG, dropout=0.0), corpus.genes)
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=32), seed=0)
    with torch.no_grad():
        before = Objective(model)(parts[1]).sum()
    values, sources = sample_cells(corpus, 100)
    initialise_from_data(model, values, gene_means(corpus, values, sources, MaskingOptions()), seed=0)
    prepare_layers(model, parts[0])
    with torch.no_grad():
        after = Objective(model)(parts[1]).sum()
        hidden = model.encode(parts[1].tokens)
    assert after < 0.7 * before
    cells = [hidden[end - n : end - 2] for end, n in zip(parts[1].tokens.ends, parts[1].tokens.lengths, strict=True)]
    assert min(cell.std(0).mean() for cell in cells) > 0.2
    assert torch.stack([cell.mean(0) for cell in cells]).std(0).mean() > 0.02


# ---- runs


def test_training_beats_the_genes_means(uninterrupted, corpus, tmp_path):
    rows = curve(uninterrupted)
    assert [int(row["step"]) for row in rows] == list(range(2, 25, 2))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    scored = [row for row in rows if row["validation"]]
    assert [int(row["step"]) for row in scored] == [8, 16, 24]
    longer = options(steps=120, validate_every=120, average=0.9)
    pretrain(corpus.folder, tmp_path / "out", replace(CONFIG, dropout=0.0), longer)
    last = curve(tmp_path / "out")[-1]
    assert float(last["validation_expressed"]) < 0.85 * float(last["baseline_expressed"])
    assert float(last["datasets_expressed"]) < 0.9 * float(last["datasets_baseline_expressed"])


def test_the_result_is_a_checkpoint_with_card_and_curve(uninterrupted):
    folder = uninterrupted / "checkpoint"
    info = checkpoint_info(folder)
    assert info.is_trained and info.training["steps"] == 24 and info.training["cells_seen"] == 24 * 16
    assert info.training["corpus"]["held_out_datasets"] == ["set2"]
    assert "| set0 |" in info.readme and "Apache-2.0" in info.readme
    assert (folder / "log.csv").read_bytes() == (uninterrupted / "log.csv").read_bytes()
    assert load_checkpoint(folder).genes == tuple(f"G{i}" for i in range(64))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_run_resumes_to_the_same_curve_and_weights(corpus, uninterrupted, tmp_path, seed):
    rng = random.Random(seed)
    out = tmp_path / "out"
    process = start(corpus, out, pause=0.05)
    wanted = 2 * rng.randrange(3, 11)
    for line in process.stdout:
        if line.startswith(f"step {wanted} "):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = read_state(out)["step"]
    assert reached % 4 == 0 and 4 <= reached < 24
    pretrain(corpus.folder, out, CONFIG, options(), resume=True)
    assert curve(out) == curve(uninterrupted)
    mine, theirs = (load_file(folder / "checkpoint/weights.safetensors") for folder in (out, uninterrupted))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=0)


def test_an_interrupted_run_stops_after_its_step_and_resumes_exactly(corpus, uninterrupted, tmp_path):
    out = tmp_path / "out"
    process = start(corpus, out, pause=0.1)
    for line in process.stdout:
        if line.startswith("step 6 "):
            process.send_signal(signal.SIGINT)
        last = line
    assert process.wait() == 0
    assert "--resume" in last and f"step {read_state(out)['step']};" in last
    pretrain(corpus.folder, out, CONFIG, options(), resume=True)
    assert curve(out) == curve(uninterrupted)


def test_a_run_stopped_by_its_caller_resumes_to_the_same_curve_and_weights(corpus, uninterrupted, tmp_path):
    """`should_stop` leaves what Ctrl-C leaves; progress counts every step of both parts once."""
    out, steps = tmp_path / "out", []
    pretrain(
        corpus.folder,
        out,
        CONFIG,
        options(),
        progress=lambda *now: steps.append(now),
        should_stop=lambda: len(steps) == 7,
    )
    assert read_state(out)["step"] == len(steps) == 7
    pretrain(corpus.folder, out, CONFIG, options(), resume=True, progress=lambda *now: steps.append(now))
    assert [step for step, _n, _loss in steps] == list(range(1, 25)) and {n for _step, n, _loss in steps} == {24}
    assert curve(out) == curve(uninterrupted)
    losses = [loss for _step, _n, loss in steps]
    for row in curve(out):  # each is the mean over two steps
        one, other = sorted(losses[int(row["step"]) - 2 : int(row["step"])])
        assert one * (1 - 1e-5) <= float(row["loss"]) <= other * (1 + 1e-5)
    mine, theirs = (load_file(folder / "checkpoint/weights.safetensors") for folder in (out, uninterrupted))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=0)


@pytest.fixture(scope="module")
def on_one_rank(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    pretrain(corpus.folder, out, replace(CONFIG, dropout=0.0), options(**ON_RANKS))
    return out


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_equal_one(corpus, on_one_rank, tmp_path, strategy):
    """Also when the run is started on two ranks and finished on one."""
    out = tmp_path / "out"
    done = subprocess.run(
        command(corpus, out, ranks=2, strategy=strategy, accumulate=2, dropout=0.0, **ON_RANKS | {"steps": 4}),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert checkpoint_info(out / "checkpoint").training["hardware"].startswith("2 process")
    pretrain(corpus.folder, out, replace(CONFIG, dropout=0.0), options(**ON_RANKS), resume=True)
    for mine, theirs in zip(curve(out), curve(on_one_rank), strict=True):
        tolerance = 1e-5 if mine["step"] == "1" else 2e-3  # Adam divides small gradients by their own size
        for name in ("loss", "mse_expressed", "mse_zero", "gradient_norm", "cells", "validation", "datasets_expressed"):
            if theirs[name]:
                assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=tolerance), name
    two, one = (load_file(folder / "checkpoint/weights.safetensors") for folder in (out, on_one_rank))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-4)


def test_runaway_numbers_stop_with_step_cells_and_advice(corpus, tmp_path):
    with pytest.raises(JobError) as stopped:
        pretrain(corpus.folder, tmp_path / "out", CONFIG, options(learning_rate=1e30, clip=1e30, warm_up=1))
    error = stopped.value
    assert "step" in error.found and "of set" in error.found
    assert "learning rate" in error.advice
    state = read_state(tmp_path / "out") if (tmp_path / "out/state.pt").is_file() else None
    if state is not None:
        assert all(torch.isfinite(t).all() for t in state["model"].values())


def test_a_run_resumes_as_it_was_started_only(corpus, uninterrupted, tmp_path):
    with pytest.raises(OptionError, match="already holds a run"):
        pretrain(corpus.folder, uninterrupted, CONFIG, options())
    with pytest.raises(OptionError, match="batches was"):
        pretrain(corpus.folder, uninterrupted, CONFIG, options(batch_size=8), resume=True)
    with pytest.raises(CheckpointError, match="no state"):
        pretrain(corpus.folder, tmp_path / "empty", CONFIG, options(), resume=True)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/state.pt").write_bytes((uninterrupted / "state.pt").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        pretrain(corpus.folder, tmp_path / "torn", CONFIG, options(), resume=True)


def test_a_batch_that_does_not_divide_is_refused(corpus, tmp_path):
    with pytest.raises(OptionError, match="does not divide"):
        pretrain(corpus.folder, tmp_path / "out", CONFIG, options(batch_size=15, accumulate=2))


def test_training_stops_early_when_asked(corpus, tmp_path):
    still = options(steps=200, validate_every=2, learning_rate=1e-12, patience=2)
    pretrain(corpus.folder, tmp_path / "out", CONFIG, still)
    assert read_state(tmp_path / "out")["step"] <= 10


def test_rate_rises_stays_and_falls():
    plan = TrainingOptions(steps=100, learning_rate=1.0, warm_up=10, cool_down=20)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[50] == rates[79] == 1.0
    assert rates[90] == pytest.approx(0.5) and 0 < rates[99] <= 0.05


def test_bf16_follows_fp32(corpus):
    batch = TrainingParts(corpus, MaskingOptions(), BatchOptions(batch_size=32), seed=0)[0]
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        objective = Objective(ScFoundation(replace(CONFIG, dropout=0.0), corpus.genes))
        trainer = Trainer(objective, TrainingOptions(steps=20, precision=precision, warm_up=1), Ranks())
        losses.append([trainer.train_step([batch], lambda b: "")["expressed"] for _ in range(20)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    assert losses[1][-1] < 0.8 * losses[1][0]
