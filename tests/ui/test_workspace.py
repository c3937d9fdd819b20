"""The folder that lasts: where it is, who may look, and that no file is ever seen half written."""

import json
import os
import stat
import threading

import pytest

from scfviz.jobs.workspace import Workspace, read_json, write_json


def test_environment_chooses_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "there"))
    assert Workspace().root == tmp_path / "there"
    assert Workspace(tmp_path / "here").root == tmp_path / "here"
    monkeypatch.delenv("SCFVIZ_WORKSPACE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace().root == tmp_path / ".scfviz"


def test_naming_a_workspace_writes_nothing(tmp_path):
    Workspace(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")
def test_only_the_owner_can_look_inside(tmp_path):
    workspace = Workspace(tmp_path / "new")
    for folder in (workspace.uploads, workspace.jobs, workspace.gallery, workspace.datasets):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0


def test_sizes_are_the_bytes_on_disk(tmp_path):
    workspace = Workspace(tmp_path)
    (workspace.uploads / "sub").mkdir()
    (workspace.uploads / "sub" / "a").write_bytes(b"x" * 1000)
    (workspace.jobs / "b").write_bytes(b"x" * 20)
    assert workspace.sizes() == {"datasets": 0, "uploads": 1000, "gallery": 0, "jobs": 20}


def test_reader_never_sees_half_a_file(tmp_path):
    path, stop, wrong = tmp_path / "status.json", threading.Event(), []
    write_json(path, {"n": 0, "text": ""})

    def read():
        while not stop.is_set():
            content = read_json(path)
            if content is None or len(content["text"]) != content["n"]:
                wrong.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(0, 60_000, 200):
        write_json(path, {"n": n, "text": "x" * n})
    stop.set()
    reader.join()
    assert not wrong


def test_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"a": 1})
    for content in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            write_json(path, content)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]
    assert read_json(tmp_path / "other.json") is None
