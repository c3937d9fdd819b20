"""The workspace page and what lies behind it: uploads are private, nothing in use goes, jobs outlive everything."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import psutil
import pytest
from app_pages import check, text_of
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.errors import DatasetError
from scfviz.jobs import kinds, queue, uploads
from scfviz.jobs.context import open_file
from scfviz.jobs.workspace import read_json, write_json
from scfviz.ui.frame import describe, job_panel, page, sources, state
from scfviz.ui.screens.workspace import _dataset_name, _datasets, _remove_dataset

ROOT = Path(__file__).resolve().parents[2]
HELPERS = ROOT / "tests" / "helpers"
ANNA, BERT = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(kinds.KINDS, "plain", "plain_kinds")
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setattr(page, "start_worker", lambda _: None)
    (tmp_path / "data").mkdir()
    state._uses().clear()
    return jobs.Workspace()


@pytest.fixture(scope="module")
def content() -> bytes:
    buffer = BytesIO()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        make_cells(30).write_h5ad(Path(folder) / "cells.h5ad")
        buffer.write((Path(folder) / "cells.h5ad").read_bytes())
    return buffer.getvalue()


def upload(content: bytes, visitor: str, name: str = "secret <b>cells<b>.h5ad") -> str:
    return uploads.save_upload(BytesIO(content), name, visitor)


def open_page(visitor: str, name: str = "workspace", **query) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    app.session_state["scfviz.visitor"] = visitor
    for key, value in query.items():
        app.query_params[key] = value
    return check(app.run())


def everything(app: AppTest) -> str:
    """All that a page shows, tables and choices included."""
    tables = "\n".join(frame.value.to_csv() for frame in app.dataframe)
    choices = "\n".join(str(option) for box in app.selectbox for option in box.options)
    return f"{text_of(app)}\n{tables}\n{choices}"


def choose_dataset(app: AppTest, ref: str) -> AppTest:
    return check(app.selectbox(key="ws_dataset").set_value(ref).run())


def choose_job(app: AppTest, job_id: str) -> AppTest:
    return check(app.selectbox(key="ws_job").set_value(job_id).run())


def plain_job(workspace, *, dataset: str | None = None, days_old: float = 0.0, state: str = "done", n=0) -> str:
    """A computation as it lies in the workspace."""
    job_id = queue.submit(workspace, "plain", {"steps": 1, "n": n} | ({"dataset": dataset} if dataset else {}))
    folder = workspace.jobs / job_id
    when = time.time() - days_old * 86_400
    write_json(folder / "job.json", (read_json(folder / "job.json") or {}) | {"created_at": when})
    queue.write_status(folder, state=state, finished_at=when if state == "done" else None)
    if state == "done":
        (folder / "result").mkdir(exist_ok=True)
        (folder / "result" / "numbers.npy").write_bytes(b"x" * 100_000)
    return job_id


# --- uploads ----------------------------------------------------------------------------------------------------------


def test_uploads_are_private_until_they_are_shared(content):
    ref = upload(content, ANNA)
    anna, bert = open_page(ANNA), open_page(BERT)
    assert "secret" in everything(anna) and "secret" not in everything(bert)
    assert ref.partition("/")[0] not in everything(bert)
    choose_dataset(anna, ref)
    check(anna.toggle(key=f"ws_share_{ref}").set_value(True).run())
    check(bert.run())
    assert "secret" in everything(bert) and "shared by another visitor" in everything(bert)
    choose_dataset(bert, ref)
    assert not [toggle for toggle in bert.toggle if toggle.key.startswith("ws_share")]
    assert bert.button(key=f"ws_ask_dataset {ref}").disabled and "only they can delete" in text_of(bert)
    choose_dataset(anna, ref)
    check(anna.toggle(key=f"ws_share_{ref}").set_value(False).run())
    assert "secret" not in everything(check(open_page(BERT)))


def test_upload_page_lists_own_and_shared_files_only(content):
    upload(content, ANNA)
    app = AppTest.from_file(str(ROOT / "pages" / "dataset.py"), default_timeout=60)
    app.session_state["scfviz.visitor"] = BERT
    check(app.run())
    check(app.segmented_control(key="way").set_value("upload").run())
    assert "secret" not in everything(app)
    own = upload(content, BERT, "mine.h5ad")
    check(app.run())
    box = next(box for box in app.selectbox if box.label == "Earlier uploads")
    assert box.options == ["mine.h5ad"]
    check(box.set_value(own).run())
    check(app.button(key="open-upload").click().run())
    assert app.session_state["scfviz.dataset"] == app.query_params["dataset"] == own


def test_same_content_of_two_visitors_is_kept_apart(content, workspace, monkeypatch):
    """One of them must not find, stop or delete what the other computed; public results are found by both."""
    anna, bert = upload(content, ANNA), upload(content, BERT, "same.h5ad")
    assert anna != bert and upload(content, ANNA) == anna
    (workspace.datasets / "public.h5ad").write_bytes(content)
    paths = {name: sources.locate(ref).path for name, ref in (("anna", anna), ("bert", bert))}
    jobs_of = {
        name: jobs.submit(workspace, "gene_store", {"dataset": str(path)})
        for name, path in (paths | {"public": workspace.datasets / "public.h5ad"}).items()
    }
    assert len(set(jobs_of.values())) == 3
    for key, name, other in ((ANNA, "anna", "bert"), (BERT, "bert", "anna")):
        monkeypatch.setattr(state, "visitor", lambda key=key: key)
        found = [job.id for job in job_panel.visible_jobs()]
        assert jobs_of[name] in found and jobs_of["public"] in found and jobs_of[other] not in found
        newest = job_panel.newest("gene_store", {"dataset": str(paths[name]), "gene_column": None})
        assert newest is not None and newest.id in (jobs_of[name], jobs_of["public"])
    uploads.remove_upload(anna, ANNA)
    assert sources.locate(bert).path.read_bytes() == content
    with pytest.raises(DatasetError, match="no longer there"):
        sources.locate(anna)
    monkeypatch.setattr(state, "visitor", lambda: ANNA)
    assert jobs_of["anna"] in [job.id for job in job_panel.visible_jobs()], "a result stays its owner's to delete"


def test_what_was_kept_of_a_check_goes_with_the_upload(content, workspace):
    """Totals of every cell of a deleted private file stayed in the workspace."""
    anna, bert = upload(content, ANNA, "a.h5ad"), upload(content, BERT, "b.h5ad")
    for ref in (anna, bert):
        open_file(sources.locate(ref).path, workspace, None)
    (workspace.checks / "0123-1.npz").write_bytes(b"of an earlier version")
    assert len(list(workspace.checks.iterdir())) == 3
    uploads.remove_upload(anna, ANNA)
    (kept,) = workspace.checks.iterdir()
    uploads.remove_upload(bert, BERT)
    assert not kept.exists()


def test_a_computation_is_named_by_its_dataset_not_by_another_file_that_it_reads():
    """A row of an enrichment was called sets.gmt."""
    job = SimpleNamespace(
        options={"gmt": "/g/sets.gmt", "comparison": "0" * 16}, datasets={"/g/sets.gmt": [], "/d/cells.h5ad": []}
    )
    assert _dataset_name(job) == "cells.h5ad"
    job = SimpleNamespace(
        options={"reference": "/d/atlas.h5ad", "dataset": "/d/cells.h5ad"},
        datasets={"/d/atlas.h5ad": [], "/d/cells.h5ad": []},
    )
    assert _dataset_name(job) == "cells.h5ad"
    job = SimpleNamespace(options={"file": "/d/models.ckpt"}, datasets={"/d/models.ckpt": []})
    assert _dataset_name(job) == "models.ckpt"


def test_only_the_owner_can_share_or_remove(content):
    ref = upload(content, ANNA)
    for act in (lambda: uploads.remove_upload(ref, BERT), lambda: uploads.share_upload(ref, BERT, True)):
        with pytest.raises(DatasetError, match="another visitor"):
            act()
    for wrong in ("upload:../../etc/x", "upload:" + "0" * 32 + "/x", "folder:0/x", ""):
        with pytest.raises(DatasetError):
            uploads.remove_upload(wrong, ANNA)
    assert sources.locate(ref).path.exists()


def test_references_cannot_be_guessed_from_the_content(content, workspace):
    import hashlib

    ref = upload(content, ANNA)
    digest = hashlib.sha256(content).hexdigest()
    assert digest[:16] not in ref and ANNA not in ref
    notes = "".join(path.read_text() for path in workspace.uploads.rglob(".about.json"))
    assert ANNA not in notes, "who reads the folder does not get the key"


def test_computations_on_private_uploads_are_not_shown_to_others(content, workspace):
    ref = upload(content, ANNA)
    secret = plain_job(workspace, dataset=str(sources.locate(ref).path), n=1)
    subset = workspace.subsets / secret / "subset of secret.h5ad"
    subset.parent.mkdir()
    write_json(subset.parent / ".about.json", {"datasets": jobs.status(workspace, secret).datasets})
    subset.write_bytes(content)
    on_subset = plain_job(workspace, dataset=str(subset), n=2)
    public = plain_job(workspace, dataset=str(workspace.datasets / "demo.h5ad"), n=3)
    anna, bert = open_page(ANNA), open_page(BERT)
    assert len(anna.selectbox(key="ws_job").options) == 3
    assert len(bert.selectbox(key="ws_job").options) == 1 and "secret" not in everything(bert)
    assert "2 computations on other visitors' uploads" in text_of(bert)
    assert {secret, on_subset, public} == {job.id for job in jobs.list_jobs(workspace)}
    names, _ = sources.list_files(0)
    assert not names


def test_subsets_are_not_listed_as_files_of_the_server(content, workspace, monkeypatch):
    monkeypatch.delenv("SCFVIZ_DATA")
    (workspace.subsets / "job").mkdir()
    (workspace.subsets / "job" / "secret.h5ad").write_bytes(content)
    (workspace.datasets / "mine.h5ad").write_bytes(content)
    assert sources.list_files(0)[0] == ["mine.h5ad"]


def test_one_of_several_samples_in_an_upload_is_chosen_on_the_page(tmp_path):
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for sample, n in (("GSM1", 30), ("GSM2", 20)):
            for part, body in datasets.mtx_parts(datasets.make_adata(n), 3).items():
                archive.writestr(f"{sample}/{part}", body)
    ref = upload(packed.getvalue(), ANNA, "GSE1.zip")
    app = open_page(ANNA, "dataset", dataset=ref)
    assert "2 samples" in text_of(app) and "choose one" in text_of(app)
    app.selectbox(key="choice-part").set_value("GSE1.zip/GSM2").run()
    check(app.button(key="choice-open").click().run())
    assert app.session_state["scfviz.dataset"] == f"{ref}/GSM2" and "20 cells" in text_of(app)


def test_the_matrix_of_the_counts_is_chosen_on_the_page(tmp_path):
    """Which of two layers holds the counts could be said in commands, not in the app."""
    adata, other = make_cells(30), make_cells(30, seed=1)
    adata.layers["first"], adata.layers["second"] = adata.X.copy(), other.X
    adata.X = -np.log1p(adata.X.toarray())
    adata.write_h5ad(tmp_path / "two.h5ad")
    ref = upload((tmp_path / "two.h5ad").read_bytes(), ANNA, "two.h5ad")
    app = open_page(ANNA, "dataset", dataset=ref)
    assert "could be the counts" in text_of(app) and "median total" in text_of(app)
    app.selectbox(key="choice-part").set_value("two.h5ad/layers/second").run()
    check(app.button(key="choice-open").click().run())
    assert app.session_state["scfviz.dataset"] == f"{ref}/layers/second" and "30 cells" in text_of(app)


def test_a_long_name_of_an_upload_keeps_its_ending(content):
    """It lost its ending, which was then said to be ''."""
    ref = upload(content, ANNA, "x" * 200 + "_counts.h5ad")
    assert ref.endswith("_counts.h5ad") and len(ref.rpartition("/")[2]) <= 120


def test_samples_of_a_folder_are_datasets_of_their_own(workspace, tmp_path):
    folder = tmp_path / "data" / "GSE1"
    folder.mkdir(parents=True)
    for sample in ("GSM1", "GSM2"):
        (folder / f"{sample}_matrix.mtx").write_text("x")
        (folder / f"._{sample}_matrix.mtx").write_text("x")
    (tmp_path / "data" / "notes.md").write_text("x")
    assert sources.list_files(0)[0] == ["GSE1/GSM1", "GSE1/GSM2"]
    found = sources.resolve("folder:0/GSE1/GSM2")
    assert found.path == folder / "GSM2" and found.title == "GSM2" and sources.stamp(found.path)
    assert sources.stamp(found.path) != sources.stamp(folder / "GSM1")
    with pytest.raises(DatasetError, match="no longer there"):
        sources.resolve("folder:0/GSE2/GSM2")


def test_key_of_a_visitor_never_enters_the_address(content):
    ref = upload(content, ANNA)
    app = open_page(ANNA, "dataset", dataset=ref)
    assert ANNA not in str(dict(app.query_params)) and ANNA not in everything(app)


# --- what can go ------------------------------------------------------------------------------------------------------


def test_deleting_asks_first(content, workspace):
    ref = upload(content, ANNA)
    app = choose_dataset(open_page(ANNA), ref)
    check(app.button(key=f"ws_ask_dataset {ref}").click().run())
    assert sources.locate(ref).path.exists() and "will be gone" in text_of(app)
    check(app.button(key="ws_keep").click().run())
    assert sources.locate(ref).path.exists()
    check(app.button(key=f"ws_ask_dataset {ref}").click().run())
    check(app.button(key="ws_confirm").click().run())
    assert not list(workspace.uploads.rglob("*.h5ad")) and "secret" not in everything(app)


def stop_all(workspace: jobs.Workspace) -> None:
    for job in jobs.list_jobs(workspace):
        jobs.cancel(workspace, job.id)


def test_what_is_open_or_computed_on_is_never_deleted(content, workspace):
    ref = upload(content, ANNA)
    app = choose_dataset(open_page(ANNA, dataset=ref), ref)
    assert app.button(key=f"ws_ask_dataset {ref}").disabled and "close it first" in text_of(app)
    check(app.button(key="ws_close").click().run())
    choose_dataset(app, ref)
    assert not app.button(key=f"ws_ask_dataset {ref}").disabled
    open_page(BERT, "home", dataset=ref)  # somebody who was given the link to what is not shared
    check(app.run())
    assert not app.button(key=f"ws_ask_dataset {ref}").disabled, "a stranger's visit holds nothing"
    uploads.share_upload(ref, ANNA, True)
    open_page(BERT, "home", dataset=ref)
    stop_all(workspace)  # Home has begun a quick map
    choose_dataset(check(app.run()), ref)
    assert app.button(key=f"ws_ask_dataset {ref}").disabled and "Another visitor has it open" in text_of(app)
    state._uses().clear()
    open_page(ANNA, "home", dataset=ref)
    stop_all(workspace)
    check(app.run())
    assert app.button(key=f"ws_ask_dataset {ref}").disabled and "open in another tab" in text_of(app)
    state._uses().clear()
    plain_job(workspace, dataset=str(sources.locate(ref).path), state="queued")
    check(app.run())
    assert app.button(key=f"ws_ask_dataset {ref}").disabled and "A computation is using it" in text_of(app)


def test_old_results_go_and_young_running_and_open_ones_stay(content, workspace):
    ref = upload(content, ANNA)
    path = str(sources.locate(ref).path)
    old = [plain_job(workspace, days_old=40 + n, n=n) for n in range(3)]
    stay = [
        plain_job(workspace, days_old=2, n=10),
        plain_job(workspace, days_old=50, state="queued", n=11),
        plain_job(workspace, days_old=60, dataset=path, n=12),
    ]
    app = open_page(ANNA, dataset=ref)
    assert "3 results" in text_of(app)
    check(app.button(key="ws_ask_old 30").click().run())
    assert "3 old results" in text_of(app) and "computed again" in text_of(app)
    assert len(jobs.list_jobs(workspace)) == 6
    check(app.button(key="ws_confirm").click().run())
    assert {job.id for job in jobs.list_jobs(workspace)} == set(stay)
    assert not set(old) & {path.name for path in workspace.jobs.iterdir()}
    choose_job(app, stay[2])
    assert app.button(key=f"ws_ask_job {stay[2]}").disabled and "close the dataset first" in text_of(app)


def test_one_result_is_deleted_with_its_size_said(workspace):
    job_id = plain_job(workspace)
    app = choose_job(open_page(ANNA), job_id)
    check(app.button(key=f"ws_ask_job {job_id}").click().run())
    assert "(100.5 kB)" in text_of(app).replace("\\", "") or "kB)" in text_of(app).replace("\\", "")
    check(app.button(key="ws_confirm").click().run())
    assert jobs.list_jobs(workspace) == []


def test_page_says_where_the_folder_is_and_how_large(content, workspace):
    upload(content, ANNA)
    app = open_page(ANNA)
    assert str(workspace.root) in text_of(app) and " in use, " in text_of(app)


# --- computations that outlive everything -----------------------------------------------------------------------------


def test_after_everything_was_killed_the_page_finds_and_resumes_all(workspace):
    """The server that asked and the worker are killed in the middle; a new page lists all, and one click goes on."""
    code = (
        "import sys, subprocess, time; sys.path.insert(0, sys.argv[2]);"
        "from scfviz import jobs; from scfviz.jobs import kinds, queue; kinds.KINDS['plain'] = 'plain_kinds';"
        "queue.start_worker = lambda *_: None; w = jobs.Workspace(sys.argv[1]);"
        "jobs.submit(w, 'plain', {'steps': 40}); jobs.submit(w, 'plain', {'steps': 1});"
        "worker = [sys.executable, sys.argv[2] + '/plain_kinds.py', sys.argv[1], 'quick', '20'];"
        "subprocess.Popen(worker, start_new_session=True);"
        "time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PLAIN_CORES": "1"}
    server = subprocess.Popen([sys.executable, "-c", code, str(workspace.root), str(HELPERS)], env=environment)
    started = []
    try:
        until = time.monotonic() + 60
        while not any(0.05 < job.fraction < 1 and job.state == "running" for job in jobs.list_jobs(workspace)):
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        running = next(job for job in jobs.list_jobs(workspace) if job.state == "running")
        waiting = next(job for job in jobs.list_jobs(workspace) if job.state == "queued")
        pid = read_json(workspace.jobs / running.id / "status.json")["pid"]
        worker = psutil.Process(pid)
        server.kill()
        server.wait()
        assert worker.is_running(), "the worker does not end with the server"
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.wait_procs([worker], timeout=10)
        kept = (workspace.jobs / running.id / "work" / "steps.txt").read_text()
        app = open_page(ANNA)
        shown = app.dataframe[-1].value
        assert sorted(shown["State"]) == ["interrupted", "waiting"]
        choose_job(app, running.id)
        check(app.button(key="ws_resume").click().run())
        assert jobs.status(workspace, running.id).state == "queued"
        command = [sys.executable, str(HELPERS / "plain_kinds.py"), str(workspace.root), "quick", "0.3"]
        started.append(subprocess.Popen(command, env=environment))
        until = time.monotonic() + 60
        while not all(job.state == "done" for job in jobs.list_jobs(workspace)):
            assert time.monotonic() < until, jobs.list_jobs(workspace)
            time.sleep(0.1)
        steps = (jobs.result_dir(workspace, running.id) / "steps.txt").read_text()
        assert steps.startswith(kept) and steps.split() == [str(n) for n in range(40)]
        assert jobs.status(workspace, waiting.id).state == "done"
        check(app.run())
        assert list(app.dataframe[-1].value["State"]) == ["done", "done"]
    finally:
        for process in (server, *started):
            process.kill()
            process.wait()


def test_waiting_computation_is_stopped_from_the_page(workspace):
    job_id = plain_job(workspace, state="queued")
    app = choose_job(open_page(ANNA), job_id)
    check(app.button(key="ws_stop").click().run())
    assert jobs.status(workspace, job_id).state == "cancelled"
    choose_job(app, job_id)
    check(app.button(key="ws_resume").click().run())
    assert jobs.status(workspace, job_id).state == "queued"


def test_what_was_described_of_a_file_goes_with_it(content, workspace, monkeypatch):
    refs = [upload(content, ANNA, "a.h5ad"), upload(content, BERT, "b.h5ad")]
    for ref in refs:
        describe.describe(sources.locate(ref), None)
    folder = workspace.root / "descriptions"
    (folder / "0123-1.json").write_text("{}")  # of an earlier version
    monkeypatch.setattr(state, "visitor", lambda: ANNA)
    (entry,) = (entry for entry in _datasets() if entry.ref == refs[0])
    _remove_dataset(entry)
    (kept,) = folder.glob("*.json")
    assert "b.h5ad" in kept.read_text() and len(list(workspace.checks.iterdir())) == 1
