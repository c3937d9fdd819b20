"""A wheel is the whole app: what is built from the project's folder runs without it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("scfviz", "pages", "assets", ".streamlit", "benchmarks/results", "app.py", "setup.py", "pyproject.toml")
BUILT_FROM += ("requirements.txt", "README.md", "LICENSE")
RUN = """
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
import scfviz.places
from scfviz.model.checkpoint import default_checkpoint, load_checkpoint

site = Path(sys.argv[1])
assert scfviz.places.ROOT.is_relative_to(site), scfviz.places.ROOT
assert default_checkpoint().is_relative_to(site) and len(load_checkpoint(default_checkpoint()).genes) == 19264
for page in ("home", "model", "perturbation"):
    app = AppTest.from_file(scfviz.places.ROOT / "pages" / f"{page}.py", default_timeout=120).run()
    assert not app.exception and not app.error, (page, app.exception, app.error)
    print(page, app.title[0].value)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        target = folder / "project" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(ROOT / name, target)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder), "."], cwd=folder / "project", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("scfviz-*.whl")
    shutil.rmtree(folder / "project")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def test_nothing_that_the_app_reads_is_left_out(site):
    """Sources of the map are: its bundle is what runs."""
    listed = subprocess.run(["git", "ls-files", *BUILT_FROM[:6]], cwd=ROOT, capture_output=True, text=True, check=True)
    needed = [name for name in listed.stdout.splitlines() if "cell_map/" not in name or "/dist/" in name]
    needed += [n for n in listed.stdout.splitlines() if n.endswith("cell_map/__init__.py")]
    placed = [site / (name if name.startswith("scfviz/") else f"scfviz/shipped/{name}") for name in needed]
    assert len(placed) > 300
    assert [path for path in placed if not path.exists()] == []
    assert {path.name for path in site.iterdir()} == {"scfviz", next(site.glob("*.dist-info")).name}


def test_it_runs_from_where_it_was_installed(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site), "SCFVIZ_WORKSPACE": str(tmp_path / "workspace")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(site)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[0].startswith("home")
