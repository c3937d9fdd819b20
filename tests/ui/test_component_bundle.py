"""The committed bundle of the map is what its source builds, and its lock file names no registry."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

COMPONENT = Path(__file__).resolve().parents[2] / "scfviz" / "ui" / "components" / "cell_map"


def give_up(reason: str):
    """Skip where Node cannot work; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI must run every test")
    pytest.skip(reason)


def test_the_bundle_is_what_its_source_builds(tmp_path):
    if shutil.which("npm") is None:
        give_up("npm is not installed")
    folder = tmp_path / "cell_map"
    shutil.copytree(COMPONENT, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    install = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    if install.returncode:
        give_up(f"npm could not install: {install.stderr[-400:]}")
    subprocess.run(
        ["node", "build.mjs", str(tmp_path / "built")], cwd=folder, check=True, capture_output=True, timeout=120
    )
    for name in ("cell_map.js", "LICENSES.txt"):
        built, committed = (tmp_path / "built" / name).read_bytes(), (COMPONENT / "dist" / name).read_bytes()
        assert built == committed, f"dist/{name} is stale: run `make component` and commit the result"


def test_the_lock_file_names_no_registry_and_every_checksum():
    lock = json.loads((COMPONENT / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert packages and all("integrity" in about and "resolved" not in about for about in packages.values())


def test_every_library_in_the_bundle_has_its_licence_beside_it():
    text = (COMPONENT / "dist" / "LICENSES.txt").read_text(encoding="utf-8")
    lock = json.loads((COMPONENT / "package-lock.json").read_text(encoding="utf-8"))
    inside = [
        (path.rsplit("node_modules/", 1)[1], about["version"])
        for path, about in lock["packages"].items()
        if path and not about.get("dev")
    ]
    assert {"regl-scatterplot", "regl", "gl-matrix"} <= {name for name, _ in inside}
    assert all(f"{name} {version} (" in text for name, version in inside)
    assert "GPL" not in text
