"""Every task appears everywhere, shown on a throw-away task that is one folder and one line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from app_pages import work_off
from mito_share import MITO_SHARE
from mito_share.run import measure_mito_share
from small_cells import make_cells, save_tiny_checkpoint

import scfviz
from scfviz import jobs
from scfviz.__main__ import main
from scfviz.data.align import align_genes
from scfviz.data.vocabulary import MITOCHONDRIAL_PREFIX, load_vocabulary
from scfviz.errors import DatasetError, JobError, OptionError
from scfviz.jobs import queue
from scfviz.jobs.kinds import need_of
from scfviz.jobs.memory import estimate, refuse_what_cannot_fit
from scfviz.jobs.workspace import read_json
from scfviz.tasks.additions import additions
from scfviz.tasks.registry import TASKS, get_task
from scfviz.tasks.result import read_result
from scfviz.tasks.spec import fields_of, words_of

NAME = MITO_SHARE.name
N_OBS = 60


@pytest.fixture(autouse=True)
def the_line(monkeypatch):
    """The one line."""
    monkeypatch.setitem(TASKS, NAME, MITO_SHARE)


@pytest.fixture
def dataset(tmp_path) -> Path:
    cells = make_cells(N_OBS)
    mitochondrial = [gene for gene in load_vocabulary().symbols if gene.startswith(MITOCHONDRIAL_PREFIX)][:3]
    cells.var_names = [*mitochondrial, *(name for name in cells.var_names[3:])]
    counts = cells.X.tolil()
    counts[:, :3] = np.random.default_rng(0).poisson(40, (N_OBS, 3))
    cells.X = counts.tocsr().astype(np.float32)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> jobs.Workspace:
    """Its jobs are worked off in this process."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    return jobs.Workspace(tmp_path / "workspace")


def share_of(dataset: Path) -> np.ndarray:
    return measure_mito_share(align_genes(scfviz.read_dataset(dataset)))


def test_it_is_a_python_function(dataset):
    assert scfviz.measure_mito_share is measure_mito_share and "measure_mito_share" in dir(scfviz)
    result = scfviz.run_task(NAME, dataset=dataset, threshold=8)
    np.testing.assert_array_equal(result.cells["pct_mito"], share_of(dataset))
    assert result.report["options"]["threshold"] == 8.0 and result.report["genes"]["n_measured"] > 300
    assert 0 < (result.cells["mito_level"] == "high").sum() < N_OBS
    filtered = scfviz.run_task(NAME, dataset=dataset, filters={"min_counts": 1500})
    assert 0 < len(filtered.kept) == N_OBS - filtered.report["n_removed"] < N_OBS
    np.testing.assert_array_equal(filtered.cells["pct_mito"], share_of(dataset)[filtered.kept])


def test_it_is_a_command_with_help_and_provenance(dataset, tmp_path, capsys):
    assert main(["mito-share", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "--threshold",
        "in % of counts (default 5.0)",
        "{strict,loose}",
        "--reference FILE",
        "--min-counts",
        "--json",
        "--resume",
        "--threads",
        "the mean of all cells",
        "obs['pct_mito']",
    ):
        assert words in text
    out = tmp_path / "out.h5ad"
    assert main(["mito-share", str(dataset), str(out), "--threshold", "8", "--level", "loose", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scores"]["mean"] == pytest.approx(share_of(dataset).mean())
    written = ad.read_h5ad(out)
    np.testing.assert_array_equal(written.obs["pct_mito"], share_of(dataset))
    about = json.loads(written.uns["scfviz"][NAME])
    assert about["options"] == {
        "gene_column": None,
        "counts": None,
        "filters": None,
        "threshold": 8.0,
        "level": "loose",
        "pause": 0.0,
    }
    assert about["keys"]["pct_mito"] == {"title": "Share of mitochondrial counts", "unit": "% of counts"}
    of_gene = written.layers["pct_mito_of_gene"]
    is_computed = written.var_names.str.startswith(MITOCHONDRIAL_PREFIX)
    assert np.isnan(of_gene[:, ~is_computed]).all()  # genes that were not computed are not zero
    np.testing.assert_allclose(of_gene[:, is_computed].sum(axis=1), share_of(dataset), rtol=1e-5)
    assert not list(tmp_path.glob("*.partial"))
    assert main(["mito-share", str(dataset), str(out)]) == 2 and "exists" in capsys.readouterr().err
    assert main(["mito-share", str(dataset), str(tmp_path / "b.h5ad"), "--threshold", "101"]) == 2
    assert "at least 0 and at most 100 % of counts" in capsys.readouterr().err


def test_it_is_a_job_that_is_found_again_by_content(dataset, tmp_path, workspace):
    job_id = jobs.submit(workspace, NAME, {"dataset": dataset.as_posix()})
    copy = tmp_path / "copy.h5ad"
    copy.write_bytes(dataset.read_bytes())
    assert jobs.submit(workspace, NAME, {"dataset": str(copy), "threshold": 5, "level": "strict"}) == job_id
    assert jobs.submit(workspace, NAME, {"dataset": str(copy), "threshold": 6}) != job_id
    assert jobs.submit(workspace, NAME, {"dataset": str(copy), "reference": str(copy)}) != job_id
    work_off(workspace)
    assert {job.state for job in jobs.list_jobs(workspace)} == {"done"}
    result = read_result(jobs.result_dir(workspace, job_id))
    np.testing.assert_array_equal(result.cells["pct_mito"], share_of(dataset))
    assert list(result.tables) == ["levels", "pct_mito_of_gene"] and list(result.arrays) == ["pct_mito_of_gene"]
    assert len(result.notes) == 1
    assert result.report["task"] == NAME and result.scores["mean"] > 0


def test_it_stops_and_goes_on(dataset, workspace):
    job_id = jobs.submit(workspace, NAME, {"dataset": str(dataset)})
    folder = workspace.jobs / job_id
    kind, job = scfviz.jobs.kinds.get_kind(NAME), read_json(folder / "job.json")
    (folder / "work").mkdir()
    (folder / "result.partial").mkdir()
    seen = []
    with pytest.raises(scfviz.errors.Stopped):
        kind.run(folder, job["options"], lambda *at: seen.append(at), lambda: len(seen) > 5)
    counted = len((folder / "work" / "counted.txt").read_text().split())
    assert counted >= 2
    seen.clear()
    kind.run(folder, job["options"], lambda *at: seen.append(at), lambda: False)
    assert len([stage for _, stage in seen if stage == "Counting"]) == 1 + 20 - counted
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and shares[-1] <= 1


def test_a_layer_lies_on_the_files_own_cells_and_genes(dataset):
    """Counts from `raw` have other genes in another order than the table that a layer belongs to."""
    adata = ad.read_h5ad(dataset)
    adata.raw = adata.copy()
    adata = adata[:, adata.var_names[[5, 2, 9, 0]]].copy()
    adata.X = adata.X.toarray() - 0.5
    adata.write_h5ad(dataset)
    found = scfviz.run_task(NAME, dataset=dataset, filters={"min_counts": 1500})
    layer = additions(MITO_SHARE, found, N_OBS)["layers"]["pct_mito_of_gene"]
    assert layer.shape == (N_OBS, 4)
    values = np.concatenate([block for _, block in layer.blocks()])
    expected = np.full((N_OBS, 4), np.nan, np.float32)
    expected[np.ix_(found.kept, [1, 3])] = found.arrays["pct_mito_of_gene"][:, [2, 0]]  # genes 2 and 0 of the file
    assert 0 < len(found.kept) < N_OBS
    np.testing.assert_array_equal(values, expected)


def test_a_second_model_among_the_options_counts_by_its_content(dataset, tmp_path, workspace):
    """Only an option that was called `checkpoint` was compared with the content that was asked for."""
    rival = save_tiny_checkpoint(tmp_path / "rival")
    options = {"dataset": str(dataset), "rival": str(rival)}
    job_id = jobs.submit(workspace, NAME, options)
    assert job_id != jobs.submit(workspace, NAME, {"dataset": str(dataset)})
    moved = shutil.copytree(rival, tmp_path / "moved")
    assert jobs.submit(workspace, NAME, options | {"rival": str(moved)}) == job_id
    work_off(workspace)
    assert {job.state for job in jobs.list_jobs(workspace)} == {"done"}
    job_id = jobs.submit(workspace, NAME, options | {"threshold": 7})
    shutil.rmtree(rival)
    save_tiny_checkpoint(rival, seed=1)
    work_off(workspace)
    assert "The rival 'rival' has changed" in jobs.status(workspace, job_id).error["found"]


@pytest.mark.parametrize("name", ["dataset", "reference"])
def test_every_dataset_among_its_options_counts(dataset, tmp_path, workspace, name):
    other = tmp_path / "other.h5ad"
    make_cells(20).write_h5ad(other)
    options = {"dataset": str(dataset), "reference": str(other)}
    job_id = jobs.submit(workspace, NAME, options)
    kind, job = scfviz.jobs.kinds.get_kind(NAME), read_json(workspace.jobs / job_id / "job.json")
    assert kind.datasets(job["options"]) == (str(dataset), str(other))
    make_cells(21).write_h5ad(options[name])
    work_off(workspace)
    assert f"The {name} " in (error := jobs.status(workspace, job_id).error["found"]) and "has changed" in error


def test_its_memory_is_estimated_and_refused(dataset, monkeypatch):
    from scfviz.data import memory

    found = estimate(need_of(NAME, {"dataset": str(dataset)}), 1_000)
    assert found.needed == 1e8 + 100.0 * 1_000
    monkeypatch.setattr(memory, "free_memory", lambda: 200_000_000)
    with pytest.raises(JobError, match="at most 800,000 cells"):
        refuse_what_cannot_fit(need_of(NAME, {"dataset": str(dataset)}), 10_000_000)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataset": None}, OptionError, "No dataset"),
        ({"dataset": "/absent.h5ad"}, DatasetError, "no file"),
        ({"reference": "/absent.h5ad"}, DatasetError, "no file"),
        ({"threshold": -1}, OptionError, "at least 0"),
        ({"threshold": float("nan")}, OptionError, "must be a number"),
        ({"threshold": "5"}, OptionError, "must be a number"),
        ({"level": "high"}, OptionError, "strict, loose"),
        ({"thresold": 1}, OptionError, "no option thresold"),
        ({"filters": {"max_counts": 1}}, OptionError, "no filter max_counts"),
        ({"filters": {"min_counts": "many"}}, OptionError, "must be a number"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(dataset, workspace, change, error, words):
    with pytest.raises(error, match=words):
        jobs.submit(workspace, NAME, {"dataset": str(dataset)} | change)
    assert jobs.list_jobs(workspace) == []


def test_reading_the_table_of_tasks_imports_nothing_heavy():
    code = (
        "import sys, scfviz.tasks.registry as r; [t.options_type for t in r.TASKS.values()];"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'numpy', 'pandas', 'streamlit') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_report_methods_and_script_know_no_task_by_name():
    """What the embedding has to say stood in the layer itself; now each task brings it."""
    names = re.compile(rf"\b(embed\w*|{'|'.join(set(TASKS) - {'annotation'})})\b")
    layer = Path(scfviz.__file__).parent / "reporting"
    for name in ("methods", "record", "report", "script", "sections"):
        assert not names.findall((layer / f"{name}.py").read_text(encoding="utf-8")), name


def test_names_of_what_tasks_write_are_theirs_alone():
    entries = [(entry.part, entry.name) for task in TASKS.values() for entry in task.writes]
    keys = [(entry.part, entry.key) for task in TASKS.values() for entry in task.writes if entry.key]
    assert len(set(entries)) == len(entries) and len(set(keys)) == len(keys)


def test_what_an_older_version_left_is_said_not_shown(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"n_obs": 3, "agreement": {}}))
    with pytest.raises(JobError, match="older version"):
        read_result(tmp_path)
    workspace = jobs.Workspace(tmp_path / "w")
    folder = workspace.jobs / ("a" * 16)
    folder.mkdir()
    old = {"id": "a" * 16, "kind": "embed", "options": {"dataset": "x"}, "identity": {}, "created_at": 0.0}
    (folder / "job.json").write_text(json.dumps(old))
    queue.write_status(folder, state="queued")
    assert [job.kind for job in jobs.list_jobs(workspace)] == ["embed"]
    work_off(workspace)
    assert "no kind of computation of this version" in jobs.status(workspace, "a" * 16).error["found"]


def test_options_have_words_for_people():
    """A line of facts once said "space: pca", "boosted trees: False" and "my genes: ['CD3D']"."""
    said = {
        ("mapping", "space", "pca"): "principal components",
        ("mapping", "space", "model"): "scFoundation's embedding",
        ("annotation", "method", "genes_knn"): "nearest neighbours in the genes' components",
        ("gene_modules", "trees", False): "no",
        ("gene_modules", "n_genes", 2_000): "2,000",
        ("gene_modules", "activity", "aucell"): "aucell (area under the recovery curve)",
    }
    for (task, name, value), words in said.items():
        (field,) = (field for field in fields_of(get_task(task).options_type) if field.name == name)
        assert words_of(field, value) == words
    (field,) = (field for field in fields_of(get_task("gene_modules").options_type) if field.name == "genes")
    assert words_of(field, ["CD3D", "LYZ"]) == "CD3D, LYZ"
    assert words_of(field, [f"G{i}" for i in range(8)]) == "G0, G1, G2, G3, G4 and 3 more"
