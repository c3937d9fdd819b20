"""Building a training corpus and reading it back."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_cells import make_cells, write_cells
from small_corpus import make_corpus, make_counts

from scfviz.__main__ import main
from scfviz.data import corpus_writer
from scfviz.data.align import align_genes
from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_reader import Corpus, shuffled
from scfviz.data.corpus_writer import CorpusOptions, SourceRecord, SourceWriter
from scfviz.data.read import read_dataset
from scfviz.errors import DatasetError, OptionError

FEW = CorpusOptions(more_than_genes=50, held_out_cells=0.2, held_out_datasets=0.0)


def all_cells(corpus):
    """Every cell of the corpus by dataset and row of its file."""
    return {
        (corpus.sources[cell.source]["name"], cell.file_row): (split, cell)
        for split in ("train", "held-out cells", "held-out datasets")
        for cell in (corpus.cell(i, split) for i in range(corpus.n_cells(split)))
    }


def test_corpus_holds_the_counts_of_the_files_in_the_models_order(tmp_path):
    paths = [write_cells(tmp_path / f"{name}.h5ad", 40, seed=i) for i, name in enumerate("abc")]
    manifest = build_corpus(paths, tmp_path / "corpus", hold_out=["c"], options=FEW)
    corpus = Corpus(tmp_path / "corpus")
    found = all_cells(corpus)
    assert len(found) == manifest["n_cells"] == 120
    for path in paths:
        aligned = align_genes(read_dataset(path))
        rows = aligned.rows(0, 40)
        for i in range(40):
            split, cell = found[path.stem, i]
            np.testing.assert_array_equal(cell.genes, rows[i].indices)
            np.testing.assert_array_equal(cell.counts, rows[i].data)
            assert (split == "held-out datasets") == (path.stem == "c")
        np.testing.assert_array_equal(corpus.is_measured("abc".index(path.stem)), aligned.is_measured)
    assert 5 <= corpus.n_cells("held-out cells") <= 30
    assert manifest["n_train"] + corpus.n_cells("held-out cells") + 40 == 120


def test_cells_are_dropped_for_stated_reasons_only(tmp_path):
    cells = make_cells(60)
    poor = make_cells(10, depth=30, seed=5)
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    cells.write_h5ad(first)
    import anndata as ad

    ad.concat([cells[:7], make_cells(20, seed=9), poor], index_unique="-").write_h5ad(second)
    reserved = tmp_path / "reserved.h5ad"
    cells[20:25].copy().write_h5ad(reserved)
    manifest = build_corpus([first, second], tmp_path / "corpus", exclude=[reserved], options=FEW)
    one, two = manifest["sources"]
    assert one["dropped"] == {"with too few genes": 0, "duplicates": 0, "reserved for evaluation": 5}
    assert two["dropped"] == {"with too few genes": 10, "duplicates": 7, "reserved for evaluation": 0}
    assert (one["n_kept"], two["n_kept"]) == (55, 20)
    assert one["n_read"] == 60 and two["n_read"] == 37


def test_duplicates_within_a_file_are_dropped_across_blocks_and_shards(tmp_path, genes, monkeypatch):
    monkeypatch.setattr(corpus_writer, "SHARD_CELLS", 30)
    counts = make_counts(100, 64, seed=1)
    (tmp_path / "sources").mkdir()
    record = SourceRecord("one", "one.h5ad", "0" * 64, False)
    with SourceWriter(tmp_path, record, CorpusOptions(more_than_genes=5), np.ones(64, bool)) as writer:
        for start in range(0, 100, 20):
            writer.add(counts[start : start + 20])
        writer.add(counts[:50])
    assert record.n_kept == 100
    assert record.dropped["duplicates"] == 50
    assert len(record.shards) > 2


def test_a_bad_file_is_reported_and_the_others_are_kept(tmp_path):
    good, bad = write_cells(tmp_path / "good.h5ad", 30), tmp_path / "bad.h5ad"
    bad.write_bytes(good.read_bytes()[:3000])
    said = []
    manifest = build_corpus(
        [bad, good, tmp_path / "missing.h5ad"], tmp_path / "corpus", options=FEW, report=said.append
    )
    assert set(manifest["failed"]) == {"bad", "missing"}
    assert manifest["n_cells"] == 30
    assert any(line.startswith("bad: skipped") for line in said)
    stored = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    assert stored["failed"]["bad"]["found"]


def test_a_command_that_added_nothing_fails_and_one_that_skipped_a_file_names_it(tmp_path, capsys):
    good, bad = write_cells(tmp_path / "good.h5ad", 30), tmp_path / "bad.h5ad"
    bad.write_bytes(good.read_bytes()[:3000])
    build = ["corpus", "build", "--out", str(tmp_path / "corpus")]
    rules = ["--more-than-genes", "5", "--held-out-cells", "0.2", "--held-out-datasets", "0"]
    assert main([*build, *rules, str(good), str(bad)]) == 0
    assert "Skipped, see above: bad." in capsys.readouterr().out
    for given in ([str(bad)], [str(bad), str(tmp_path / "missing.h5ad")]):
        assert main([*build, *given]) == 2
        said = capsys.readouterr().err
        assert f"None of the {len(given)} files could be added: bad: " in said and "is kept" in said
        assert main([*build, *given, "--json"]) == 2, "although the corpus has cells from before"
        assert set(json.loads(capsys.readouterr().out)["failed"]) == {Path(path).stem for path in given}
    bad.write_bytes(write_cells(tmp_path / "whole.h5ad", 30, seed=1).read_bytes())
    assert main([*build, str(good), str(bad)]) == 0, "good is there already, and bad was mended"
    assert "60 cells of 2 datasets" in capsys.readouterr().out


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="None of the 1 files"):
        build_corpus([tmp_path / "missing.h5ad"], tmp_path / "corpus", options=FEW)
    with pytest.raises(OptionError):
        build_corpus([], tmp_path / "corpus")


def test_a_build_goes_on_where_it_was_and_can_be_extended(tmp_path):
    paths = [write_cells(tmp_path / f"{name}.h5ad", 30, seed=i) for i, name in enumerate("abc")]
    build_corpus(paths[:2], tmp_path / "corpus", options=FEW)
    stamp = (tmp_path / "corpus/sources/a/source.json").stat().st_mtime_ns
    said = []
    extended = build_corpus(paths, tmp_path / "corpus", report=said.append)
    assert (tmp_path / "corpus/sources/a/source.json").stat().st_mtime_ns == stamp
    assert said[0] == "a: already in the corpus (30 cells)"
    at_once = build_corpus(paths, tmp_path / "at_once", options=FEW)
    assert extended == at_once
    with pytest.raises(OptionError, match="other rules"):
        build_corpus(paths, tmp_path / "corpus", options=CorpusOptions(more_than_genes=51))


def test_a_killed_build_leaves_a_whole_corpus_and_is_finished_by_the_next(tmp_path):
    paths = [str(write_cells(tmp_path / f"{i}.h5ad", 400, seed=i)) for i in range(6)]
    code = (
        "import sys; from scfviz.data.corpus import build_corpus; from scfviz.data.corpus_writer import CorpusOptions\n"
        "options = CorpusOptions(50, 0.2, 0.0)\n"
        "build_corpus(sys.argv[2:], sys.argv[1], options=options, report=lambda s: print(s, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "corpus"), *paths], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = Corpus(tmp_path / "corpus").n_cells("train")
    manifest = build_corpus(paths, tmp_path / "corpus")
    assert manifest["n_cells"] == 2400 and killed < 2400
    assert not list((tmp_path / "corpus/sources").glob(".*"))
    assert all_cells(Corpus(tmp_path / "corpus")).keys() == {(str(i), row) for i in range(6) for row in range(400)}


def test_fractional_and_very_large_counts_survive(tmp_path):
    counts = make_counts(4, 64, seed=0)
    for name, factor, kind in (("small", 1, "uint16"), ("large", 1e5, "uint32"), ("fraction", 0.3, "float32")):
        folder = tmp_path / name
        (folder / "sources").mkdir(parents=True)
        record = SourceRecord("one", "one", "0" * 64, False)
        with SourceWriter(folder, record, CorpusOptions(5, 0.0, 0.0), np.ones(64, bool)) as writer:
            writer.add((counts * factor).astype(np.float32).tocsr())
        data = np.load(folder / "sources/one/shard-000/data.npy")
        assert data.dtype == kind
        np.testing.assert_array_equal(data, (counts.data * factor).astype(np.float32))


def test_the_order_of_an_epoch_is_a_permutation_found_piece_by_piece():
    for n in (1, 2, 7, 64, 1000, 4097):
        whole = shuffled(np.arange(n), n, key=5)
        np.testing.assert_array_equal(np.sort(whole), np.arange(n))
        pieces = [shuffled(np.arange(start, min(start + 13, n)), n, key=5) for start in range(0, n, 13)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    a, b = shuffled(np.arange(1000), 1000, 1), shuffled(np.arange(1000), 1000, 2)
    assert (a == b).mean() < 0.02
    assert abs(np.corrcoef(np.arange(1000), a)[0, 1]) < 0.1


def test_a_corpus_travels_to_other_processes(tmp_path, genes):
    corpus = make_corpus(tmp_path / "corpus", genes)
    copy = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(copy.cell(17).counts, corpus.cell(17).counts)
    assert copy.fingerprint == corpus.fingerprint
    assert len(pickle.dumps(corpus)) < 1000


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no training corpus"):
        Corpus(tmp_path)


def test_real_files_enter_with_licence_tissue_and_platform(tmp_path, shared):
    names = ("manton_bm1_50", "myeloma_mm16_23", "blakeley_embryo_30")
    files = [shared / "data/corpus" / f"{name}.h5ad" for name in names]
    manifest = build_corpus(files, tmp_path / "corpus", hold_out=["myeloma_mm16_23"])
    assert not manifest["failed"]
    assert manifest["n_cells"] == 103
    for source in manifest["sources"]:
        assert source["licence"] != "not stated" and source["tissue"] and source["platform"]
        assert source["n_genes_measured"] > 10_000
    assert manifest["n_held_out_dataset_cells"] == 23
