"""Every command line that the README prints runs, and those beside the official program's give its numbers."""

import json
import re
import shlex
import socket
import subprocess
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anndata as ad
import numpy as np
import official
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from perturbed_cells import make_screen
from small_cells import make_cells, save_tiny_checkpoint, write_cells
from treated_cells import make_treated

from scfviz.__main__ import build_parser, main
from scfviz.data.vocabulary import load_vocabulary

pytestmark = pytest.mark.slow
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README.split("### Coming from the official program")[1].split("\n## ")[0]
PRINTED = re.findall(r"^scfviz .*?(?=\s+#|$)", README, re.M)
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in TABLE.splitlines() if "`scfviz" in line]
BESIDE = {command.strip("`"): call for call, command in ROWS}
# A first look instead of hours, in fp32 like the recorded numbers.
TRAINING = "--steps 2 --batch-size 2 --validation-cells 2 --max-genes 64 --decoder-rows 64 --warm-up 1"
SHORTER = {
    "pretrain": TRAINING,
    "adapt": TRAINING,
    "embed": "--precision fp32",
    "embed-genes": "--precision fp32",
    "expression": "--precision fp32",
    "modules": "--view coexpression --no-trees",
    "network": "--view coexpression --no-trees",
}
SERVER, getaddrinfo = "https://data.example.org", socket.getaddrinfo
# What each call of the official program gave, by the first words that fit; the first cells of some were recorded.
RECORDED = {
    "--checkpoint checkpoints/rde": "cell_rde_f1_all",
    "--pooling max --target-depth 10000": "cell_ce_t4_max",
    "--checkpoint checkpoints/cell --target-depth 10000": "cell_ce_t4_all",
    "--depth-fold 2.5": "cell_ce_f2.5_all",
    "--tgthighres a5": "cell_ce_a5_all",
    "cells.npy": "cell_ce_f1_all",
    "logged.npy": "cell_ce_t4_all_lognorm",
    "logged_total.npy": "cell_ce_t4_all",
    "--bulk samples.csv bulk_F.npy --pre-normalized F": "bulk_ce_F_all",
    "--bulk samples.csv bulk_T.npy --pre-normalized T": "bulk_ce_T_all",
    "--per-cell --checkpoint": "gene_f1",
    "scfviz expression": "gene_expression_t4",
    "scfviz embed cells.h5ad ce.npy --checkpoint checkpoints/cell": "cell_ce_f1_all",
}


def make_files(folder):
    """What the lines speak of: the cells and samples of the recorded numbers, a file with types, official weights."""
    torch.save(official.official_file(), folder / "models.ckpt")
    write_cells(folder / "pbmc.h5ad", 30)
    make_screen().write_h5ad(folder / "screen.h5ad")
    make_treated().write_h5ad(folder / "ifn.h5ad")
    for seed, name in enumerate("abc"):
        write_cells(folder / f"{name}.h5ad", 30, seed=seed)
    make_cells(30, seed=3).write_zarr(folder / "served" / "cells.zarr")
    genes = pd.DataFrame(index=list(load_vocabulary().symbols))
    counts = sp.csr_matrix(official.cells().astype(np.float32))
    ad.AnnData(counts, var=genes).write_h5ad(folder / "cells.h5ad")
    np.save(folder / "cells.npy", counts.toarray())
    totals = np.asarray(counts.sum(axis=1))
    logged = np.log1p(1e4 * counts.toarray() / totals)
    np.save(folder / "logged.npy", logged)
    np.save(folder / "logged_total.npy", np.hstack([logged, totals]))
    pd.DataFrame(official.bulk(), columns=genes.index).to_csv(folder / "samples.csv")
    tumours = pd.DataFrame(np.random.default_rng(0).gamma(1.0, 30, (3, 1927)), columns=genes.index[::10])
    tumours.to_csv(folder / "tumours.csv", float_format="%.2f")
    lines = pd.DataFrame(np.random.default_rng(2).gamma(1.0, 30, (60, 643)), columns=genes.index[::30])
    lines.rename(index="line {}".format).to_csv(folder / "lines.csv", float_format="%.2f")
    measured = pd.MultiIndex.from_product([lines.index.map("line {}".format), ["drug a", "drug b", "drug c"]])
    table = measured.to_frame(index=False, name=["CELL_LINE_NAME", "DRUG_NAME"])
    table["LN_IC50"] = np.random.default_rng(3).normal(size=len(table))
    table.to_csv(folder / "ic50.csv", index=False)
    cells = ad.AnnData(sp.csr_matrix(np.random.default_rng(1).poisson(0.3, (40, 6422)).astype(np.float32)))
    cells.var_names, cells.obs_names = genes.index[::3], [f"cell {i}" for i in range(40)]
    cells.write_h5ad(folder / "tumour_cells.h5ad")
    some = make_cells(10)
    sp.save_npz(folder / "cells.npz", some.X)
    (folder / "known.csv").write_text("source,target,weight\nSPI1,LYZ,1\n")
    (folder / "genes.txt").write_text("\n".join(["gene", *some.var_names]) + "\n")


@contextmanager
def serve(folder):
    """A folder on a server of this computer: its address, and the paths that are asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def only_here(host, *rest, **options):
    """In place of `socket.getaddrinfo`."""
    assert host in ("127.0.0.1", "localhost"), f"a test asks the network for {host}"
    return getaddrinfo(host, *rest, **options)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs all lines as pasted, in the order of the README; gives exit code and the array that was written, by line.

    Nothing is cleared between them: two lines once wrote to one file, and the second was refused. What the README calls
    `SERVER` is a server of this computer, and no other is asked.
    """
    folder, found = tmp_path_factory.mktemp("readme"), {}
    make_files(folder)
    with pytest.MonkeyPatch.context() as patch, serve(folder / "served") as (address, asked):
        patch.chdir(folder)
        patch.setattr(socket, "getaddrinfo", only_here)
        patch.setattr(subprocess, "call", lambda *args, **options: 0)  # `scfviz app` would serve until it is stopped
        for line in [*PRINTED, *BESIDE]:
            argv = [word.replace(SERVER, address) for word in shlex.split(line)[1:]]
            before = set(folder.glob("*.npy"))
            code = main([*argv, *shlex.split(SHORTER.get(argv[0], ""))])
            out = set(folder.glob("*.npy")) - before
            found[line] = code, np.load(out.pop()) if out else None
    return found | {"folder": folder, "asked": asked}


@pytest.mark.parametrize("line", dict.fromkeys([*PRINTED, *BESIDE]))
def test_a_printed_command_line_runs(results, line):
    assert results[line][0] == 0


def test_the_address_that_is_printed_is_asked_for(results):
    lines = [line for line in PRINTED if SERVER in line]
    assert lines and any(path.startswith("/cells.zarr/") for path in results["asked"])
    assert json.loads((results["folder"] / "corpus" / "manifest.json").read_text())["n_cells"] == 4 * 30


def test_calls_of_the_official_program_give_its_numbers(results):
    recorded, compared = official.recorded(), set()
    for line in BESIDE:
        value = results[line][1]
        if value is None or "--official-batch" in line:
            continue
        name = next(name for key, name in RECORDED.items() if key in line)
        expected = recorded[name]
        if "gene" in name:
            value = value[: len(expected), recorded["gene_ids"]]
        np.testing.assert_allclose(value, expected, atol=2e-5, rtol=0, err_msg=line)
        compared.add(name)
    assert compared == set(RECORDED.values())


def test_gene_batch_of_the_recorded_cells(results, tmp_path):
    """The values depend on the whole batch, so it has to be the recorded one."""
    folder = results["folder"]
    genes = pd.DataFrame(index=list(load_vocabulary().symbols))
    counts = sp.csr_matrix(official.cells()[:2].astype(np.float32))
    ad.AnnData(counts, var=genes).write_h5ad(tmp_path / "two.h5ad")
    options = ["--per-cell", "--official-batch", "--checkpoint", str(folder / "checkpoints" / "gene")]
    assert main(["embed-genes", str(tmp_path / "two.h5ad"), str(tmp_path / "out.npy"), *options]) == 0
    recorded = official.recorded()
    value = np.load(tmp_path / "out.npy")[:, recorded["gene_ids"]]
    np.testing.assert_allclose(value, recorded["gene_batch_f1_A"], atol=1e-4, rtol=0)


def test_every_option_of_the_official_program_is_in_the_table():
    calls = " ".join(call for call, _ in ROWS)
    for option in (
        "models.ckpt",
        "--version ce",
        "--version rde",
        "--pool_type",
        "t4",
        "f2.5",
        "a5",
        ".npy",
        ".npz",
        "--pre_normalized T",
        "--pre_normalized A",
        "--input_type bulk --pre_normalized F",
        "--input_type bulk --pre_normalized T",
        "--output_type cell",
        "--output_type gene`",
        "gene_batch",
        "gene_expression",
    ):
        assert option in calls, option


def test_command_lines_in_help_texts_name_commands_that_exist():
    parser = build_parser()
    commands = parser._subparsers._group_actions[0].choices
    assert {shlex.split(line)[1] for line in [*PRINTED, *BESIDE]} <= set(commands)
    for command in commands.values():
        for mentioned in re.findall(r"`scfviz ([a-z-]+)", command.format_help()):
            assert mentioned in commands


@pytest.mark.parametrize("options", [("--target-depth", "10000"), ("--tgthighres", "t4")])
def test_the_official_demo_cells_run(options, shared, tmp_path):
    demo = shared / "data" / "panels" / "baron_demo_scfoundation.h5ad"
    assert main(["embed", str(demo), str(tmp_path / "out.h5ad"), *options]) == 0
    assert np.isfinite(ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_scfoundation"]).all()


def test_the_official_demo_samples_run(shared, tmp_path):
    """Three of the ten: each has all 19,264 genes, which takes its time."""
    demo = shared / "data" / "bulk" / "bulk_demo_10samples_19264genes.csv.gz"
    pd.read_csv(demo, index_col=0, nrows=3).to_csv(tmp_path / "samples.csv.gz")
    options = ["--checkpoint", str(save_tiny_checkpoint(tmp_path / "tiny")), "--precision", "fp32"]
    assert main(["embed", "--bulk", str(tmp_path / "samples.csv.gz"), str(tmp_path / "out.h5ad"), *options]) == 0
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    assert written.obsm["X_scfoundation"].shape[0] == 3 and "905975" in written.obs_names
    assert written.uns["scfviz"]["counts_from"] == "X, log (official bulk, as given)"
