"""What an adapted model is worth, and adapters as files."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_cells import make_cells, save_tiny_checkpoint, write_cells
from train_small import options

from scfviz.__main__ import main
from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_reader import Corpus
from scfviz.data.corpus_writer import CorpusOptions
from scfviz.errors import CheckpointError, DatasetError
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.training.adapt import CORPUS, adapt, judge_adapted
from scfviz.training.adapters import ADAPTER, apply_adapter, describe_adapter
from scfviz.training.batches import held_out_cells
from scfviz.training.judge import LARGEST_FORGETTING, Change, compare, decide, judge
from scfviz.training.options import MaskingOptions, masking_of
from scfviz.training.state import LOG

pytestmark = pytest.mark.usefixtures("one_thread")
SPLIT = "held-out cells"
RULES = CorpusOptions(held_out_cells=0.25, held_out_datasets=0.0, more_than_genes=50)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return tmp_path_factory.mktemp("demos")


@pytest.fixture(scope="module")
def adapted(tiny, tmp_path_factory):
    """A folder of `adapt` with a low rank, after steps that are far too large to help."""
    out = tmp_path_factory.mktemp("adapted") / "out"
    cells = write_cells(out.parent / "cells.h5ad", 60)
    short = options(steps=6, batch_size=4, decoder_rows=512, log_every=1, validate_every=2, learning_rate=0.05)
    adapt([cells], out, short, checkpoint=tiny, rank=2)
    return out


# ---- the verdict


def test_a_model_is_as_good_as_itself(tiny, demos, tmp_path):
    build_corpus([write_cells(tmp_path / "cells.h5ad", 200)], tmp_path / "corpus", options=RULES)
    model = load_checkpoint(tiny)
    verdict = judge(model, model, Corpus(tmp_path / "corpus"), demos, n_cells=24)
    assert not verdict.keep and "as good" in verdict.reason
    for change in (verdict.own, verdict.general):
        assert (change.relative, change.low, change.high) == (0, 0, 0) and change.before == change.after > 0
    assert verdict.own.n_cells == verdict.general.n_cells == 24


def test_a_model_is_judged_by_the_objective_it_was_trained_with():
    """The one that ships never saw random values; asked with them, its error fell by 43 % in fifty steps."""
    shipped = checkpoint_info(default_checkpoint()).training
    assert masking_of(shipped).random_value == shipped["objective"]["random_value"] == 0
    assert masking_of({}) == MaskingOptions()
    assert masking_of({"objective": {"of a later version": 1, "beta_a": 3.0}}) == MaskingOptions(beta_a=3.0)


def change(relative: float, spread: float = 0.01, n_cells: int = 64) -> Change:
    return Change(n_cells, 1.0, 1 + relative, relative, relative - spread, relative + spread)


@pytest.mark.parametrize(
    ("own", "general", "keep", "said"),
    [
        (change(-0.10), change(0.01), True, "-10.0%"),
        (change(-0.10), change(-0.02), True, "immune cells"),
        (change(-0.005), change(0.0), False, "no certain gain"),
        (change(0.20), change(0.0), False, "as it was is as good"),
        (change(-0.10), change(LARGEST_FORGETTING + 0.01), False, "forgotten"),
        (change(-0.10, n_cells=5), change(0.0), False, "Only 5 cells"),
    ],
)
def test_only_what_certainly_helps_and_forgets_little_is_kept(own, general, keep, said):
    verdict = decide(own, general)
    assert verdict.keep == keep and said in verdict.reason
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_cells_that_choose_the_weights_do_not_judge_them(tiny, demos, tmp_path, monkeypatch):
    """The best of several validations on the same cells would look better than it is."""
    seen = []

    def note(*given, **options):
        batches = held_out_cells(*given, **options)
        seen.append({position for batch in batches for position in batch.positions} if given[1] == SPLIT else set())
        return batches

    monkeypatch.setattr("scfviz.training.pretrain.held_out_cells", note)
    monkeypatch.setattr("scfviz.training.judge.held_out_cells", note)
    short = options(steps=2, batch_size=4, decoder_rows=512, validate_every=2, seed=3)
    adapt([write_cells(tmp_path / "cells.h5ad", 60)], tmp_path / "out", short, checkpoint=tiny, rank=2)
    verdict = judge_adapted(tmp_path / "out", demos, checkpoint=tiny)
    choosing, judging = (cells for cells in seen if cells)
    assert choosing and judging and not choosing & judging
    assert len(choosing | judging) <= Corpus(tmp_path / "out" / CORPUS).n_cells(SPLIT)
    assert verdict.own.n_cells == len(judging)


def test_the_interval_is_paired():
    """Cells differ far more than the two models do on each of them."""
    rng = np.random.default_rng(0)
    before = rng.lognormal(0, 1.5, 60)
    found = compare(before, before * (0.95 + 0.01 * rng.standard_normal(60)))
    assert -0.07 < found.low < found.relative < found.high < -0.03


# ---- what is held out


def test_donors_are_held_out_whole(tmp_path):
    cells = make_cells(200)
    cells.obs["donor"] = np.repeat([f"d{i}" for i in range(8)], 25)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    build_corpus([tmp_path / "cells.h5ad"], tmp_path / "corpus", options=replace(RULES, hold_out_by="donor"))
    corpus = Corpus(tmp_path / "corpus")
    held_out = set(corpus.sources[0]["held_out_values"])
    donors = {
        split: {cells.obs["donor"].iloc[corpus.cell(i, split).file_row] for i in range(corpus.n_cells(split))}
        for split in ("train", "held-out cells")
    }
    assert donors["held-out cells"] == held_out and len(held_out) == 2
    assert donors["train"] == set(cells.obs["donor"]) - held_out
    build_corpus([tmp_path / "cells.h5ad"], tmp_path / "other", options=RULES)
    assert corpus.fingerprint != Corpus(tmp_path / "other").fingerprint


@pytest.mark.parametrize(("column", "said"), [("sample", "same value"), ("donor", "no column")])
def test_a_column_that_holds_nothing_out_is_refused(tmp_path, column, said):
    write_cells(tmp_path / "cells.h5ad", 60)
    with pytest.raises(DatasetError) as error:
        build_corpus([tmp_path / "cells.h5ad"], tmp_path / "corpus", options=replace(RULES, hold_out_by=column))
    assert said in str(error.value)


def test_the_best_validation_is_kept(adapted):
    """Not the last one: a run that gets worse leaves what was better."""
    import csv

    with (adapted / LOG).open(newline="") as file:
        scores = [float(row["validation"]) for row in csv.DictReader(file) if row["validation"]]
    kept = checkpoint_info(adapted / "checkpoint").training["steps"]
    assert len(scores) == 3 and kept == 2 * (1 + int(np.argmin(scores)))


# ---- adapters as files


def test_an_adapter_makes_the_same_checkpoint_again(adapted, tiny, tmp_path):
    about = describe_adapter(adapted / ADAPTER)
    assert about["base_hash"] == checkpoint_info(tiny).hash and about["rank"] == 2
    assert (adapted / ADAPTER).stat().st_size < 0.5 * (adapted / "checkpoint" / "weights.safetensors").stat().st_size
    again = load_checkpoint(apply_adapter(adapted / ADAPTER, tmp_path / "merged", checkpoint=tiny))
    for (name, one), other in zip(
        load_checkpoint(adapted / "checkpoint").state_dict().items(), again.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=name)


def test_an_adapter_of_another_model_or_a_damaged_one_is_refused(adapted, tiny, tmp_path):
    other = save_tiny_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError) as error:
        apply_adapter(adapted / ADAPTER, tmp_path / "out", checkpoint=other)
    assert "belongs to the checkpoint 'tiny'" in str(error.value)
    whole = load_file(adapted / ADAPTER)
    about = {"scfviz": json.dumps({"format": 1, **describe_adapter(adapted / ADAPTER)})}
    name = next(iter(whole))
    broken = {
        "no number": {**whole, name: torch.full_like(whole[name], torch.nan)},
        "a layer is missing": {key: value for key, value in whole.items() if key != name},
        "another shape": {**whole, name: whole[name][:1]},
    }
    for file, tensors in broken.items():
        save_file(tensors, tmp_path / file, metadata=about)
        with pytest.raises(CheckpointError, match="does not fit"):
            apply_adapter(tmp_path / file, tmp_path / "out", checkpoint=tiny)
    save_file(whole, tmp_path / "plain")
    (tmp_path / "cut").write_bytes((adapted / ADAPTER).read_bytes()[:100])
    for file in ("plain", "cut", "nowhere"):
        with pytest.raises(CheckpointError, match="is no adapter"):
            apply_adapter(tmp_path / file, tmp_path / "out", checkpoint=tiny)
    assert not (tmp_path / "out").exists()


def test_commands_adapt_judge_and_embed_with_the_adapter(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    cells, out = str(write_cells(tmp_path / "cells.h5ad", 60)), tmp_path / "out"
    few = ["--batch-size", "4", "--decoder-rows", "512", "--validation-cells", "4", "--log-every", "1", "--steps", "2"]
    assert main(["adapt", cells, "--out", str(out), "--checkpoint", str(tiny), "--low-rank", "2", *few]) == 0
    said = capsys.readouterr().out
    assert "Discard it. Only" in said and str(out / ADAPTER) in said
    merged = ["--checkpoint", str(out / "checkpoint")]
    for name, model in (("a", ["--checkpoint", str(tiny), "--adapter", str(out / ADAPTER)]), ("b", merged)):
        assert main(["embed", cells, str(tmp_path / f"{name}.h5ad"), "--precision", "fp32", *model]) == 0
    one, other = (ad.read_h5ad(tmp_path / f"{name}.h5ad").obsm["X_scfoundation"] for name in "ab")
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert main(["embed", cells, str(tmp_path / "c.h5ad"), "--adapter", str(out / ADAPTER)]) == 2
    assert "belongs to the checkpoint" in capsys.readouterr().err
    verdict = judge_adapted(out, tmp_path / "workspace", checkpoint=tiny, n_cells=4)
    assert verdict.own.n_cells == min(4, Corpus(out / CORPUS).n_cells("held-out cells"))
