"""Scenarios that a visitor keeps: found again on a later visit, by their owner alone."""

import pytest

from scfviz.errors import OptionError
from scfviz.jobs import Workspace, scenarios
from scfviz.tasks.perturbation.scenarios import Scenario

ANNA, BERT = "a" * 32, "b" * 32
COLUMNS = {"gene": ["A", "B"], "change": [1.0, -0.5], "low": [0.5, -1.0], "high": [1.5, 0.0]}


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


def scenario(name: str) -> Scenario:
    return Scenario(name, "KLF1", "my screen", "change", COLUMNS)


def test_what_is_kept_is_found_again_by_its_owner_alone(workspace):
    scenarios.keep(workspace, ANNA, scenario("first"))
    scenarios.keep(workspace, ANNA, scenario("second / ../with a path"))
    (second, first) = scenarios.list_kept(Workspace(workspace.root), ANNA)
    assert (first.name, second.name) == ("first", "second / ../with a path") and first.columns == COLUMNS
    assert not scenarios.list_kept(workspace, BERT)
    scenarios.remove(workspace, BERT, "first")
    assert len(scenarios.list_kept(workspace, ANNA)) == 2
    scenarios.remove(workspace, ANNA, "first")
    assert [one.name for one in scenarios.list_kept(workspace, ANNA)] == [second.name]


def test_the_same_name_replaces_and_a_free_name_is_offered(workspace):
    for _ in range(2):
        scenarios.keep(workspace, ANNA, scenario("first"))
    kept = scenarios.list_kept(workspace, ANNA)
    assert len(kept) == 1 and scenarios.free_name(kept, "first") == "first 2"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_names_that_cannot_be_shown_are_refused(workspace, name):
    with pytest.raises(OptionError, match="1 to 80 letters"):
        scenarios.keep(workspace, ANNA, scenario(name))


def test_a_damaged_file_is_left_out_and_more_than_fit_are_refused(workspace, monkeypatch):
    scenarios.keep(workspace, ANNA, scenario("first"))
    (folder,) = (workspace.root / "scenarios").iterdir()
    (folder / "broken.json").write_text('{"name": ')
    assert len(scenarios.list_kept(workspace, ANNA)) == 1
    monkeypatch.setattr(scenarios, "MOST_KEPT", 1)
    scenarios.keep(workspace, ANNA, scenario("first"))
    with pytest.raises(OptionError, match="At most 1"):
        scenarios.keep(workspace, ANNA, scenario("other"))
