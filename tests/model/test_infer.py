"""Inference gives the same numbers however cells are grouped, interrupted or short of memory."""

import json
import subprocess
import sys
import textwrap

import anndata as ad
import numpy as np
import official
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from scfviz.data.align import align_genes
from scfviz.errors import DatasetError, GeneError, JobError, OptionError, Stopped
from scfviz.model import batching, engine
from scfviz.model.batching import BatchPlan
from scfviz.model.checkpoint import load_checkpoint
from scfviz.model.config import ModelConfig
from scfviz.model.infer import embed_cells, embed_genes, predict_expression
from scfviz.model.official import import_official
from scfviz.model.prepared import PreparedModel
from scfviz.model.scfoundation import ScFoundation, pool_cells
from scfviz.model.tokens import prepare_cells, tokenise

N_CELLS = 23


@pytest.fixture
def counts():
    rng = np.random.default_rng(1)
    rates = rng.gamma(1.0, 0.6, size=(N_CELLS, 1))
    values = rng.poisson(rates, size=(N_CELLS, 64)).astype(np.float32)
    values[:, 5] += 1
    return csr_matrix(values)


@pytest.fixture
def small_batches(monkeypatch):
    """Many batches of a few cells, in several windows."""
    monkeypatch.setattr(engine, "choose_tokens_per_batch", lambda *_: 90)
    monkeypatch.setattr(engine, "BatchPlan", lambda tokens: BatchPlan(tokens, 200))


def alone(counts, model, **depth) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and gene context embeddings of each cell, one by one, from the modules themselves."""
    cells, genes = [], []
    with torch.inference_mode():
        for row in counts:
            tokens = tokenise(prepare_cells(row, **depth), model.config)
            hidden = model.encode(tokens)
            cells.append(pool_cells(hidden, tokens)[0])
            genes.append(model.decode(hidden, tokens)[0])
    return torch.stack(cells).numpy(), torch.stack(genes).numpy()


@pytest.mark.parametrize("tokens_per_batch", [1, 90, 10_000])
@pytest.mark.parametrize("entries_per_window", [1, 200, 10_000])
def test_embedding_does_not_depend_on_batches(monkeypatch, small_model, counts, tokens_per_batch, entries_per_window):
    plan = BatchPlan(tokens_per_batch, entries_per_window)
    monkeypatch.setattr(engine, "BatchPlan", lambda _tokens: plan)
    found = embed_cells(counts, small_model, target_depth=1e4, precision="fp32")
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, alone(counts, small_model, target_depth=1e4)[0], rtol=0, atol=1e-5)


def test_embedding_follows_the_order_of_the_cells(small_model, counts, small_batches):
    order = np.random.default_rng(0).permutation(N_CELLS)
    straight = embed_cells(counts, small_model, precision="fp32").values
    np.testing.assert_allclose(
        embed_cells(counts[order], small_model, precision="fp32").values, straight[order], rtol=0, atol=1e-5
    )


def test_pooling_max_and_depths_are_those_asked_for(small_model, counts):
    found = embed_cells(counts, small_model, depth_fold=5, pooling="max", precision="fp32")
    assert found.values.shape == (N_CELLS, 32)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    np.testing.assert_allclose(found.source_depth, totals)
    np.testing.assert_allclose(found.target_depth, 5 * totals)
    for row, values in zip(counts, found.values, strict=True):
        tokens = tokenise(prepare_cells(row, depth_fold=5), small_model.config)
        with torch.inference_mode():
            np.testing.assert_allclose(values, small_model.encode(tokens).amax(0), rtol=0, atol=1e-5)


def test_bf16_stays_close_to_exact_for_every_cell(counts):
    torch.manual_seed(0)
    config = ModelConfig(
        n_genes=64, encoder_width=128, encoder_layers=4, encoder_heads=4,
        decoder_width=64, decoder_layers=2, decoder_heads=2, decoder_head_width=32,
    )  # fmt: skip
    model = ScFoundation(config, [f"G{i}" for i in range(64)]).eval()
    exact = embed_cells(counts, model, precision="fp32").values
    found = embed_cells(counts, model, precision="bf16").values
    cosine = (exact * found).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() >= 0.999
    assert np.abs(exact - found).max() > 0


def test_gene_embeddings_are_means_over_each_group(small_model, counts, small_batches):
    groups = np.array(["b", "a", "b"])[np.arange(N_CELLS) % 3]
    found = embed_genes(counts, small_model, groups=groups, depth_fold=2, precision="fp32")
    single = alone(counts, small_model, depth_fold=2)[1]
    assert found.groups == ("a", "b") and found.n_cells.tolist() == [8, 15]
    for name, values in zip(found.groups, found.values, strict=True):
        np.testing.assert_allclose(values, single[groups == name].mean(0), rtol=0, atol=1e-5)
    everything = embed_genes(counts, small_model, depth_fold=2, precision="fp32")
    np.testing.assert_allclose(everything.values[0], single.mean(0), rtol=0, atol=1e-5)


def test_predicted_expression_equals_the_model_cell_by_cell(small_model, counts, small_batches, tmp_path):
    found = predict_expression(counts, small_model, target_depth=5000, precision="fp32", out=tmp_path / "out")
    assert found.shape == (N_CELLS, 64) and not found.flags.writeable
    with torch.inference_mode():
        for row, values in zip(counts, found, strict=True):
            tokens = tokenise(prepare_cells(row, target_depth=5000), small_model.config)
            np.testing.assert_allclose(values, small_model(tokens)[0], rtol=0, atol=1e-5)


def test_an_aligned_dataset_gives_what_its_matrix_gives(monkeypatch, small_model, counts):
    """Groups scattered over the file are read by cell, windows by block."""
    from scfviz.data.vocabulary import load_vocabulary

    symbols = list(load_vocabulary().symbols[:300])
    torch.manual_seed(0)
    sizes = small_model.config.as_dict() | {"n_genes": 300}
    model = ScFoundation(ModelConfig(**sizes), symbols).eval()
    rng = np.random.default_rng(0)
    matrix = csr_matrix(rng.poisson(0.8, size=(N_CELLS, 300)).astype(np.float32))
    shuffled = rng.permutation(300)
    adata = ad.AnnData(matrix[:, shuffled], var=pd.DataFrame(index=np.array(symbols)[shuffled]))
    aligned = align_genes(adata, genes=symbols)
    monkeypatch.setattr(engine, "BatchPlan", lambda tokens: BatchPlan(tokens, 1500))
    groups = np.arange(N_CELLS) % 2
    np.testing.assert_array_equal(
        embed_cells(aligned, model, precision="fp32").values, embed_cells(matrix, model, precision="fp32").values
    )
    np.testing.assert_array_equal(
        embed_genes(aligned, model, groups=groups, precision="fp32").values,
        embed_genes(matrix, model, groups=groups, precision="fp32").values,
    )
    with pytest.raises(GeneError, match="not this model's"):
        embed_cells(aligned, small_model)


@pytest.fixture(scope="module")
def official_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    torch.save(official.official_file(), folder / "models.ckpt")
    return {path.name: load_checkpoint(path) for path in import_official(folder / "models.ckpt", folder / "out")}


def test_inference_gives_the_recorded_official_numbers(official_models):
    recorded = official.recorded()
    cells = csr_matrix(official.cells().astype(np.float32))
    model, kept = official_models["cell"], recorded["gene_ids"]
    for name, depth in (("t4", {"target_depth": 1e4}), ("f1", {}), ("a5", {"depth_fold": 1e5})):
        found = embed_cells(cells, model, precision="fp32", **depth).values
        np.testing.assert_allclose(found, recorded[f"cell_ce_{name}_all"], rtol=0, atol=1e-5)
    bulk = csr_matrix(official.bulk())
    found = embed_cells(bulk, model, precision="fp32", official_input="official bulk, normalised").values
    np.testing.assert_allclose(found, recorded["bulk_ce_F_all"], rtol=0, atol=1e-5)
    model = official_models["gene"]
    found = embed_genes(cells[:3], model, groups=["0", "1", "2"], precision="fp32").values[:, kept]
    np.testing.assert_allclose(found, recorded["gene_f1"], rtol=0, atol=1e-5)
    found = predict_expression(cells[:3], model, target_depth=1e4, precision="fp32")[:, kept]
    np.testing.assert_allclose(found, recorded["gene_expression_t4"], rtol=0, atol=1e-5)


# ---- interruption


KILLED = """
    import os, signal, sys
    import numpy as np, torch
    from scipy.sparse import load_npz
    from scfviz.model import engine, infer, store
    from scfviz.model.batching import BatchPlan
    from scfviz.model.config import ModelConfig
    from scfviz.model.scfoundation import ScFoundation

    folder, task, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
    engine.choose_tokens_per_batch = lambda *_: 90
    engine.BatchPlan = lambda tokens: BatchPlan(tokens, 200)
    store._SAVE_EVERY_SECONDS = 0.0
    weights = torch.load(folder + "/model.pt", weights_only=True)
    model = ScFoundation(ModelConfig(**weights["config"]), [f"G{i}" for i in range(64)]).eval()
    model.load_state_dict(weights["state"])

    def progress(done, total):
        global batches
        batches -= 1
        if not batches:
            os.kill(os.getpid(), signal.SIGKILL)

    counts = load_npz(folder + "/counts.npz")
    options = {"groups": np.arange(counts.shape[0]) % 2} if task == "embed_genes" else {}
    getattr(infer, task)(counts, model, out=folder + "/killed", progress=progress, **options)
"""


@pytest.mark.parametrize(("task", "batches"), [("embed_cells", 1), ("embed_cells", 6), ("embed_genes", 7)])
def test_a_killed_run_goes_on_and_gives_the_same_bits(tmp_path, small_model, counts, small_batches, task, batches):
    from scipy.sparse import save_npz

    save_npz(tmp_path / "counts.npz", counts)
    torch.save({"config": small_model.config.as_dict(), "state": small_model.state_dict()}, tmp_path / "model.pt")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), task, str(batches)]
    assert subprocess.run(command, check=False).returncode == -9
    state = json.loads((tmp_path / "killed" / "progress.json").read_text())
    # sums are saved at most every millisecond, in which the next batch may be done
    n_saved = state["batches_done"]
    assert n_saved == batches or (task == "embed_genes" and batches - 3 <= n_saved < batches)
    options = {"groups": np.arange(N_CELLS) % 2} if task == "embed_genes" else {}
    run = {"embed_cells": embed_cells, "embed_genes": embed_genes}[task]
    evaluated = []
    with pytest.MonkeyPatch.context() as patch:
        # the plan is the interrupted run's, whatever the memory says now
        patch.setattr(engine, "choose_tokens_per_batch", lambda *_: 1000)
        original = engine.InferenceRun._evaluate
        patch.setattr(engine.InferenceRun, "_evaluate", lambda *args: (evaluated.append(args[4]), original(*args))[1])
        resumed = run(counts, small_model, out=tmp_path / "killed", resume=True, **options)
    whole = run(counts, small_model, out=tmp_path / "whole", **options)
    np.testing.assert_array_equal(resumed.values, whole.values)
    n_batches = json.loads((tmp_path / "whole" / "progress.json").read_text())["batches_done"]
    assert len(evaluated) == n_batches - n_saved > 0
    assert not list((tmp_path / "killed").glob("sums*"))


def test_a_stopped_run_goes_on_and_a_finished_one_is_not_computed_again(
    monkeypatch, tmp_path, small_model, counts, small_batches
):
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        embed_cells(counts, small_model, out=tmp_path / "out", should_stop=lambda: next(answers))
    assert json.loads((tmp_path / "out" / "progress.json").read_text())["batches_done"] == 2
    resumed = embed_cells(counts, small_model, out=tmp_path / "out", resume=True).values
    np.testing.assert_array_equal(resumed, embed_cells(counts, small_model).values)
    monkeypatch.setattr(PreparedModel, "encode", None)
    again = embed_cells(counts, small_model, out=tmp_path / "out", resume=True).values
    np.testing.assert_array_equal(again, resumed)


def test_a_run_gives_the_same_bits_with_any_number_of_threads(small_model, counts, small_batches):
    before, found = torch.get_num_threads(), []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        found.append((embed_cells(counts, small_model).values, embed_genes(counts, small_model).values))
    torch.set_num_threads(before)
    for cells, genes in found[1:]:
        np.testing.assert_array_equal(cells, found[0][0])
        np.testing.assert_array_equal(genes, found[0][1])


def test_another_run_is_not_mixed_into_an_interrupted_one(tmp_path, small_model, counts):
    out = tmp_path / "out"
    embed_cells(counts, small_model, out=out, target_depth=1e4)
    changed = counts.copy()
    changed.data[3] += 1
    for other, options, word in (
        (changed, {"target_depth": 1e4}, "cells"),
        (counts, {"target_depth": 2e4}, "target_depth"),
        (counts, {"target_depth": 1e4, "pooling": "max"}, "pooling"),
    ):
        with pytest.raises(JobError, match=word):
            embed_cells(other, small_model, out=out, resume=True, **options)
    with torch.no_grad():
        small_model.encoder[0].out.bias += 0.1
    with pytest.raises(JobError, match="weights"):
        embed_cells(counts, small_model, out=out, resume=True, target_depth=1e4)
    again = embed_cells(counts, small_model, out=out, target_depth=1e4).values
    np.testing.assert_array_equal(again, embed_cells(counts, small_model, target_depth=1e4).values)


@pytest.mark.parametrize("damage", ["{", "{}", '{"format": 1}'])
def test_a_damaged_folder_is_refused(tmp_path, small_model, counts, damage):
    embed_cells(counts, small_model, out=tmp_path)
    (tmp_path / "progress.json").write_text(damage)
    with pytest.raises(JobError, match="cannot be read"):
        embed_cells(counts, small_model, out=tmp_path, resume=True)


def test_progress_rises_to_all_cells(small_model, counts, small_batches):
    seen = []
    embed_cells(counts, small_model, progress=lambda *args: seen.append(args))
    done = [d for d, _total in seen]
    assert done == sorted(done) and seen[-1] == (N_CELLS, N_CELLS) and len(seen) > 5


# ---- memory

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu", "numpy"])
def test_batches_are_halved_when_memory_does_not_suffice(monkeypatch, small_model, counts, error):
    expected = embed_cells(counts, small_model, precision="fp32").values
    sums = embed_genes(counts, small_model, precision="fp32").values
    encode, tried = PreparedModel.encode, []

    def limited(self, tokens):
        tried.append(sum(tokens.lengths))
        if tried[-1] > 150 and len(tokens.lengths) > 1:
            raise error
        return encode(self, tokens)

    monkeypatch.setattr(PreparedModel, "encode", limited)
    monkeypatch.setattr(engine, "BatchPlan", lambda _tokens: BatchPlan(400, 400))
    np.testing.assert_allclose(embed_cells(counts, small_model, precision="fp32").values, expected, rtol=0, atol=1e-5)
    failed = [n for n in tried if n > 150]
    assert 1 <= len(failed) <= 3, "later batches are cut before they fail"
    np.testing.assert_allclose(embed_genes(counts, small_model, precision="fp32").values, sums, rtol=0, atol=1e-5)


def test_a_cell_that_does_not_fit_is_named_and_other_errors_pass(monkeypatch, small_model, counts):
    def fail(error):
        def encode(self, tokens):
            raise error

        monkeypatch.setattr(PreparedModel, "encode", encode)

    fail(MemoryError())
    with pytest.raises(JobError, match="Memory does not suffice for cell number"):
        embed_cells(counts, small_model)
    fail(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="multiplied"):
        embed_cells(counts, small_model)


BULK = """
    import resource, sys
    import numpy as np, torch
    from scipy.sparse import csr_matrix
    from scfviz.model.config import PRESETS
    from scfviz.model.infer import embed_cells
    from scfviz.model.scfoundation import ScFoundation

    torch.manual_seed(0)
    config = PRESETS["tiny"]
    model = ScFoundation(config, [f"G{i}" for i in range(config.n_genes)]).eval()
    counts = np.zeros((1, config.n_genes), dtype=np.float32)
    counts[0, :18000] = np.arange(1, 18001) % 50 + 1
    warm = counts.copy()
    warm[:, 1000:] = 0
    embed_cells(csr_matrix(warm), model, precision=sys.argv[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = embed_cells(csr_matrix(counts), model, precision=sys.argv[1]).values
    assert np.isfinite(values).all()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_bulk_sample_needs_no_memory_quadratic_in_its_genes(precision):
    """One matrix of scores of 18,000 x 18,000 alone would take 648 MB in bf16."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BULK), precision], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) / 1024 < 200


def test_batches_are_planned_within_free_memory(monkeypatch):
    config = ModelConfig()
    chosen = {}
    for free in (0, 2**28, 2**40):
        monkeypatch.setattr(batching, "free_memory", lambda _device, free=free: free)
        chosen[free] = batching.choose_tokens_per_batch(config, torch.device("cpu"), 4, False)
    assert 256 == chosen[0] < chosen[2**28] < chosen[2**40] == 4096


def test_a_plan_takes_each_cell_once_and_keeps_its_limits():
    rng = np.random.default_rng(0)
    n_expressed = rng.integers(1, 900, size=500)
    plan = BatchPlan(2000, 5000)
    groups = [np.arange(0, 500, 2), np.arange(1, 500, 2)]
    for chosen in (None, groups):
        windows = list(plan.windows(n_expressed, chosen))
        assert sorted(np.concatenate(windows)) == list(range(500))
        for window in windows:
            assert n_expressed[window].sum() <= 5000 and (np.diff(window) > 0).all()
            batches = plan.batches(n_expressed[window] + 2)
            assert sorted(np.concatenate(batches)) == list(range(len(window)))
            assert all((n_expressed[window][batch] + 2).sum() <= 2000 for batch in batches)
    assert [len(w) for w in BatchPlan(1, 1).windows(n_expressed[:3])] == [1, 1, 1]


# ---- input


def test_stored_zeros_and_unsorted_columns_change_nothing(small_model, counts):
    data = np.append(counts.data, np.float32(0))  # a stored zero at the end of the last cell
    indices = np.append(counts.indices, 63)
    indptr = counts.indptr.copy()
    indptr[-1] += 1
    for start, stop in zip(indptr, indptr[1:], strict=False):
        data[start:stop], indices[start:stop] = data[start:stop][::-1].copy(), indices[start:stop][::-1].copy()
    messy = csr_matrix((data.copy(), indices.copy(), indptr), shape=counts.shape)
    np.testing.assert_array_equal(embed_cells(messy, small_model).values, embed_cells(counts, small_model).values)
    np.testing.assert_array_equal(messy.data, data)
    np.testing.assert_array_equal(messy.indices, indices)


def test_unusable_input_is_refused_in_words_before_anything_is_computed(monkeypatch, small_model, counts):
    monkeypatch.setattr(PreparedModel, "encode", None)
    empty = counts.tolil()
    empty[4] = 0
    negative, infinite = counts.copy(), counts.copy()
    negative.data[0], infinite.data[0] = -1, np.inf
    for bad, error, message in (
        (empty.tocsr(), DatasetError, "Cell number 5 has no counts"),
        (negative, DatasetError, "negative"),
        (infinite, DatasetError, "non-finite"),
        (counts[:, :60], DatasetError, "64 columns"),
        (counts[:0], DatasetError, "One or more rows"),
        (counts.toarray(), DatasetError, "sparse matrix"),
    ):
        with pytest.raises(error, match=message):
            embed_cells(bad, small_model)
    for options, message in (
        ({"target_depth": 1e4, "depth_fold": 2}, "Only one"),
        ({"target_depth": -1}, "above zero"),
        ({"pooling": "mean"}, "pooling"),
        ({"precision": "int8"}, "precision"),
        ({"device": "tpu"}, "'tpu' cannot be used"),
        ({"official_input": "bulk"}, "Unknown input kind"),
        ({"official_input": "official bulk, as given", "depth_fold": 2}, "depth fold"),
    ):
        with pytest.raises(OptionError, match=message):
            embed_cells(counts, small_model, **options)
    with pytest.raises(OptionError, match="One group for each cell"):
        embed_genes(counts, small_model, groups=["a", "b"])


def test_official_inputs_reach_the_model_as_the_official_program_prepares_them(small_model, counts, small_batches):
    """Among them a normalisation to the median over all samples, however they are cut into windows."""
    from scfviz.model.tokens import OFFICIAL_INPUTS, prepare_official_input

    for kind in OFFICIAL_INPUTS:
        found = embed_cells(counts, small_model, precision="fp32", official_input=kind)
        tokens = tokenise(prepare_official_input(counts, kind), small_model.config)
        with torch.inference_mode():
            expected = pool_cells(small_model.encode(tokens), tokens)
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5)
        assert np.isnan(found.source_depth).all() and found.provenance["official_input"] == kind


def test_provenance_says_what_was_done_in_plain_values(small_model, counts):
    found = embed_cells(counts, small_model, target_depth=1e4, precision="fp32", device="cpu").provenance
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["precision"] == "fp32" and found["device"] == "cpu" and found["target_depth"] == 1e4
    assert found["n_obs"] == N_CELLS and None not in found.values() and len(found["weights_sha256"]) == 16
