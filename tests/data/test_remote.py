"""A training corpus from a store on a web server, part by part."""

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from small_cells import make_cells
from test_corpus import FEW, all_cells

from scfviz.__main__ import main
from scfviz.data import remote
from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_reader import Corpus
from scfviz.data.remote import RemoteDataset

N_OBS = 50


class Handler(http.server.SimpleHTTPRequestHandler):
    """`python -m http.server`, which writes down what was asked for, and can be out of order."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.words.add(self.headers["Authorization"])
        if self.server.answers is not None:
            self.server.answers -= 1
            if self.server.answers < 0:
                return self.send_error(503)
        return super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder `served`, and its address."""
    (tmp_path / "served").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        found.asked, found.words, found.answers = [], set(), None
        found.folder, found.address = tmp_path / "served", f"http://127.0.0.1:{found.server_port}"
        threading.Thread(target=found.serve_forever, daemon=True).start()
        monkeypatch.setattr(remote, "SHARD_CELLS", 16)
        monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
        yield found
        found.shutdown()


def write_store(server, name="cells.zarr", change=lambda cells: cells):
    cells = change(make_cells(N_OBS))
    cells.write_zarr(server.folder / name)
    return f"{server.address}/{name}"


def values_of(folder, name):
    """Split, genes and counts of every cell, by its row in the store."""
    found = {}
    for (source, row), (split, cell) in all_cells(Corpus(folder)).items():
        number = int(source.rpartition("-")[2]) if source != name else 0
        found[16 * number + row] = (split, cell.genes.tolist(), cell.counts.tolist())
    return found


@pytest.mark.parametrize("kind", ["X", "layer", "raw", "dense"])
def test_a_served_store_gives_the_cells_of_the_same_file(server, tmp_path, kind):
    def change(cells):
        if kind == "dense":
            cells.X = cells.X.toarray()
        elif kind != "X":
            if kind == "layer":
                cells.layers["counts"] = cells.X.copy()
            else:
                cells.raw = cells.copy()
            cells.X.data = np.log1p(cells.X.data) / 3
        return cells

    url = write_store(server, change=change)
    manifest = build_corpus([url], tmp_path / "remote", options=FEW)
    build_corpus([server.folder / "cells.zarr"], tmp_path / "local", options=FEW)
    assert [source["name"] for source in manifest["sources"]] == [f"cells-{i:05d}" for i in range(4)]
    assert {source["file"] for source in manifest["sources"]} == {url}
    found = values_of(tmp_path / "remote", "cells")
    assert len(found) == N_OBS and found == values_of(tmp_path / "local", "cells")
    measured = [Corpus(tmp_path / name).is_measured(0) for name in ("remote", "local")]
    np.testing.assert_array_equal(*measured)


def test_a_server_that_fails_is_named_and_the_next_run_fetches_what_is_left(server, tmp_path):
    url = write_store(server)
    RemoteDataset(url).checksum()
    before = len(server.asked)
    server.answers = before + 9
    said = []
    manifest = build_corpus([url], tmp_path / "corpus", options=FEW, report=said.append)
    n_done = len(manifest["sources"])
    assert 0 < n_done < 4 and "answers 503" in manifest["failed"]["cells"]["found"], said
    server.answers = None
    said.clear()
    manifest = build_corpus([url], tmp_path / "corpus", report=said.append)
    assert sum("already in the corpus" in line for line in said) == n_done
    assert len(manifest["sources"]) == 4 and not manifest["failed"]
    build_corpus([url], tmp_path / "at_once", options=FEW)
    assert values_of(tmp_path / "corpus", "cells") == values_of(tmp_path / "at_once", "cells")


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_with_the_next_part(server, tmp_path):
    url, corpus = write_store(server), tmp_path / "corpus"
    code = (
        "import sys, time; from scfviz.data import remote; from scfviz.data.corpus import build_corpus;"
        "from scfviz.data.corpus_writer import CorpusOptions; remote.SHARD_CELLS = 16;"
        f"options = CorpusOptions(**{vars(FEW)});"
        "say = lambda line: (print(line, flush=True), time.sleep(60));"
        "build_corpus(sys.argv[2:], sys.argv[1], options=options, report=say)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(corpus), url], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("cells-00000: 16 of 16 cells kept")
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = []
    build_corpus([url], corpus, report=said.append)
    assert said[0].startswith("cells-00000: already in the corpus") and len(said) == 4
    build_corpus([url], tmp_path / "at_once", options=FEW)
    assert values_of(corpus, "cells") == values_of(tmp_path / "at_once", "cells")


def test_donors_are_held_out_over_the_whole_store(server, tmp_path):
    """A part may hold cells of one donor alone."""

    def change(cells):
        cells.obs["donor"] = [f"donor{i // 16}" for i in range(N_OBS)]
        return cells

    url = write_store(server, change=change)
    rules = FEW.__class__(50, 0.3, 0.0, "donor")
    manifest = build_corpus([url], tmp_path / "corpus", options=rules)
    chosen = {tuple(source["held_out_values"]) for source in manifest["sources"]}
    donors = [f"donor{i // 16}" for i in range(N_OBS)]
    assert len(chosen) == 1 and not manifest["failed"]
    assert manifest["n_held_out_cells"] == sum(map(donors.count, *chosen))


def test_all_parts_of_a_store_are_held_out_or_none(server, tmp_path):
    other = write_store(server, "other.zarr", lambda cells: make_cells(N_OBS, seed=3))
    manifest = build_corpus([write_store(server), other], tmp_path / "corpus", hold_out=["cells"], options=FEW)
    held_out = {source["name"] for source in manifest["sources"] if source["is_held_out"]}
    assert held_out == {f"cells-{i:05d}" for i in range(4)}


def test_another_store_of_the_same_name_is_refused(server, tmp_path):
    url = write_store(server)
    build_corpus([url], tmp_path / "corpus", options=FEW)
    write_store(server, change=lambda cells: make_cells(N_OBS, seed=1))
    manifest = build_corpus([url], tmp_path / "corpus")
    assert "another file named 'cells-00000'" in manifest["failed"]["cells"]["found"]


def test_what_is_no_store_is_refused_with_a_sentence(server, tmp_path, capsys):
    url = write_store(server)

    def by_genes(cells):
        cells.X = cells.X.tocsc()
        return cells

    columns = write_store(server, "columns.zarr", by_genes)
    write_store(server, "unlisted.zarr")
    for name in (".zmetadata", "zarr.json"):
        path = server.folder / "unlisted.zarr" / name
        if name == ".zmetadata":
            path.unlink(missing_ok=True)
        elif path.exists():
            about = json.loads(path.read_text())
            about.pop("consolidated_metadata", None)
            path.write_text(json.dumps(about))
    cases = {
        f"{server.address}/nothing.zarr": "There is no .zarr store",
        columns: "no matrix that is stored cell by cell",
        f"{server.address}/unlisted.zarr": "has no list of what it holds",
        "nonsense://bucket/cells.zarr": "cannot be opened here",
        "http://127.0.0.1:1/cells.zarr": "does not answer",
    }
    for place, said in cases.items():
        assert main(["corpus", "build", place, "--out", str(tmp_path / "corpus")]) == 2
        assert said in capsys.readouterr().err.replace("\n", " "), place
    secret = url.replace("http://", "http://me:secret@") + "?token=hidden"
    server.words = set()
    assert RemoteDataset(secret).address == url and server.words == {"Basic bWU6c2VjcmV0"}


def test_a_command_streams_a_store_from_pythons_own_server(tmp_path, capsys):
    """The whole way, as it is written in docs/: a folder that is served, and a corpus that a model learns from."""
    (tmp_path / "served").mkdir()
    make_cells(N_OBS).write_zarr(tmp_path / "served" / "cells.zarr")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(tmp_path / "served")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = int(process.stdout.readline().split("port ")[1].split()[0])
        time.sleep(0.1)
        rules = ["--more-than-genes", "50", "--held-out-cells", "0.2", "--held-out-datasets", "0"]
        out = str(tmp_path / "corpus")
        assert main(["corpus", "build", f"http://127.0.0.1:{port}/cells.zarr", "--out", out, *rules]) == 0
        assert "50 cells of 1 datasets" in capsys.readouterr().out
    finally:
        process.kill()
        process.wait()
