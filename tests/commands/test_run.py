"""A run over a file never takes another's place, never loses work, and never writes beside cells it did not read."""

import io
import json
import shutil
import sys

import anndata as ad
import numpy as np
import pytest
from small_cells import make_cells, save_tiny_checkpoint, write_cells

from scfviz.__main__ import main
from scfviz.data.disk import hold, sole_writer
from scfviz.model import engine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint")


@pytest.fixture
def embed(checkpoint, tmp_path):
    """Runs `embed cells.h5ad out.h5ad` with further arguments."""
    write_cells(tmp_path / "cells.h5ad", 30)

    def run(*argv, command="embed"):
        files = [tmp_path / "cells.h5ad", tmp_path / "out.h5ad", "--checkpoint", checkpoint, "--precision", "fp32"]
        return main([command, *map(str, files), *map(str, argv)])

    return run


@pytest.fixture
def interrupted(embed, tmp_path, monkeypatch):
    """A run that was stopped when half of it was done and saved; gives the numbers that it had computed."""
    monkeypatch.setattr(engine, "choose_tokens_per_batch", lambda *args: 2000)
    monkeypatch.setattr("scfviz.model.store._SAVE_EVERY_SECONDS", 0.0)
    evaluate, n_batches = engine.InferenceRun._evaluate, []

    def stop_in_the_middle(self, *args):
        if len(n_batches) == 3:
            raise KeyboardInterrupt
        n_batches.append(1)
        return evaluate(self, *args)

    monkeypatch.setattr(engine.InferenceRun, "_evaluate", stop_in_the_middle)
    assert embed() == 130
    monkeypatch.setattr(engine.InferenceRun, "_evaluate", evaluate)
    partial = tmp_path / "out.h5ad.partial"
    assert json.loads((partial / "progress.json").read_text())["batches_done"] == 3
    return partial


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def test_an_interrupted_run_is_kept_until_it_is_resumed_or_given_up(embed, interrupted, tmp_path, capsys):
    kept = contents(interrupted)
    assert embed() == 2
    said = capsys.readouterr().err
    assert "3 batches are done" in said and "--resume" in said and "--start-over" in said
    assert contents(interrupted) == kept
    shutil.copytree(interrupted, tmp_path / "copy")
    assert embed("--resume") == 0
    resumed = ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_scfoundation"]
    (tmp_path / "out.h5ad").unlink()
    shutil.copytree(tmp_path / "copy", interrupted)
    assert embed("--start-over") == 0
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_scfoundation"], resumed)
    assert not interrupted.exists()


@pytest.mark.parametrize("change", [("--target-depth", "20000"), ("--checkpoint", "/absent"), ("--pooling", "max")])
def test_a_resume_that_cannot_be_keeps_what_is_there(embed, interrupted, change):
    kept = contents(interrupted)
    assert embed("--resume", *change) == 2
    assert contents(interrupted) == kept
    assert embed("--resume") == 0


@pytest.mark.parametrize("options", [(), ("--resume",), ("--start-over",)])
def test_the_second_of_two_runs_into_one_output_says_so(embed, interrupted, options, capsys):
    kept = contents(interrupted)
    first = hold(interrupted / "run.lock", "'out.h5ad'")
    assert embed(*options) == 2
    assert "Another run is writing" in capsys.readouterr().err
    assert contents(interrupted) == kept
    first.release()


def test_a_run_that_computed_nothing_leaves_nothing(embed, tmp_path):
    assert embed("--target-depth", "-1") == 2 and embed("--gene-column", "absent") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


def test_a_refused_task_leaves_nothing_but_keeps_what_an_earlier_run_had(tmp_path, capsys):
    """An empty .partial once stayed, and the next run asked whether to go on with it."""
    write_cells(tmp_path / "cells.h5ad", 30)  # most genes of the predictor are missing
    command = ["drugs", "cells", *(str(tmp_path / name) for name in ("cells.h5ad", "out.h5ad"))]
    for _ in range(2):
        assert main(command) == 2
        assert "genes that the predictor reads" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]
    partial = tmp_path / "out.h5ad.partial"
    partial.mkdir()
    (partial / "probability.npy").write_bytes(b"kept")
    assert main(command) == 2
    assert (partial / "probability.npy").read_bytes() == b"kept" and (partial / "progress.json").exists()


@pytest.mark.parametrize("command", ["embed", "embed-genes"])
def test_input_saved_in_another_order_meanwhile_gives_no_result(command, embed, tmp_path, monkeypatch, capsys):
    """249 of 250 cells once got another cell's embedding."""
    compute = engine.InferenceRun.compute

    def compute_and_save(self, *args, **options):
        compute(self, *args, **options)
        make_cells(30)[::-1].copy().write_h5ad(tmp_path / "cells.h5ad")

    monkeypatch.setattr(engine.InferenceRun, "compute", compute_and_save)
    assert embed(command=command) == 2
    assert "changed since its cells were read" in capsys.readouterr().err
    assert not (tmp_path / "out.h5ad").exists() and (tmp_path / "out.h5ad.partial").exists()


def test_too_small_a_disk_is_said_before_anything_is_computed(embed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 50_000))
    assert embed() == 2
    assert "The disk has 50.0 kB left; 'out.h5ad' may need" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


def test_a_disk_that_fills_up_says_how_to_go_on(embed, monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scfviz.model.store.ResultStore.save", full)
    assert embed() == 2
    said = capsys.readouterr().err
    assert "The disk is full" in said and "--resume" in said and "Traceback" not in said


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path, monkeypatch):
    path = write_cells(tmp_path / "zellen-ü-細胞.h5ad", 5)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["check", str(path)]) == 0
    sys.stdout.flush()
    assert rb"zellen-\xfc-\u7d30" in written.getvalue()


@pytest.mark.parametrize(
    "command",
    [
        ("pretrain", "--corpus", "{tmp}"),
        ("adapt", "{tmp}/cells.h5ad"),
        ("corpus", "build", "{tmp}/cells.h5ad"),
        ("benchmark", "--checkpoint", "{tmp}", "--data", "{tmp}"),
    ],
    ids=lambda c: c[0],
)
def test_the_second_of_two_runs_into_one_folder_says_so(command, tmp_path, capsys):
    """Two trainings into one folder wrote over each other's state."""
    out = tmp_path / "out"
    with sole_writer(out):
        assert main([*(part.format(tmp=tmp_path) for part in command), "--out", str(out)]) == 2
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert f"Another run is writing into '{out}'" in capsys.readouterr().err
    assert not list(out.iterdir())  # it goes with the run
    with sole_writer(out):
        pass


def test_other_ranks_of_a_run_do_not_lock_its_folder(tmp_path, monkeypatch):
    with sole_writer(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with sole_writer(tmp_path):
            pass


@pytest.mark.parametrize(("options", "said"), [((), "opens in the browser"), (("--headless",), "not open by itself")])
def test_the_app_says_whether_it_opens_a_browser(options, said, monkeypatch, capsys):
    monkeypatch.setattr("scfviz.commands.app.subprocess.call", lambda *args, **keys: 0)
    assert main(["app", *options]) == 0
    assert said in capsys.readouterr().out


def test_the_installation_asks_for_the_demos_map_while_the_demo_is_written(monkeypatch, tmp_path):
    """The first map of `make app` took 14 s on two busy cores: it was computed when the page was there."""
    from scfviz import jobs
    from scfviz.commands import app

    done = []

    def write(name, folder):
        done.append("written")
        path = folder / f"{name}.h5ad"
        path.write_bytes(b"cells")
        return path

    workspace = jobs.Workspace(tmp_path)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path))
    monkeypatch.setattr("scfviz.data.catalog.demo_path", write)
    monkeypatch.setattr("scfviz.tasks.embedding.compute.build_map", lambda points: done.append("compiled"))
    monkeypatch.setattr("scfviz.jobs.queue._start_worker", lambda _, lane, modules=(): done.append(modules or "asked"))
    monkeypatch.setattr(app, "_MOST_SECONDS_FOR_THE_DEMO", 0.0)
    app.prepare()
    assert done == ["compiled", ("scanpy", "scfviz.tasks.embedding.kept_umap"), "written", "asked"]
    assert [job.kind for job in jobs.list_jobs(workspace)] == ["quick_map"]
    app.prepare()  # again, with the demo there: no worker without work
    assert done[4:] == ["compiled", "written", "asked"] and len(jobs.list_jobs(workspace)) == 1
