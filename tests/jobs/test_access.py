"""Whose data and computations are whose, for every registered kind of job, with three visitors who try everything."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from small_cells import make_cells

from scfviz import jobs
from scfviz.analysis.selection.rules import Categories, to_json
from scfviz.errors import AccessError, DatasetError
from scfviz.jobs import access, gene_set_files, kinds, queue, uploads
from scfviz.jobs.workspace import write_json
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import fields_of
from scfviz.ui.frame import job_panel, sources, state

ANNA, BERT, CLEO = "a" * 32, "b" * 32, "c" * 32
RULE = to_json(Categories("cell_type", ("T cell",)))
# Options of each kind on a dataset; a new kind has to be entered here. Tasks say themselves which options are datasets.
OPTIONS = {
    **{
        name: lambda world, task=task: {field.name: world.dataset for field in fields_of(task.options_type, "dataset")}
        for name, task in TASKS.items()
    },
    "in_silico": lambda world: {"dataset": world.dataset, "gene": "CD3D"},
    "response": lambda world: {"dataset": world.dataset, "types": "cell_type"},
    "adapt": lambda world: {"dataset": world.dataset},
    "check": lambda world: {"dataset": world.dataset},
    "gene_store": lambda world: {"dataset": world.dataset},
    "set_score": lambda world: {"dataset": world.dataset, "genes": ["CD3D"]},
    "differential_expression": lambda world: {"dataset": world.dataset, "group": RULE},
    "markers": lambda world: {"dataset": world.dataset, "column": "cell_type"},
    "enrichment": lambda world: {"comparison": world.comparison},
    "export": lambda world: {"dataset": world.dataset},
    "subset": lambda world: {"dataset": world.dataset, "rule": RULE},
    "import_checkpoint": lambda world: {"file": world.dataset, "out": "/nowhere/imported"},
}


@dataclass
class World:
    """Anna's upload, and a comparison on it."""

    ref: str
    dataset: str
    comparison: str = ""


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "cells.h5ad"
    make_cells(30).write_h5ad(path)
    return path.read_bytes()


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "workspace"))  # the widest that an administrator can give
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    return jobs.Workspace()


@pytest.fixture
def become(monkeypatch):
    """Look with the eyes of a visitor."""
    return lambda visitor: monkeypatch.setattr(state, "visitor", lambda: visitor)


@pytest.fixture
def world(workspace, content, become) -> World:
    ref = uploads.save_upload(BytesIO(content), "secret.h5ad", ANNA)
    world = World(ref, str(sources.locate(ref).path))
    become(ANNA)
    world.comparison = job_panel.ask("differential_expression", OPTIONS["differential_expression"](world))
    return world


def finish(workspace: jobs.Workspace, job_id: str) -> None:
    folder = workspace.jobs / job_id
    (folder / "result").mkdir(exist_ok=True)
    queue.write_status(folder, state="done", finished_at=1.0)


def is_known(job_id: str) -> bool:
    """Whether the visitor finds a computation, in the list and by its id: never in one way only."""
    in_list = job_id in [job.id for job in job_panel.visible_jobs()]
    try:
        by_id = job_panel.status_of(job_id).id == job_id
    except AccessError as error:
        assert "not shared" in str(error) and "secret" not in str(error)
        by_id = False
    assert in_list == by_id
    return in_list


def assert_cannot_change(workspace: jobs.Workspace, job_id: str) -> None:
    for act in (job_panel.stop, job_panel.resume, job_panel.remove):
        for now in ("queued", "running", "failed", "cancelled", "interrupted", "done"):
            queue.write_status(workspace.jobs / job_id, state=now)
            before = jobs.status(workspace, job_id).state  # a running one without a worker is interrupted
            with pytest.raises(AccessError):
                act(job_id)
            assert jobs.status(workspace, job_id).state == before
            assert not (workspace.jobs / job_id / "cancel").exists()
    queue.write_status(workspace.jobs / job_id, state="queued")


def test_every_kind_is_tried_here():
    assert set(OPTIONS) == {*kinds.KINDS, *TASKS}
    assert all(callable(getattr(kinds.get_kind(kind), "datasets", None)) for kind in OPTIONS)


@pytest.mark.parametrize("kind", OPTIONS)
def test_only_the_owner_of_private_data_finds_reads_stops_resumes_and_deletes(kind, world, workspace, become):
    job_id = job_panel.ask(kind, OPTIONS[kind](world))
    for stranger in (BERT, CLEO):
        become(stranger)
        assert not is_known(job_id)
        assert_cannot_change(workspace, job_id)
        with pytest.raises(AccessError):
            job_panel.ask(kind, OPTIONS[kind](world))
        assert job_panel.newest(kind, {"dataset": world.dataset}) is None
    become(ANNA)
    assert is_known(job_id)
    job_panel.stop(job_id)
    assert job_panel.status_of(job_id).state == "cancelled"
    job_panel.resume(job_id)
    assert job_panel.status_of(job_id).state == "queued"
    finish(workspace, job_id)
    job_panel.remove(job_id)
    assert not (workspace.jobs / job_id).exists()


@pytest.mark.parametrize("kind", OPTIONS)
def test_shared_data_are_read_by_all_and_changed_by_their_owner(kind, world, workspace, become):
    job_id = job_panel.ask(kind, OPTIONS[kind](world))
    uploads.share_upload(world.ref, ANNA, True)
    for guest in (BERT, CLEO):
        become(guest)
        assert sources.resolve(world.ref) and is_known(job_id)
        assert job_panel.ask(kind, OPTIONS[kind](world)) == job_id, "guests join what the owner asked for"
        assert_cannot_change(workspace, job_id)
        with pytest.raises(AccessError):
            uploads.share_upload(world.ref, guest, False)
        with pytest.raises(AccessError):
            uploads.remove_upload(world.ref, guest)
    become(BERT)
    own = job_panel.ask("set_score", {"dataset": world.dataset, "genes": [f"of {kind}"]})
    become(CLEO)
    assert is_known(own)
    assert_cannot_change(workspace, own)
    become(BERT)
    job_panel.stop(own)
    become(ANNA)
    job_panel.resume(own)
    job_panel.stop(own)
    uploads.share_upload(world.ref, ANNA, False)
    for guest in (BERT, CLEO):
        become(guest)
        assert not is_known(job_id) and not is_known(own)
        assert_cannot_change(workspace, own)
        with pytest.raises(AccessError):
            sources.resolve(world.ref)


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_was_computed_stays_its_owners_when_the_data_are_deleted(kind, world, workspace, become):
    job_id = job_panel.ask(kind, OPTIONS[kind](world))
    finish(workspace, job_id)
    uploads.share_upload(world.ref, ANNA, True)
    uploads.remove_upload(world.ref, ANNA)
    become(BERT)
    assert not is_known(job_id)
    become(ANNA)
    assert is_known(job_id)
    job_panel.remove(job_id)


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_same_content_of_two_people_and_of_everyone_stays_apart(kind, world, workspace, content, become):
    annas = job_panel.ask(kind, OPTIONS[kind](world))
    become(BERT)
    ref = uploads.save_upload(BytesIO(content), "same.h5ad", BERT)
    other = World(ref, str(sources.resolve(ref).path))
    other.comparison = job_panel.ask("differential_expression", OPTIONS["differential_expression"](other))
    (workspace.datasets / "public.h5ad").write_bytes(content)
    public = World("", str(workspace.datasets / "public.h5ad"))
    public.comparison = job_panel.ask("differential_expression", OPTIONS["differential_expression"](public))
    berts, everyones = (job_panel.ask(kind, OPTIONS[kind](one)) for one in (other, public))
    assert len({annas, berts, everyones}) == 3
    assert is_known(berts) and is_known(everyones) and not is_known(annas)
    become(ANNA)
    assert is_known(annas) and is_known(everyones) and not is_known(berts)
    become(CLEO)
    assert is_known(everyones) and not is_known(annas) and not is_known(berts)
    job_panel.stop(everyones)
    keys = {access.content_key(workspace, one.dataset) for one in (world, other, public)}
    assert len(keys) == 3, "labels and selections are kept under these"


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_subset_is_as_private_as_what_it_came_from(kind, world, workspace, content, become):
    maker = job_panel.ask("subset", OPTIONS["subset"](world) | {"name": "few"})
    path = workspace.subsets / maker / "few.h5ad"
    path.parent.mkdir()
    path.write_bytes(content)
    write_json(path.parent / access.ABOUT, {"datasets": jobs.status(workspace, maker).datasets})
    few = World(f"subset:{maker}/few.h5ad", str(path))
    few.comparison = job_panel.ask("differential_expression", OPTIONS["differential_expression"](few))
    job_id = job_panel.ask(kind, OPTIONS[kind](few))
    finish(workspace, maker)
    job_panel.remove(maker)
    become(BERT)
    assert not is_known(job_id)
    with pytest.raises(AccessError):
        sources.resolve(few.ref)
    become(ANNA)
    assert is_known(job_id) and sources.resolve(few.ref).path == path
    assert uploads.private_uploads(path, ANNA) == [world.ref] and not uploads.private_uploads(path, BERT)
    uploads.share_upload(world.ref, ANNA, True)
    become(BERT)
    assert is_known(job_id) and sources.resolve(few.ref).path == path


def data_fields() -> list[tuple[str, str]]:
    """Each task with each of its options that names data beside the dataset: references, labels, classifiers."""
    fields = ((name, field.name) for name, task in TASKS.items() for field in fields_of(task.options_type, "dataset"))
    return [(name, field) for name, field in fields if field != "dataset"]


@pytest.fixture
def public(workspace, content) -> World:
    (workspace.datasets / "public.h5ad").write_bytes(content)
    return World("", str(workspace.datasets / "public.h5ad"))


@pytest.mark.parametrize(("task", "field"), data_fields())
def test_private_data_beside_a_public_dataset_make_a_computation_private(task, field, world, public, workspace, become):
    """A reference that was uploaded, and what is made of the result: exported, selected, compared."""
    options = OPTIONS[task](public) | {field: world.dataset}
    become(BERT)
    with pytest.raises(AccessError):
        job_panel.ask(task, options)
    become(ANNA)
    job_id = job_panel.ask(task, options)
    finish(workspace, job_id)
    rule = to_json(Categories("cell_type", ("T cell",)))
    made = [
        job_panel.ask("export", {"dataset": public.dataset, "task_jobs": [job_id]}),
        job_panel.ask("subset", {"dataset": public.dataset, "task_jobs": [job_id], "rule": rule}),
        job_panel.ask("markers", {"dataset": public.dataset, "task_jobs": [job_id], "column": "cell_type"}),
    ]
    for stranger in (BERT, CLEO):
        become(stranger)
        assert not any(map(is_known, [job_id, *made]))
        assert_cannot_change(workspace, job_id)
        assert job_panel.newest(task, {"dataset": public.dataset}) is None
        for kind, more in (("export", {}), ("markers", {"column": "cell_type"})):
            with pytest.raises(AccessError):
                job_panel.ask(kind, {"dataset": public.dataset, "task_jobs": [job_id]} | more)
    become(ANNA)
    assert all(map(is_known, made))


@pytest.mark.parametrize("task", TASKS)
def test_no_option_of_a_task_leads_out_of_the_folders_that_may_be_read(task, public, tmp_path, content, become):
    """A session file can hold any option, and anybody can write one: it read every file of the server."""
    from scfviz.ui.explorer.reporting.session import _own_options

    (tmp_path / "home.h5ad").write_bytes(content)
    become(BERT)
    for field in [name for one, name in data_fields() if one == task] + ["dataset"]:
        for path in (tmp_path / "home.h5ad", tmp_path / "absent.h5ad", Path(public.dataset) / "../../../home.h5ad"):
            with pytest.raises(DatasetError, match="outside the folders"):
                job_panel.ask(task, OPTIONS[task](public) | {field: str(path)})
        assert not _own_options(task, {field: str(tmp_path / "home.h5ad"), "checkpoint": "/nowhere"})


def test_parts_of_private_data_are_as_private(world, become):
    become(BERT)
    for part in ("X", "raw", "layers/counts", "rna"):
        with pytest.raises(AccessError):
            sources.resolve(f"{world.ref}/{part}")
        with pytest.raises(AccessError):
            job_panel.ask("gene_store", {"dataset": f"{world.dataset}/{part}"})
    become(ANNA)
    assert sources.resolve(f"{world.ref}/X").path == Path(world.dataset) / "X"


def test_the_queue_says_how_many_wait_and_nothing_of_whose(world, public, workspace, become):
    for column in ("cell_type", "secret_column"):
        job_panel.ask("markers", {"dataset": world.dataset, "column": column})
    become(BERT)
    mine = job_panel.ask("markers", {"dataset": public.dataset, "column": "cell_type"})
    said = job_panel.describe_wait(jobs.jobs_ahead(workspace, mine), 1)
    assert "Number" in said and "secret" not in said
    assert not [ref for ref in sources.list_references(BERT) if "secret" in ref]
    assert sources.find_content(access.content_key(workspace, world.dataset)[:16], 1, "secret.h5ad", BERT) is None


def test_gene_sets_that_somebody_gave_are_theirs(world, workspace, content, become):
    (workspace.datasets / "public.h5ad").write_bytes(content)
    public = World("", str(workspace.datasets / "public.h5ad"))
    public.comparison = job_panel.ask("differential_expression", OPTIONS["differential_expression"](public))
    gmt = b"".join(b"set%d\tabout\tCD3D\tCD3E\tLYZ\tNKG7\tMS4A1\n" % n for n in range(3))
    ref = gene_set_files.save(gmt, "mine.gmt", ANNA)
    options = {"comparison": public.comparison, "gmt": str(gene_set_files.path_of(ref, ANNA))}
    job_id = job_panel.ask("enrichment", options)
    become(BERT)
    assert is_known(public.comparison) and not is_known(job_id)
    assert_cannot_change(workspace, job_id)
    for act in (
        lambda: gene_set_files.path_of(ref, BERT),
        lambda: gene_set_files.share(ref, BERT, True),
        lambda: gene_set_files.remove(ref, BERT),
        lambda: job_panel.ask("enrichment", options),
    ):
        with pytest.raises(AccessError):
            act()
    gene_set_files.share(ref, ANNA, True)
    assert is_known(job_id) and gene_set_files.path_of(ref, BERT).exists()
    assert not gene_set_files.list_files(BERT), "shared means readable with the link, not listed"
    gene_set_files.save(gmt, "the same.gmt", CLEO)
    gene_set_files.share(ref, ANNA, False)
    assert not is_known(job_id)
    become(CLEO)
    assert is_known(job_id), "who gave the same file has what it holds"


def test_a_kind_that_hides_what_it_reads_is_a_fault(world, workspace, monkeypatch):
    """A new kind must not escape by an option that its `datasets` forgets, also not deep inside a list."""
    monkeypatch.setitem(kinds.KINDS, "plain", "plain_kinds")
    for hidden in (world.dataset, world.comparison, str(workspace.jobs / world.comparison / "result" / "x.npy")):
        for options in ({"other": hidden}, {"parts": [{"deep": [hidden]}]}):
            with pytest.raises(ValueError, match="does not say"):
                jobs.submit(workspace, "plain", options)
    assert jobs.submit(workspace, "plain", {"dataset": world.dataset, "words": ["a", "0" * 16]})


def test_a_job_written_without_its_data_is_not_everyones(world, workspace, become):
    """Folders of jobs that were written before jobs said all their data."""
    from scfviz.jobs.workspace import read_json

    path = workspace.jobs / world.comparison / "job.json"
    job = read_json(path) or {}
    write_json(path, {name: job[name] for name in ("id", "kind", "options", "identity", "created_at")})
    become(BERT)
    assert not is_known(world.comparison)
    become(ANNA)
    assert is_known(world.comparison)


def test_files_that_are_somebodys_are_not_listed_or_opened_through_a_wide_folder(world, workspace, become):
    """With the workspace itself as data folder, uploads, subsets and results are still their owners'."""
    finish(workspace, world.comparison)
    result = workspace.jobs / world.comparison / "result" / "cells.csv"
    result.write_text("x")
    assert sources.list_files(0)[0] == []
    below = Path(world.dataset).relative_to(workspace.root).as_posix()
    become(BERT)
    for ref in (f"folder:0/{below}", f"folder:0/{result.relative_to(workspace.root).as_posix()}"):
        with pytest.raises(AccessError):
            sources.resolve(ref)
    become(ANNA)
    assert sources.resolve(f"folder:0/{below}").path == Path(world.dataset)


def test_computations_in_use_by_others_are_said(world, workspace, become):
    built = job_panel.ask("enrichment", OPTIONS["enrichment"](world))
    assert jobs.status(workspace, built).jobs == (world.comparison,)
    assert list(jobs.status(workspace, built).datasets) == [world.dataset]
