"""The command line: files in, files out, one sentence and exit code 2 for what can't be used."""

import argparse
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from perturbed_cells import make_screen
from scipy.sparse import csr_matrix
from small_cells import make_cells, save_tiny_checkpoint, write_cells
from treated_cells import make_treated

import scfviz
from scfviz.__main__ import build_parser, main
from scfviz.tasks.registry import TASKS
from scfviz.tasks.run import open_cells
from scfviz.tasks.spec import read_options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def cells(folder):
    return write_cells(folder / "cells.h5ad", 30)


@pytest.fixture(scope="module")
def checkpoint(folder):
    return save_tiny_checkpoint(folder / "checkpoint")


def run(*argv):
    return main([str(part) for part in argv])


def test_check_says_what_the_file_holds(cells, capsys):
    assert run("check", cells) == 0
    text = capsys.readouterr().out
    assert "30 cells" in text and "raw, in X" in text and "400 of the model's 19,264 genes" in text
    assert run("check", cells, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_obs"] == 30 and report["counts"]["kind"] == "counts" and report["genes"]["n_measured"] == 400


def test_embed_adds_to_the_users_file_and_says_where_it_comes_from(cells, checkpoint, tmp_path, capsys):
    out = tmp_path / "out.h5ad"
    before = cells.read_bytes()
    options = ["--checkpoint", checkpoint, "--target-depth", 10000, "--precision", "fp32", "--json"]
    assert run("embed", cells, out, *options) == 0
    report = json.loads(capsys.readouterr().out)
    written, given = ad.read_h5ad(out), ad.read_h5ad(cells)
    assert cells.read_bytes() == before
    assert (written.X != given.X).nnz == 0 and list(written.obs) == list(given.obs)
    values = written.obsm["X_scfoundation"]
    assert values.shape == (30, 128) and values.dtype == np.float32
    source = written.uns["scfviz"]
    assert source["checkpoint_hash"] == report["provenance"]["checkpoint_hash"]
    assert source["target_depth"] == 10000 and source["scfviz"] == scfviz.__version__
    assert source["genes_measured"] == 400 and source["precision"] == "fp32"
    assert report["is_trained"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]
    expected = scfviz.embed_cells(
        scfviz.align_genes(given), scfviz.load_checkpoint(checkpoint), target_depth=1e4, precision="fp32"
    )
    np.testing.assert_allclose(values, expected.values, atol=1e-5)


def test_untrained_model_and_renamed_keys_are_said(checkpoint, tmp_path, capsys):
    cells = make_cells(4)
    cells.obsm["X_scfoundation"] = np.zeros((4, 2))
    cells.write_h5ad(tmp_path / "in.h5ad")
    assert (
        run("embed", tmp_path / "in.h5ad", tmp_path / "out.h5ad", "--checkpoint", checkpoint, "--pooling", "max") == 0
    )
    text = capsys.readouterr().out
    assert "untrained" in text and "holds obsm/X_scfoundation already; ours is called" in text
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    assert written.obsm["X_scfoundation"].shape == (4, 2) and written.obsm["X_scfoundation_scfviz"].shape == (4, 32)


def test_a_checkpoint_without_checksums_is_used_and_that_is_said(cells, tmp_path, capsys):
    """As an earlier version saved it."""
    old = save_tiny_checkpoint(tmp_path / "old")
    stored = json.loads((old / "config.json").read_text())
    del stored["sha256"]
    (old / "config.json").write_text(json.dumps(stored))
    assert run("embed", cells, tmp_path / "out.h5ad", "--checkpoint", old) == 0
    assert "the checkpoint has no checksums" in capsys.readouterr().out


def test_check_and_embed_agree_on_empty_cells_and_the_advised_filter_exists(checkpoint, tmp_path, capsys):
    cells = make_cells(9)
    values = cells.X.toarray()
    values[[2, 5]] = 0
    cells.X = csr_matrix(values)
    cells.write_h5ad(tmp_path / "in.h5ad")
    assert run("check", tmp_path / "in.h5ad", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["n_empty"] == 2
    embed = ["embed", tmp_path / "in.h5ad", tmp_path / "out.h5ad", "--checkpoint", checkpoint, "--precision", "fp32"]
    assert run(*embed) == 2
    assert "2 of 9 cells" in (said := capsys.readouterr().err) and "--min-counts" in said
    limit = float(np.sort(values.sum(axis=1))[3])  # one cell more goes
    assert run(*embed, "--min-counts", limit) == 0
    assert "left out" in capsys.readouterr().out
    written = ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_scfoundation"]
    kept = values.sum(axis=1) >= limit
    assert kept.sum() == 6 and np.isnan(written[~kept]).all()
    model = scfviz.load_checkpoint(checkpoint)
    expected = scfviz.embed_cells(scfviz.align_genes(cells).subset(kept), model, precision="fp32").values
    np.testing.assert_allclose(written[kept], expected, atol=1e-5)


@pytest.mark.parametrize("limits", [{"min_counts": 1420.0}, {"min_genes": 255}, {"min_counts": 1.0}])
def test_command_and_job_leave_out_the_same_cells(limits, checkpoint, tmp_path):
    """The command counted on the model's genes only, page and job on all genes of the file."""
    cells = make_cells(12, depth=1400.0)
    counts = cells.X.toarray()
    unknown = np.zeros((12, 60), dtype=np.float32)  # half of the cells have counts on genes that no model knows
    unknown[::2] = np.random.default_rng(1).poisson(1.5, (6, 60))
    counts[4] = 0  # one has no others: it stays out whatever the limit
    names = [*cells.var_names, "MALAT1", *(f"ENSG99{i:09d}" for i in range(59))]
    cells = ad.AnnData(csr_matrix(np.hstack([counts, unknown])), cells.obs, pd.DataFrame(index=names))
    cells.write_h5ad(tmp_path / "in.h5ad")
    options = [part for name, limit in limits.items() for part in (f"--{name.replace('_', '-')}", limit)]
    assert run("embed", tmp_path / "in.h5ad", tmp_path / "out.h5ad", "--checkpoint", checkpoint, *options) == 0
    by_command = np.isfinite(ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_scfoundation"]).all(axis=1)
    asked = {"dataset": str(tmp_path / "in.h5ad"), "checkpoint": str(checkpoint), "filters": limits}
    by_job = open_cells(TASKS["embedding"], read_options(TASKS["embedding"].options_type, asked)).kept
    assert np.flatnonzero(by_command).tolist() == by_job.tolist() and not by_command[4]
    everything = np.hstack([counts, unknown])
    all_genes = {"min_counts": everything.sum(axis=1), "min_genes": (everything > 0).sum(axis=1)}
    passes = np.all([all_genes[name] >= limit for name, limit in limits.items()], axis=0)
    np.testing.assert_array_equal(by_command, passes & (counts.sum(axis=1) > 0))


def test_counts_are_taken_from_where_the_user_says(checkpoint, tmp_path, capsys):
    cells = make_cells(5)
    cells.layers["other"] = cells.X * 2
    cells.write_h5ad(tmp_path / "in.h5ad")
    assert run("check", tmp_path / "in.h5ad", "--counts", "other", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["location"] == "layers['other']"
    assert run("check", tmp_path / "in.h5ad", "--counts", "absent") == 2
    assert "layers['other']" in capsys.readouterr().err


def test_a_target_depth_far_outside_training_is_said_with_the_range(cells, tmp_path, capsys):
    assert run("embed", cells, tmp_path / "out.h5ad", "--depth-fold", 100_000) == 0
    said = capsys.readouterr().out
    assert "lies far outside what the model was trained with" in said and "418 to 1,515,505 counts" in said


def test_embed_genes_writes_a_mean_for_each_group(checkpoint, tmp_path):
    cells = make_cells(12)
    cells.obs["group"] = ["T/B"] * 5 + ["mono"] * 7
    cells.var_names = ["not_a_gene", *cells.var_names[1:]]
    cells.write_h5ad(tmp_path / "in.h5ad")
    options = ["--checkpoint", checkpoint, "--group-by", "group", "--precision", "fp32"]
    assert run("embed-genes", tmp_path / "in.h5ad", tmp_path / "out.h5ad", *options) == 0
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    assert set(written.varm) == {"X_scfoundation_T_B", "X_scfoundation_mono"}
    aligned, model = scfviz.align_genes(cells), scfviz.load_checkpoint(checkpoint)
    expected = scfviz.embed_genes(aligned.subset(np.arange(5, 12)), model, precision="fp32").values[0]
    got = written.varm["X_scfoundation_mono"]
    assert np.isnan(got[0]).all(), "a gene that the model doesn't know has no embedding"
    position = {gene: i for i, gene in enumerate(model.genes)}
    np.testing.assert_allclose(got[1:], expected[[position[g] for g in cells.var_names[1:]]], atol=1e-5)


def test_without_groups_there_is_one_mean(cells, checkpoint, tmp_path):
    assert run("embed-genes", cells, tmp_path / "out.h5ad", "--checkpoint", checkpoint) == 0
    assert set(ad.read_h5ad(tmp_path / "out.h5ad").varm) == {"X_scfoundation"}


def commands_of(parser=None, before=()):
    """Every command of the parser with the parser of its options, also those of a group."""
    parser = build_parser() if parser is None else parser
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {before: parser}
    return {
        name: of for word, part in groups[0].choices.items() for name, of in commands_of(part, (*before, word)).items()
    }


UNUSABLE = [
    (["check", "/absent.h5ad"], "no file"),
    (["expression", "/absent.h5ad", "{tmp}/out.h5ad"], "no file"),
    (["corpus", "build", "/absent.h5ad", "--out", "{cells}"], "is a file"),
    (["corpus", "plan", "--corpus", "/absent"], "no training corpus"),
    (["pretrain", "--corpus", "/absent", "--out", "{tmp}/new"], "no training corpus"),
    (["adapt", "{cells}", "--checkpoint", "/absent", "--out", "{tmp}/new"], "no checkpoint folder"),
    (["cell-space", "--checkpoint", "{checkpoint}", "--corpus", "/absent"], "no training corpus"),
    (["cell-space", "--checkpoint", "/absent", "--corpus", "/absent"], "no checkpoint folder"),
    (["benchmark", "--checkpoint", "/absent", "--data", "{tmp}", "--out", "{tmp}/new"], "holds no dataset"),
    (["embed", "{cells}", "{tmp}/out.txt"], "must end in .h5ad"),
    (["embed", "{cells}", "{cells}"], "exists"),
    (["embed", "{cells}", "{tmp}/absent/out.h5ad"], "no folder"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--checkpoint", "/absent"], "no checkpoint folder"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--checkpoint", "{checkpoint}", "--target-depth", "-5"], "depth"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--checkpoint", "{checkpoint}", "--gene-column", "absent"], "absent"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--checkpoint", "{checkpoint}", "--device", "cuda:7"], "cannot be used"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--tgthighres", "x4"], "letter and a number"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--values", "tpm"], "Add --bulk"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--bulk", "--pre-normalized", "A"], "Totals"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--bulk", "--values", "log"], "look like counts"),
    (["embed", "{cells}", "{tmp}/out.h5ad", "--gene-list", "published"], "Leave --gene-list out"),
    (["embed", "{tmp}/bare.npy", "{tmp}/out.h5ad"], "without the names of its genes"),
    (["embed", "{cells}", "{tmp}/out.npy", "--bulk", "--values", "tpm", "--cells", "0:5"], "no counts of cells"),
    (["merge", "{cells}", "{tmp}/out.h5ad", "--parts", "/absent.npy"], "is no part"),
    (["embed-genes", "{cells}", "{tmp}/out.h5ad", "--genes", "CD3E"], "without --per-cell"),
    (["embed-genes", "{cells}", "{tmp}/out.npy", "--per-cell", "--group-by", "cell_type"], "Leave one out"),
    (["embed-genes", "{cells}", "{tmp}/out.npy", "--per-cell", "--genes", "NOT1"], "none of the model's"),
    (["embed-genes", "{cells}", "{tmp}/o.h5ad", "--checkpoint", "{checkpoint}", "--group-by", "absent"], "absent"),
    (["import-checkpoint", "/absent.ckpt", "--out", "{tmp}"], "absent.ckpt"),
    (["import-checkpoint", "{cells}", "--out", "{tmp}"], "cells.h5ad"),
    (["enhance", "/absent.h5ad", "{tmp}/out.h5ad"], "no file"),
    (["enhance", "{cells}", "{tmp}/out.h5ad", "--depth-fold", "0.5"], "at least 1"),
    (["annotate", "/absent.h5ad", "{tmp}/out.h5ad"], "no file"),
    (["annotate", "fit", "/absent.h5ad", "--label", "type", "--out", "{tmp}/new"], "no file"),
    (["map", "{cells}", "{tmp}/out.h5ad"], "No reference"),
    (["map", "{cells}", "{tmp}/out.h5ad", "--reference", "{cells}", "--checkpoint", "{checkpoint}"], "same data"),
    (["modules", "/absent.h5ad", "--out", "{tmp}/new"], "no file"),
    (["network", "/absent.h5ad", "--out", "{tmp}/new"], "no file"),
    (["perturb", "check", "/absent.h5ad"], "no file"),
    (["perturb", "fit", "{cells}", "--out", "{tmp}/new"], "perturb"),
    (["perturb", "predict", "/absent", "KLF1", "--out", "{tmp}/out.csv"], "no predictor"),
    (["perturb", "insilico", "/absent.h5ad", "--gene", "KLF1", "--out", "{tmp}/out.csv"], "no file"),
    (["perturb", "response", "/absent.h5ad", "--types", "t", "--out", "{tmp}/out.csv"], "no file"),
    (["drugs", "predict", "/absent.csv", "--out", "{tmp}/out.csv"], "no file"),
    (["drugs", "predict", "{cells}", "--out", "{tmp}/out.csv", "--drugs", "Erlotinip"], "Erlotinib"),
    (["drugs", "list", "--predictor", "/absent"], "no predictor"),
    (["drugs", "fit", "--responses", "/absent.csv", "--expression", "/absent.csv", "--out", "{tmp}/new"], "absent"),
    (["drugs", "cells", "/absent.h5ad", "{tmp}/out.h5ad", "--drug", "Lapatinib"], "no file"),
    (["drugs", "cells", "{cells}", "{tmp}/out.h5ad", "--drug", "Lapatinip"], "Lapatinib"),
    (["app", "--data", "/absent"], "no folder"),
    (["app", "--host", "a b"], "no address"),
    (["app", "--checkpoint", "/absent"], "no checkpoint folder"),
]


def test_every_command_of_the_parser_is_tried_with_bad_input():
    """Commands were named here by hand; those of tasks and of training were missing."""
    tried = {
        tuple(argv[: len(name)]) for argv, _ in UNUSABLE for name in commands_of() if tuple(argv[: len(name)]) == name
    }
    assert tried == set(commands_of())


@pytest.mark.parametrize("command", commands_of(), ids=" ".join)
def test_every_command_has_help(command, capsys):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: scfviz {' '.join(command)} ") and "None" not in text.split("options:")[0]


@pytest.mark.parametrize(("argv", "words"), UNUSABLE)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(argv, words, cells, checkpoint, tmp_path, capsys):
    np.save(tmp_path / "bare.npy", np.ones((2, 3)))
    places = {"cells": cells, "tmp": tmp_path, "checkpoint": checkpoint}
    assert run(*(part.format(**places) for part in argv)) == 2
    got = capsys.readouterr()
    assert got.out == "" and got.err.startswith("scfviz: ") and words in got.err
    assert got.err.count("\n") == 1 and "Traceback" not in got.err
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize(
    "argv", [[], ["fly"], ["embed", "a"], ["embed", "a", "b.h5ad", "--target-depth", "1", "--depth-fold", "2"]]
)
def test_wrong_usage_is_exit_code_2(argv, capsys):
    assert main(argv) == 2
    assert "usage" in capsys.readouterr().err


def test_help_is_fast_and_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert {command[0] for command in commands_of()} <= set(text.split())
    code = (
        "import sys; from scfviz.__main__ import main; main(['--help']);"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("[]\n")


@pytest.mark.parametrize("place", ["scfviz.commands.check.add_check", "scfviz.threads.prepare_threads"])
def test_ctrl_c_in_the_first_moment_is_one_line(place, cells, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stop)
    assert main(["check", str(cells)]) == 130
    assert capsys.readouterr().err == "\nscfviz: stopped.\n"


def test_stopped_run_says_how_to_go_on_and_resumes_to_the_same_bits(folder, tmp_path):
    slow = save_tiny_checkpoint(folder / "slow", preset="3M")
    cells, out = write_cells(tmp_path / "cells.h5ad", 300), tmp_path / "out.h5ad"
    options = ["embed", cells, out, "--checkpoint", slow, "--precision", "fp32"]
    command = [sys.executable, "-m", "scfviz", *map(str, options)]
    # a suite that runs in the background has Ctrl-C switched off, and would hand that on
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ, preexec_fn=listening
    )
    while not (tmp_path / "out.h5ad.partial" / "progress.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "--resume" in said and "Traceback" not in said
    assert not out.exists()
    assert run(*options, "--resume") == 0
    model = scfviz.load_checkpoint(slow)
    expected = scfviz.embed_cells(scfviz.align_genes(ad.read_h5ad(cells)), model, precision="fp32").values
    np.testing.assert_array_equal(ad.read_h5ad(out).obsm["X_scfoundation"], expected)
    assert not (tmp_path / "out.h5ad.partial").exists()


def test_the_python_of_the_readme_runs(cells, checkpoint, monkeypatch, tmp_path):
    shutil.copyfile(cells, tmp_path / "pbmc.h5ad")
    make_screen().write_h5ad(tmp_path / "screen.h5ad")
    make_treated().write_h5ad(tmp_path / "treated.h5ad")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scfviz.model.checkpoint.default_checkpoint", lambda: checkpoint)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    names: dict = {}
    exec(code, names)
    assert names["adata"].obsm["X_scfoundation"].shape == (30, 128)
    assert names["deeper"].values.shape == (30, 2) and names["deeper"].genes == ("CD4", "CCR7")
    assert names["effects"].change.shape[0] == 2 and (tmp_path / "my_predictor" / "predictor.json").exists()


def test_every_public_name_is_there():
    for name in scfviz.__all__:
        assert getattr(scfviz, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'embed_cats'"):
        scfviz.embed_cats  # noqa: B018
