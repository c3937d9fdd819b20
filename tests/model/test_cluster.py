"""Embedding on a cluster: a real scheduler and workers as processes, which die, come late, or may not take part."""

import logging
import os
import platform
import shutil
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import psutil
import pytest
import torch
from dask_processes import DaskProcesses, kill
from small_cells import make_cells, save_tiny_checkpoint, write_cells

import scfviz
from scfviz.__main__ import main
from scfviz.data.open import open_dataset
from scfviz.errors import JobError, OptionError, ScfvizError, Stopped
from scfviz.model.checkpoint import load_checkpoint
from scfviz.model.cluster import run as cluster_run
from scfviz.model.cluster import workers as cluster_workers
from scfviz.model.cluster.worker import compute_window, examine, gpu_of, resolve_device
from scfviz.model.cluster.workers import Workers
from scfviz.model.engine import InferenceRun
from scfviz.model.infer import embed_cells
from scfviz.tasks.run import OpenedCells, embed_part
from scfviz.tasks.spec import ModelOptions
from scfviz.tasks.steps import Steps

N_OBS = 60

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "small_windows")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """File, checkpoint, and what one machine computes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    write_cells(folder / "cells.h5ad", N_OBS)
    save_tiny_checkpoint(folder / "tiny")
    (folder / "whole").mkdir()
    embed(folder, folder / "whole")
    return folder


@pytest.fixture
def mortal(tmp_path):
    """A scheduler without workers, of one test alone."""
    (tmp_path / "dask").mkdir()
    with DaskProcesses(tmp_path / "dask") as processes:
        yield processes


@pytest.fixture
def small_windows(monkeypatch):
    """About three cells each."""
    monkeypatch.setattr(cluster_run, "FLOP_PER_WINDOW", {"cpu": 1.7e7})


def open_cells(folder):
    model = load_checkpoint(folder / "tiny")
    return open_dataset(folder / "cells.h5ad").align(model.genes), model


def embed(folder, out, cluster=None, **options):
    counts, model = open_cells(folder)
    return embed_cells(counts, model, precision="fp32", device="cpu", out=out, cluster=cluster, **options)


def same_bytes(world, out) -> bool:
    return (out / "values.npy").read_bytes() == (world / "whole" / "values.npy").read_bytes()


class Once:
    """A progress that does something when the first cells are done, and not all."""

    def __init__(self, action):
        self.action, self.seen = action, []

    def __call__(self, done, total):
        self.seen.append(done)
        if 0 < done < total and self.action is not None:
            action, self.action = self.action, None
            action()

    @property
    def was_in_the_middle(self):
        return self.action is None and self.seen[-1] == N_OBS and self.seen == sorted(self.seen)


def test_a_killed_worker_loses_nothing_and_one_that_joins_late_takes_part(world, tmp_path, mortal):
    victim, late = mortal.start_worker(), []

    def kill_and_replace():
        kill(victim)
        late.append(mortal.start_worker())

    progress = Once(kill_and_replace)
    found = embed(world, tmp_path / "out", mortal.address, progress=progress)
    assert progress.was_in_the_middle and late[0].poll() is None
    assert same_bytes(world, tmp_path / "out")
    expected = embed(world, tmp_path / "here").provenance
    assert found.provenance == expected
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"values.npy", "progress.json", "lock"}


def test_a_scheduler_that_is_restarted_is_found_again_and_without_it_a_run_goes_on_later(
    world, tmp_path, mortal, monkeypatch
):
    def restart():
        kill(mortal.scheduler)
        mortal.start_scheduler()
        mortal.start_worker()  # a worker ends with its scheduler

    mortal.start_worker()
    progress = Once(restart)
    embed(world, tmp_path / "out", mortal.address, progress=progress)
    assert progress.was_in_the_middle and same_bytes(world, tmp_path / "out")

    monkeypatch.setattr(cluster_workers, "SECONDS_WITHOUT_SCHEDULER", 0.0)
    monkeypatch.setattr(cluster_workers, "SECONDS_TO_CONNECT", 2.0)
    progress, again = Once(lambda: kill(mortal.scheduler)), Once(None)
    with pytest.raises(JobError, match="does not answer any more.*go on with what is done"):
        embed(world, tmp_path / "later", mortal.address, progress=progress)
    monkeypatch.setattr(cluster_workers, "SECONDS_TO_CONNECT", 60.0)
    mortal.start_scheduler()
    mortal.start_worker()
    embed(world, tmp_path / "later", mortal.address, progress=again, resume=True)
    assert again.seen[0] >= progress.seen[-1] > 0 and same_bytes(world, tmp_path / "later")


def test_two_jobs_share_a_cluster(world, tmp_path, cluster):
    outs = [tmp_path / "one", tmp_path / "other"]
    with ThreadPoolExecutor(2) as together:
        list(together.map(lambda out: embed(world, out, cluster.address), outs))
    assert all(same_bytes(world, out) for out in outs)


def test_a_run_that_was_stopped_goes_on_there_or_here(world, tmp_path, cluster):
    for first, then in ((cluster.address, cluster.address), (cluster.address, None), (None, cluster.address)):
        out, stopped, again = tmp_path / f"{first}-{then}".replace("/", ""), Once(lambda: None), Once(None)

        def should_stop(progress=stopped):
            return progress.action is None

        with pytest.raises(Stopped):
            embed(world, out, first, progress=stopped, should_stop=should_stop)
        embed(world, out, then, progress=again, resume=True)
        assert same_bytes(world, out)
        assert first is None or again.seen[0] > 0, "what is done was computed again"


def test_a_worker_of_another_version_is_left_out(world, tmp_path, mortal, cluster, caplog):
    old = tmp_path / "old" / "scfviz"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text('__version__ = "0.0.9"\n')
    mortal.start_worker(old.parent)
    with pytest.raises(JobError, match=f"it has scfviz 0.0.9, this is scfviz {scfviz.__version__}"):
        embed(world, tmp_path / "refused", mortal.address)
    process = cluster.start_worker(old.parent)
    with Workers(cluster.address) as workers:
        while len(workers._client.nthreads()) < 2:
            time.sleep(0.1)
    caplog.set_level(logging.WARNING, "scfviz.cluster")
    embed(world, tmp_path / "out", cluster.address)
    kill(process)
    assert same_bytes(world, tmp_path / "out") and "is left out: it has scfviz 0.0.9" in caplog.text


def test_workers_without_the_data_are_refused(world, tmp_path, cluster, monkeypatch):
    """As on a file system that they do not mount: the file goes when this machine has read it."""
    shutil.copytree(world / "tiny", tmp_path / "tiny")
    shutil.copy(world / "cells.h5ad", tmp_path / "cells.h5ad")
    publish = cluster_run.ClusterRun._publish

    def publish_and_hide(run, store):
        job = publish(run, store)
        (tmp_path / "cells.h5ad").rename(tmp_path / "hidden.h5ad")
        return job

    monkeypatch.setattr(cluster_run.ClusterRun, "_publish", publish_and_hide)
    with pytest.raises(JobError, match="No worker of tcp.*: it cannot see the file .*cells.h5ad"):
        embed(tmp_path, tmp_path / "out", cluster.address)


@pytest.fixture
def job(world, tmp_path):
    """What workers are told, with a copy of everything that they open."""
    for name in ("tiny", "other"):
        shutil.copytree(world / "tiny", tmp_path / name)
    shutil.copy(world / "cells.h5ad", tmp_path / "cells.h5ad")
    save_tiny_checkpoint(tmp_path / "other", seed=1)
    found = []
    publish = cluster_run.ClusterRun._publish

    def publish_only(run, store):
        found.append(publish(run, store))
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(cluster_run.ClusterRun, "_publish", publish_only)
        patch.setattr(cluster_workers.Workers, "__enter__", lambda workers: workers)
        patch.setattr(cluster_workers.Workers, "resolve", lambda *_: ("cpu", "fp32"))
        embed(tmp_path, tmp_path / "out", "tcp://nobody:1")
    return found[0]


def test_a_worker_says_why_it_cannot_take_part(job, tmp_path):
    assert examine(job)
    cases = [
        ({"folder": str(tmp_path / "nowhere")}, "it cannot see the folder"),
        ({"data": str(tmp_path / "nowhere.h5ad")}, "it cannot see the file"),
        ({"data_size": 1}, "it sees another file .* bytes instead of 1"),
        ({"checkpoint": str(tmp_path / "nowhere")}, "it has no checkpoint"),
        ({"checkpoint": str(tmp_path / "other")}, "it has another checkpoint"),
        ({"device": "cuda:77"}, "'cuda:77' cannot be used here"),
    ]
    for change, said in cases:
        with pytest.raises(ScfvizError, match=said):
            examine(replace(job, **change))
    cells = make_cells(N_OBS)
    cells.X.data[-1] += 1  # the same size
    cells.write_h5ad(tmp_path / "others.h5ad")
    with pytest.raises(ScfvizError, match="it sees another file"):
        examine(replace(job, data=str(tmp_path / "others.h5ad")))
    make_cells(N_OBS - 1).write_h5ad(tmp_path / "fewer.h5ad")
    size = (tmp_path / "fewer.h5ad").stat().st_size
    with pytest.raises(ScfvizError, match="it sees another file .*other cells or genes"):
        examine(replace(job, data=str(tmp_path / "fewer.h5ad"), data_size=size))


def test_a_window_computed_twice_has_the_same_bytes_and_a_name_of_its_content(job):
    embed = partial(InferenceRun.embed, pooling="max")
    compute_window(job, embed, None, 3, 9)
    path = job.window(3, 9)
    before = path.read_bytes()
    path.unlink()
    compute_window(job, embed, None, 3, 9)
    assert path.read_bytes() == before
    names = {job.window(3, 9), job.window(3, 8), replace(job, content="x").window(3, 9)}
    assert len(names | {replace(job, version="0").window(3, 9)}) == 4
    path.write_bytes(b"kept")
    compute_window(job, embed, None, 3, 9)
    assert path.read_bytes() == b"kept"


def test_the_command_writes_the_same_file(world, tmp_path, cluster, capsys):
    given = ["embed", str(world / "cells.h5ad")]
    model = ["--checkpoint", str(world / "tiny"), "--precision", "fp32", "--min-counts", "1400"]
    assert main([*given, str(tmp_path / "here.h5ad"), *model]) == 0
    assert main([*given, str(tmp_path / "there.h5ad"), *model, "--cluster", cluster.address]) == 0
    assert main([*given, str(tmp_path / "part.npy"), *model, "--cluster", cluster.address, "--cells", "10:30"]) == 0
    here, there = (ad.read_h5ad(tmp_path / name) for name in ("here.h5ad", "there.h5ad"))
    np.testing.assert_array_equal(there.obsm["X_scfoundation"], here.obsm["X_scfoundation"])
    assert dict(there.uns["scfviz"]) == dict(here.uns["scfviz"])
    part = here.obsm["X_scfoundation"][10:30]
    np.testing.assert_array_equal(np.load(tmp_path / "part.npy"), part[~np.isnan(part[:, 0])])
    assert 0 < np.isnan(here.obsm["X_scfoundation"][:, 0]).sum() < N_OBS
    assert {path.name for path in tmp_path.iterdir()} == {"here.h5ad", "there.h5ad", "part.npy", "part.npy.json"}
    capsys.readouterr()


def test_a_task_embeds_on_a_cluster_what_takes_part_of_cells_and_genes(world, tmp_path, cluster, monkeypatch):
    counts, model = open_cells(world)
    part = counts.only_genes(np.arange(counts.n_genes) % 5 > 0).subset(np.arange(0, N_OBS, 2))
    part = part.subset(np.arange(5, part.n_obs))
    options, seen = ModelOptions(dataset=str(world / "cells.h5ad"), precision="fp32", device="cpu"), []
    cells = OpenedCells(part, np.arange(part.n_obs), N_OBS, counts.obs, model)
    take = cluster_run._Windows.take
    monkeypatch.setattr(cluster_run._Windows, "take", lambda *given: seen.append(1) or take(*given))
    for changed in (False, True):
        with torch.no_grad():
            model.encoder_norm.bias += float(changed)
        seen.clear()
        steps = Steps(tmp_path, cluster=cluster.address)
        found = embed_part(part, cells, options, steps, f"embedding{changed}", (0.0, 1.0)).values
        assert bool(seen) is not changed, "a model that was changed in memory is on no other machine"
        np.testing.assert_array_equal(found, embed_cells(part, model, precision="fp32", device="cpu").values)


def test_processes_of_this_computer_do_the_same(world, tmp_path, monkeypatch):
    """Also for a script without `if __name__ == "__main__"`, which each of Dask's own processes would run again."""
    script = types.ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    Path(script.__file__).write_text("raise SystemExit(1)")
    monkeypatch.setitem(sys.modules, "__main__", script)
    embed(world, tmp_path / "out", "local:2")
    assert same_bytes(world, tmp_path / "out")


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (command, ["--cluster", cluster], said)
        for command in ("embed", "map", "annotate", "modules", "network")
        for cluster, said in (
            ("nonsense", "The cluster is 'nonsense'"),
            ("local:0", "The cluster is 'local:0'"),
            ("tcp://127.0.0.1:1", "The scheduler at tcp://127.0.0.1:1 does not answer"),
        )
    ]
    + [("embed", ["--cluster", "local:2", "--bulk"], "--cluster is given with bulk samples")]
    + [("enhance", ["--cluster", "local:2"], "A cell's prediction takes its neighbours' counts")],
)
def test_what_is_no_cluster_is_refused_before_anything_is_read(
    world, tmp_path, capsys, monkeypatch, options, said, command
):
    monkeypatch.setattr(cluster_workers, "SECONDS_TO_CONNECT", 1.0)
    if command in ("map", "annotate"):
        options = [*options, "--reference", str(world / "cells.h5ad")]
    out = ["--out"] if command in ("modules", "network") else []
    assert main([command, str(world / "cells.h5ad"), *out, str(tmp_path / "out.h5ad"), *options]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("visible", "first"), [("2", 2), ("3,0,1,2", 3), ("GPU-7f,GPU-80", "GPU-7f")])
def test_a_worker_takes_the_first_gpu_that_it_may_see(monkeypatch, visible, first):
    """`dask cuda worker` gives each worker all GPUs in another order, Slurm one; which is meant is seen without any."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = torch.cuda._parse_visible_devices()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)

    def properties(device):
        return types.SimpleNamespace(uuid=devices[device.index or torch.cuda.current_device()])

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert gpu_of("cpu") == "" and gpu_of("cuda") == str(first)
    for name in ("auto", "cuda"):
        assert resolve_device(name, "auto") == ("cuda", "bf16")
    with pytest.raises(OptionError, match=f"'cuda:{len(devices)}' cannot be used here"):
        resolve_device(f"cuda:{len(devices)}", "auto")


def test_workers_that_share_a_gpu_are_named(caplog):
    workers = Workers("tcp://nobody:1")

    def answer(address, gpu):
        question = types.SimpleNamespace(status="finished", result=lambda timeout: ("H100", gpu))
        workers._known[address] = cluster_workers._Worker(question, version=scfviz.__version__)
        workers._hear(address, workers._known[address], None)

    caplog.set_level(logging.WARNING, "scfviz.cluster")
    for address, gpu in (("tcp://a:1", "GPU-1"), ("tcp://a:2", "GPU-2"), ("tcp://b:1", ""), ("tcp://b:2", "")):
        answer(address, gpu)
    assert not caplog.text
    answer("tcp://a:3", "GPU-2")
    assert "The workers tcp://a:2 and tcp://a:3 compute on the same GPU" in caplog.text


def test_processes_of_this_computer_listen_to_it_alone():
    before = set(listening())
    with Workers("local:1"):
        opened = set(listening()) - before
    assert len(opened) > 2 and {ip for _, ip, _ in opened} == {"127.0.0.1"}


def listening():
    """Process, address and port of what this process and those it started listen to."""
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for one in process.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN:
                yield process.pid, *one.laddr


def test_without_dask_it_is_said_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for cluster in ("local:2", "tcp://127.0.0.1:1"):
        with pytest.raises(OptionError, match=r"pip install 'scfviz\[cluster\]'"):
            cluster_workers.refuse_no_cluster(cluster)


def test_a_cluster_without_workers_is_not_waited_for_forever(world, tmp_path, mortal, monkeypatch):
    monkeypatch.setattr(cluster_workers, "SECONDS_WITHOUT_WORKERS", 0.1)
    with pytest.raises(JobError, match="No worker was connected"):
        embed(world, tmp_path / "out", mortal.address)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_a_worker_keeps_memory_whatever_its_nanny_has_set():
    """Dask's own setting gave every array back to the system: half as much time again went into mapping pages."""
    code = """
import resource, sys
import numpy as np
from scfviz.model.cluster.worker import _keep_memory
if sys.argv[1] == "kept":
    _keep_memory()
for _ in range(200):
    np.ones(2**17)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    faults = [
        int(subprocess.run([sys.executable, "-c", code, how], env=environment, capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    ]
    assert faults[0] < faults[1] / 2, faults
