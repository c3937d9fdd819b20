"""What the pages for administrators say can be done: the container's files suffice, scripts run, commands exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import yaml
from small_cells import save_tiny_checkpoint, write_cells

from scfviz.__main__ import build_parser, main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONTAINER = (DOCS / "Containerfile").read_text(encoding="utf-8")


def test_the_container_has_no_rights_a_health_check_and_a_volume():
    lines = [line.split(maxsplit=1) for line in CONTAINER.splitlines() if line and not line.startswith("#")]
    words = [word for word, _ in lines]
    assert words.index("USER") < words.index("CMD") and dict(lines)["USER"] == "scfviz"
    assert dict(lines)["VOLUME"] == "/workspace" and "/_stcore/health" in dict(lines)["HEALTHCHECK"]
    command = eval(dict(lines)["CMD"])
    assert command[0] == "scfviz" and build_parser().parse_args(command[1:]).host == "0.0.0.0"


@pytest.mark.slow
def test_what_is_copied_into_the_container_is_all_that_the_app_needs(tmp_path):
    """Pages read assets, recorded measurements and Streamlit's settings, which no package holds."""
    for line in re.findall(r"^COPY (.*)$", CONTAINER, re.M):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / (source if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, place)
    code = """
import sys
import time
from pathlib import Path
from streamlit.testing.v1 import AppTest
import scfviz
assert Path(scfviz.__file__).is_relative_to(Path.cwd())
for page in sorted(Path("pages").glob("*.py")):
    app = AppTest.from_file(str(page), default_timeout=120).run()
    said = [element.value for element in (*app.exception, *app.error)]
    assert not said, (page, said)
    assert app.title, page
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "SCFVIZ_WORKSPACE": str(tmp_path / "workspace")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_script_of_an_array_computes_the_whole_in_parts(tmp_path, monkeypatch):
    cells = write_cells(tmp_path / "cells.h5ad", 25)
    model = ["--checkpoint", str(save_tiny_checkpoint(tmp_path / "tiny")), "--precision", "fp32"]
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "scfviz"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m scfviz "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_ARRAY_TASK_MIN": "5",
        "SLURM_CPUS_PER_TASK": "1",
    }
    script = [str(DOCS / "embed_parts.sh"), str(cells), "25", str(tmp_path / "parts"), *model]
    for task in ("6", "5", "5"):
        done = subprocess.run(
            ["bash", *script], env=environment | {"SLURM_ARRAY_TASK_ID": task}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "is there" in done.stdout
    parts = sorted(map(str, (tmp_path / "parts").glob("*.npy")))
    assert main(["merge", str(cells), str(tmp_path / "merged.h5ad"), "--parts", *parts]) == 0
    assert main(["embed", str(cells), str(tmp_path / "whole.h5ad"), *model]) == 0
    merged, whole = (ad.read_h5ad(tmp_path / name).obsm["X_scfoundation"] for name in ("merged.h5ad", "whole.h5ad"))
    np.testing.assert_array_equal(merged, whole)


def test_the_slurm_job_of_a_cluster_starts_what_belongs_together(tmp_path):
    """With commands in place of Slurm's and Dask's that write down how they were called."""
    script, calls = DOCS / "cluster.sh", tmp_path / "calls"
    subprocess.run(["bash", "-n", str(script)], check=True)
    (tmp_path / "bin").mkdir()
    wait = f'until [ "$(grep -c ^dask "{calls}")" = 2 ]; do sleep 0.05; done'  # as for its workers
    for name, then in (("dask", "exec sleep 60"), ("srun", 'exec "$@"'), ("scfviz", wait)):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\necho {name} "$@" >> "{calls}"\n{then}\n')
        command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "12014"}
    given = ["cells.h5ad", "out.h5ad", "--pooling", "max"]
    subprocess.run(["bash", str(script), *given], env=environment, check=True, timeout=60)
    until = time.monotonic() + 60
    while len(called := calls.read_text().splitlines()) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    by_name = {tuple(line.split()[:2]): line.split()[1:] for line in called}
    scheduler, worker = by_name["dask", "scheduler"], by_name["dask", "worker"]
    address = worker[1]
    embed = build_parser().parse_args(by_name["scfviz", "embed"])
    assert embed.cluster == address and embed.resume and (embed.file.name, embed.out.name) == tuple(given[:2])
    assert dask_options(scheduler)["port"] == address.rpartition(":")[2] == "8800"
    assert dask_options(worker)["scheduler"] == address


def dask_options(command: list[str]) -> dict:
    """What Dask's own command line reads of `scheduler ...` or `worker ...`; it refuses options that it has not."""
    from distributed.cli import dask_scheduler, dask_worker

    main = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[command[0]]
    context = main.make_context(command[0], list(command[1:]))
    return context.params


def test_the_kubernetes_example_is_a_scheduler_workers_and_a_job_on_one_volume():
    parts = list(yaml.safe_load_all((DOCS / "cluster.yaml").read_text(encoding="utf-8")))
    by_name = {(part["kind"], part["metadata"]["name"]): part["spec"] for part in parts}
    assert len(by_name) == len(parts)
    pods = {name: spec["template"] for (kind, name), spec in by_name.items() if kind in ("Deployment", "Job")}
    containers = {name: pod["spec"]["containers"][0] for name, pod in pods.items()}
    for (kind, name), spec in by_name.items():
        if kind == "Deployment":
            assert spec["selector"]["matchLabels"] == pods[name]["metadata"]["labels"]
    assert all(pod["spec"]["securityContext"]["runAsNonRoot"] for pod in pods.values())
    assert len({container["image"] for container in containers.values()}) == 1

    service, scheduler = by_name["Service", "scfviz-scheduler"], containers["scfviz-scheduler"]
    assert service["selector"] == pods["scfviz-scheduler"]["metadata"]["labels"]
    port = int(dask_options(scheduler["command"][1:])["port"])
    assert service["ports"] == [{"port": port, "targetPort": port}] and scheduler["ports"][0]["containerPort"] == port
    embed = build_parser().parse_args(containers["scfviz-embed"]["command"][1:])
    address = dask_options(containers["scfviz-worker"]["command"][1:])["scheduler"]
    assert address == embed.cluster == f"tcp://scfviz-scheduler:{port}" and embed.resume

    for name in ("scfviz-worker", "scfviz-embed"):
        (mount,), (volume,) = containers[name]["volumeMounts"], pods[name]["spec"]["volumes"]
        assert mount == {"name": volume["name"], "mountPath": "/shared"}
        assert volume["persistentVolumeClaim"]["claimName"] == "scfviz-shared"
    assert str(embed.file).startswith("/shared/") and str(embed.out).startswith("/shared/")
    policy = by_name["NetworkPolicy", "scfviz"]
    assert policy["podSelector"] == policy["ingress"][0]["from"][0]["podSelector"] == {"matchLabels": {"app": "scfviz"}}
    assert all(pod["metadata"]["labels"]["app"] == "scfviz" for pod in pods.values())


@pytest.mark.parametrize(
    "name", ["server.md", "corpus.md", "embed_parts.sh", "cluster.sh", "cluster.yaml", "Containerfile"]
)
def test_commands_of_the_pages_exist(name):
    """Each `scfviz ...` is one that the parser takes; each file that is named is there."""
    text = (DOCS / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        text = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S))
    commands = re.findall(r"^(?:#\s+|\S*bin/|torchrun .*-m )?(scfviz .*?)(?:\s+#.*)?$", text, re.M)
    assert commands or name in ("cluster.sh", "cluster.yaml", "Containerfile")
    for line in commands:
        if "$" not in line:
            build_parser().parse_args(shlex.split(line)[1:])
    for line in re.findall(r"^dask ((?:scheduler|worker) .*?)(?:\s+#.*)?$", text, re.M):
        assert "$" in line or dask_options(line.split())
    for path in re.findall(r"docs/[\w.]+\w", text):
        assert (ROOT / path).is_file(), path
