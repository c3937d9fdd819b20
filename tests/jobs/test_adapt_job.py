"""Adapting as a computation: what it leaves, what an interruption costs, and whose the result is."""

import json

import numpy as np
import pytest
import torch
from app_pages import work_off
from small_cells import make_cells, save_tiny_checkpoint, write_cells

from scfviz import jobs
from scfviz.benchmark import adapted, representation
from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_reader import Corpus
from scfviz.data.corpus_writer import CorpusOptions
from scfviz.errors import DatasetError, OptionError
from scfviz.jobs import access, queue
from scfviz.jobs.kinds import adapt, get_kind
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
from scfviz.training import adapt as training
from scfviz.training.judge import Change, decide

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A dataset, a tiny checkpoint, and small steps."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setattr(adapt, "BATCH", 4)
    monkeypatch.setattr(adapt, "VALIDATE_EVERY", 2)
    monkeypatch.setattr(adapt, "VALIDATION_CELLS", 4)
    judged = training.judge_adapted
    monkeypatch.setattr(training, "judge_adapted", lambda *given, **more: judged(*given, **more, n_cells=4))
    write_cells(tmp_path / "cells.h5ad", 60)
    save_tiny_checkpoint(tmp_path / "tiny")
    return tmp_path


def submit(world, name="workspace", **options):
    given = {"dataset": str(world / "cells.h5ad"), "checkpoint": str(world / "tiny"), "rank": 2, "steps": 12}
    workspace = jobs.Workspace(world / name)
    return workspace, jobs.submit(workspace, "adapt", given | options)


def result_of(workspace, job_id):
    job = jobs.status(workspace, job_id)
    assert job.state == "done", job
    return jobs.result_dir(workspace, job_id)


def test_a_run_that_was_stopped_ends_with_the_same_weights(world):
    workspace, job_id = submit(world)
    work_off(workspace)
    whole = result_of(workspace, job_id)
    about = json.loads((whole / "report.json").read_text())
    assert about["corpus"]["n_train"] + about["corpus"]["n_held_out"] == 60 and not about["verdict"]["keep"]
    info = checkpoint_info(whole / "checkpoint")
    assert info.name == "tiny, adapted to cells" and (whole / "adapter.safetensors").is_file()

    workspace, job_id = submit(world, "other")
    folder, reports = workspace.jobs / job_id, []
    (folder / "result.partial").mkdir()
    options = jobs.status(workspace, job_id).options

    def stop_in_the_middle() -> bool:
        return any("step 5 " in text for text in reports)

    with pytest.raises(adapt.Stopped):
        get_kind("adapt").run(folder, options, lambda _share, text: reports.append(text), stop_in_the_middle)
    assert not any("Comparing" in text for text in reports)
    work_off(workspace)
    again = result_of(workspace, job_id)
    for one, other in zip(
        load_checkpoint(whole / "checkpoint").parameters(),
        load_checkpoint(again / "checkpoint").parameters(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_asked_to_finish_it_takes_what_it_has(world):
    workspace, job_id = submit(world, steps=5_000)
    adapt.ask_to_finish(workspace.jobs / job_id)
    work_off(workspace)
    assert checkpoint_info(result_of(workspace, job_id) / "checkpoint").training["steps"] == 1


def test_types_are_compared_and_what_certainly_tells_them_apart_less_well_is_not_kept(world, monkeypatch):
    workspace, job_id = submit(world, steps=1, label="cell_type", hold_out_by="cell_type")
    work_off(workspace)  # a whole type is held out: nothing can be compared, and that is said
    about = json.loads((result_of(workspace, job_id) / "report.json").read_text())
    assert "types have" in about["types"]["error"]

    monkeypatch.setattr(training, "HELD_OUT", 0.4)
    workspace, job_id = submit(world, steps=1, label="cell_type")
    work_off(workspace)
    result = result_of(workspace, job_id)
    types = json.loads((result / "report.json").read_text())["types"]
    assert types["n_types"] == 3 and types["n_train"] + types["n_test"] == 60
    for metric, scores in types["scores"].items():
        assert set(scores) == {representation.PCA, adapted.BEFORE, adapted.AFTER}
        for name, (value, low, high) in types["gains"][metric].items():
            assert low <= value <= high and value == pytest.approx(scores[adapted.AFTER] - scores[name])

    said = {"gains": {metric: {adapted.BEFORE: [-0.2, -0.3, -0.1]} for metric in representation.PROBES}}
    monkeypatch.setattr(adapted, "score_types", lambda *_given, **_more: said)
    change = Change(64, 1.0, 0.9, -0.1, -0.11, -0.09)
    options = {"checkpoint": str(world / "tiny"), "label": "cell_type"}
    checkpoint = result / "checkpoint"
    verdict, _ = adapt._compare_types(decide(change, change), None, None, options, checkpoint, lambda: False)
    assert not verdict.keep and "less well" in verdict.reason


def test_types_that_differ_in_some_genes_are_told_apart(world):
    """The score sees what is there: types of shuffled names are a matter of luck."""
    build_corpus([write_cells(world / "more.h5ad", 240)], world / "corpus", options=CorpusOptions(50, 0.4, 0.0))
    corpus, model = Corpus(world / "corpus"), load_checkpoint(world / "tiny")
    types = make_cells(240).obs["cell_type"].astype(object).to_numpy()
    models = {adapted.BEFORE: model, adapted.AFTER: model}
    linear = representation.PROBES[1]
    found = adapted.score_types(corpus, types, models)
    assert found["scores"][linear][representation.PCA] > 0.9
    shuffled = adapted.score_types(corpus, np.random.default_rng(0).permutation(types), models)
    assert shuffled["scores"][linear][representation.PCA] < 0.6
    assert found["gains"][linear][adapted.BEFORE] == [0, 0, 0]
    types[:] = None
    with pytest.raises(DatasetError, match="0 types"):
        adapted.score_types(corpus, types, models)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 1_000}, {"steps": 0}, {"steps": "many"}, {"dataset": None}])
def test_options_that_make_no_sense_are_refused(world, wrong):
    with pytest.raises(OptionError):
        submit(world, **wrong)


def test_what_was_learned_from_a_job_is_as_private_as_its_data(world):
    """A task with an adapted checkpoint builds on the job that made it."""
    workspace, job_id = submit(world, steps=1)
    work_off(workspace)
    options = {"dataset": str(world / "cells.h5ad"), "checkpoint": str(result_of(workspace, job_id) / "checkpoint")}
    embedding = jobs.submit(workspace, "embedding", options)
    assert jobs.status(workspace, embedding).jobs == (job_id,)
    assert access.jobs_named(workspace, "adapt", options) == (job_id,)
    plain = jobs.submit(workspace, "embedding", options | {"checkpoint": str(world / "tiny")})
    assert jobs.status(workspace, plain).jobs == ()
