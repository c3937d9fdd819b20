"""The memory benchmark measures every registered kind whose memory grows with the cells."""

import importlib.util
from pathlib import Path

import pytest
from small_cells import make_cells, save_tiny_checkpoint

from scfviz.jobs.kinds import KINDS, get_kind, need_of
from scfviz.jobs.memory import estimate
from scfviz.jobs.workspace import Workspace
from scfviz.tasks.registry import TASKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("jobs_benchmark", ROOT / "benchmarks" / "jobs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_has_options_for_every_kind_that_estimates_its_memory(benchmark, tmp_path):
    """Two of five kinds were measured: their names were kept by hand, and one was no longer a kind."""
    cells = make_cells(12)
    cells.obs["group"] = ["a", "b"] * 6
    cells.write_h5ad(tmp_path / "12.h5ad")
    checkpoint = str(save_tiny_checkpoint(tmp_path / "checkpoint"))
    measured = benchmark.measured_kinds()
    for kind in measured:
        options = benchmark.memory_options(kind, str(tmp_path / "12.h5ad"))
        if "checkpoint" in options:
            assert Path(options["checkpoint"]).is_dir()
            options["checkpoint"] = checkpoint
        options, _ = get_kind(kind).prepare(options, Workspace(tmp_path / "workspace"))
        assert estimate(need_of(kind, options), 12).needed > 0
    others = {*TASKS, *KINDS} - {*measured}
    assert all(getattr(get_kind(kind), "memory", lambda _: None)({}) is None for kind in others)


@pytest.mark.slow
def test_the_estimate_of_a_comparison_is_above_what_it_takes_and_at_most_twice_as_much(benchmark):
    """It said 5.3 GB for a million cells and took 0.5: whoever had less free was refused for nothing."""
    kinds = ["differential_expression", "differential_expression:store"]
    for row in benchmark.measure_memory(kinds, cells=(2_000, 12_000)):
        assert row["own_bytes"] <= row["estimated_bytes"] <= 2 * row["own_bytes"], row


@pytest.mark.slow
def test_the_estimate_of_an_embedding_is_above_what_it_takes_and_at_most_twice_as_much(benchmark):
    """It said 2.3 GB for 500 cells, which took 0.7."""
    for row in benchmark.measure_memory(["embedding"], cells=(300,)):
        assert row["own_bytes"] <= row["estimated_bytes"] <= 2 * row["own_bytes"], row
