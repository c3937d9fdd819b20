"""A file embedded in parts and put together: the same bits, and nothing that is not the whole of one result."""

import json
import shutil

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from small_cells import make_cells, save_tiny_checkpoint

from scfviz.__main__ import main
from scfviz.commands.parts import read_part

N_OBS = 50

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A file with two cells that hardly have counts, a checkpoint, and the whole result by the command."""
    folder = tmp_path_factory.mktemp("parts")
    cells = make_cells(N_OBS)
    counts = cells.X.toarray()
    counts[[7, 30], 20:] = 0
    cells.X = sparse.csr_matrix(counts)
    cells.write_h5ad(folder / "cells.h5ad")
    save_tiny_checkpoint(folder / "tiny")
    assert embed(folder, "whole.h5ad") == 0 and embed(folder, "whole.npy") == 0
    for i, (first, last) in enumerate([(0, 20), (20, 21), (21, N_OBS)]):
        assert embed(folder, f"part{i}.npy", "--cells", f"{first}:{last}") == 0
    return folder


def embed(folder, out, *options, checkpoint="tiny", filters=("--min-counts", "200")) -> int:
    model = ["--checkpoint", str(folder / checkpoint), "--precision", "fp32"]
    return main(["embed", str(folder / "cells.h5ad"), str(folder / out), *model, *filters, *options])


def merge(folder, out, parts, file="cells.h5ad") -> int:
    return main(["merge", str(folder / file), str(out), "--parts", *(str(folder / part) for part in parts)])


PARTS = ("part2.npy", "part0.npy", "part1.npy")  # in any order


def test_parts_are_the_whole_to_the_bit(world, tmp_path, capsys):
    assert merge(world, tmp_path / "merged.h5ad", PARTS) == 0
    assert "48 cells of 3 parts" in capsys.readouterr().out
    whole, merged = ad.read_h5ad(world / "whole.h5ad"), ad.read_h5ad(tmp_path / "merged.h5ad")
    np.testing.assert_array_equal(merged.obsm["X_scfoundation"], whole.obsm["X_scfoundation"])
    assert np.isnan(merged.obsm["X_scfoundation"]).any(axis=1).nonzero()[0].tolist() == [7, 30]
    one, other = merged.uns["scfviz"], whole.uns["scfviz"]
    assert {**other, "parts": 3} == dict(one)
    halves = ("all0.npy", "all1.npy")
    for part, cells in zip(halves, ("0:25", "25:50"), strict=True):
        assert embed(world, part, "--cells", cells, filters=()) == 0
    assert merge(world, tmp_path / "all.h5ad", halves) == 0
    found = ad.read_h5ad(tmp_path / "all.h5ad").obsm["X_scfoundation"]
    known = ~np.isnan(whole.obsm["X_scfoundation"]).any(axis=1)
    np.testing.assert_array_equal(found[known], whole.obsm["X_scfoundation"][known])
    assert np.isfinite(found).all()
    assert merge(world, tmp_path / "merged.npy", PARTS) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "merged.npy"), np.load(world / "whole.npy"))
    told, expected = (
        json.loads((folder / name).read_text())
        for folder, name in ((tmp_path, "merged.npy.json"), (world, "whole.npy.json"))
    )
    assert told["cells"] == expected["cells"] and len(told["cells"]) == 48
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("given", ["5", "10:5", "0:51", "-1:5", "a:b", "", "3:3"])
def test_a_range_that_is_none_is_refused(world, tmp_path, capsys, given):
    assert embed(world, tmp_path / "part.npy", f"--cells={given}") == 2
    assert f"--cells is '{given}'" in capsys.readouterr().err


def test_a_part_is_no_file_of_its_own(world, tmp_path, capsys):
    assert embed(world, tmp_path / "part.h5ad", "--cells", "0:5") == 2
    assert "must end in .npy" in capsys.readouterr().err
    assert embed(world, tmp_path / "part.npy", "--cells", "7:8") == 2
    assert "filters leave none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("part0.npy", "part2.npy"), "cells 20 to 20 are missing"),
        (("part0.npy", "part1.npy"), "end at cell 21"),
        (("part1.npy", "part2.npy"), "cells 0 to 19 are missing"),
        (("part0.npy", "part0.npy", "part1.npy", "part2.npy"), "comes twice"),
        (("part0.npy", "overlap.npy", "part2.npy"), "cell 15 comes twice"),
        (("part0.npy", "other_model.npy"), "checkpoint_hash"),
        (("part0.npy", "other_depth.npy"), "depth_fold"),
        (("part0.npy", "whole.npy"), "is no part"),
        (("part0.npy", "nowhere.npy"), "is no part"),
        (("part0.npy", "cut.npy"), "is no part"),
        (("part0.npy", "mixed.npy"), "is no part"),
    ],
)
def test_what_is_not_the_whole_of_one_result_is_refused(world, tmp_path, capsys, parts, said):
    make = {
        "overlap.npy": lambda: embed(world, "overlap.npy", "--cells", "15:21"),
        "other_depth.npy": lambda: embed(world, "other_depth.npy", "--cells", "20:50", "--depth-fold", "2"),
        "other_model.npy": lambda: (
            save_tiny_checkpoint(world / "other", seed=1),
            embed(world, "other_model.npy", "--cells", "20:50", checkpoint="other"),
        ),
        "cut.npy": lambda: (
            (world / "cut.npy").write_bytes((world / "part2.npy").read_bytes()[:200]),
            shutil.copy(world / "part2.npy.json", world / "cut.npy.json"),
        ),
        "mixed.npy": lambda: (
            shutil.copy(world / "part1.npy", world / "mixed.npy"),
            shutil.copy(world / "part2.npy.json", world / "mixed.npy.json"),
        ),
    }
    for part in parts:
        make.get(part, lambda: None)()
    capsys.readouterr()
    assert merge(world, tmp_path / "out.h5ad", parts) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_another_file_or_a_place_that_is_taken_is_refused(world, tmp_path, capsys):
    make_cells(N_OBS, seed=5).write_h5ad(world / "others.h5ad")
    assert merge(world, tmp_path / "out.h5ad", PARTS, file="others.h5ad") == 2
    assert "another file" in capsys.readouterr().err
    (tmp_path / "out.h5ad").write_text("mine")
    assert merge(world, tmp_path / "out.h5ad", PARTS) == 2
    assert "never replace" in capsys.readouterr().err and (tmp_path / "out.h5ad").read_text() == "mine"


def test_parts_of_different_processors_are_merged_and_that_is_told(world, tmp_path, capsys):
    """Their sums may be rounded in another order."""
    shutil.copy(world / "part1.npy", world / "elsewhere.npy")
    told = json.loads((world / "part1.npy.json").read_text())
    told["provenance"]["hardware"] = "another processor"
    (world / "elsewhere.npy.json").write_text(json.dumps(told))
    assert merge(world, tmp_path / "out.h5ad", ("part0.npy", "elsewhere.npy", "part2.npy")) == 0
    assert "equal up to rounding" in capsys.readouterr().out
    assert read_part(world / "elsewhere.npy").cells == (20, 21)
