"""The demos are there without a network, and the gallery says plainly when it has none."""

import hashlib
import http.server
import io
import sys
import tarfile
import threading
from dataclasses import replace

import datasets
import pytest

from scfviz.data.align import align_genes
from scfviz.data.catalog import DEMOS, demo_path, fetch, find_entry, gallery
from scfviz.data.read import read_dataset
from scfviz.errors import DatasetError, OptionError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("demos")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A web server on this machine, and the folder it serves."""
    folder = tmp_path_factory.mktemp("served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_demos_open_without_a_network(cache, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("the network was used"))
    labelled = align_genes(read_dataset(demo_path("pbmc68k_reduced", cache)))
    assert labelled.n_obs == 700 and labelled.obs["bulk_labels"].nunique() == 10
    assert labelled.counts_report.kind == "recovered" and labelled.counts_report.recovery.whole_share > 0.99
    assert labelled.gene_report.n_measured > 700
    full = align_genes(read_dataset(demo_path("celltypist_sample", cache)))
    assert full.n_obs == 559 and full.counts_report.kind == "counts" and full.gene_report.model_coverage > 95


def test_a_demo_is_written_once(cache):
    path = demo_path("celltypist_sample", cache)
    before = path.stat().st_mtime_ns
    assert demo_path("celltypist_sample", cache) == path
    assert path.stat().st_mtime_ns == before


def test_the_packages_of_the_demos_are_not_imported(tmp_path):
    import subprocess

    code = f"""
import sys
from scfviz.data.catalog import demo_path
demo_path("pbmc68k_reduced", {str(tmp_path)!r})
print("scanpy" in sys.modules, "celltypist" in sys.modules)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=find_root())
    assert output.stdout.split() == ["False", "False"], output.stderr


def find_root():
    from pathlib import Path

    return Path(__file__).parents[2]


def test_a_demo_whose_package_is_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="Install scanpy again"):
        demo_path("pbmc68k_reduced", tmp_path)


@pytest.mark.parametrize("entry", [*DEMOS, *gallery()], ids=lambda e: e.name)
def test_every_entry_says_what_it_is_and_under_which_licence(entry):
    assert all((entry.title, entry.description, entry.licence, entry.citation)) and entry.n_obs > 0
    assert (entry.package is None) != (entry.url is None)
    if entry.url:
        assert entry.url.startswith("https://") and entry.file_name
        assert entry.sha256 is None or len(entry.sha256) == 64


def test_names_are_unique_and_unknown_ones_are_refused(tmp_path):
    names = [e.name for e in (*DEMOS, *gallery())]
    assert len(set(names)) == len(names)
    with pytest.raises(OptionError, match="Known names"):
        find_entry("nothing")
    with pytest.raises(OptionError, match="not a demo"):
        demo_path("pbmc3k", tmp_path)


def test_without_a_network_one_sentence_says_so(tmp_path):
    entry = replace(find_entry("pbmc3k"), url="http://127.0.0.1:9/pbmc3k.h5ad")
    with pytest.raises(DatasetError) as caught:
        fetch(entry, tmp_path)
    assert "no connection" in str(caught.value) and str(caught.value).count(". ") == 0
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_dataset_is_fetched_once_with_progress(server, tmp_path):
    folder, url = server
    path = datasets.write_h5ad(datasets.make_adata(), folder / "a.h5ad")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = replace(find_entry("pbmc3k"), url=f"{url}/a.h5ad", sha256=digest, file_name="a.h5ad")
    steps = []
    target = fetch(entry, tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (path.stat().st_size,) * 2
    assert read_dataset(target).n_obs == 60
    steps.clear()
    assert fetch(entry, tmp_path, progress=lambda *step: steps.append(step)) == target and not steps


def test_a_file_with_another_hash_is_refused_and_not_kept(server, tmp_path):
    folder, url = server
    (folder / "other.h5ad").write_bytes(b"something else")
    entry = replace(find_entry("pbmc3k"), url=f"{url}/other.h5ad", sha256="0" * 64, file_name="other.h5ad")
    with pytest.raises(DatasetError, match="SHA-256"):
        fetch(entry, tmp_path)
    assert not (tmp_path / "other.h5ad").exists()


def test_a_missing_file_on_the_server_is_said(server, tmp_path):
    entry = replace(find_entry("pbmc3k"), url=f"{server[1]}/gone.h5ad", file_name="gone.h5ad")
    with pytest.raises(DatasetError, match="could not be fetched"):
        fetch(entry, tmp_path)


def pack(folder, members: dict[str, bytes], name: str):
    with tarfile.open(folder / name, "w:gz") as tar:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_an_archive_is_unpacked_to_its_matrix(server, tmp_path):
    folder, url = server
    adata = datasets.make_adata()
    pack(folder, {f"filtered/hg19/{k}": v for k, v in datasets.mtx_parts(adata, 2).items()}, "a.tar.gz")
    entry = replace(find_entry("zheng68k"), url=f"{url}/a.tar.gz", file_name="a.tar.gz")
    target = fetch(entry, tmp_path)
    assert (read_dataset(target).X != adata.X).nnz == 0
    assert fetch(entry, tmp_path) == target


def test_an_archive_that_would_write_elsewhere_is_refused(server, tmp_path):
    folder, url = server
    pack(folder, {"../../escaped/matrix.mtx": b"x"}, "bad.tar.gz")
    entry = replace(find_entry("zheng68k"), url=f"{url}/bad.tar.gz", file_name="bad.tar.gz")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        fetch(entry, tmp_path / "x" / "y")
    assert not (tmp_path / "escaped").exists()
