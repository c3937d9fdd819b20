"""Responses of cell types to a treatment: measured changes, views of a type left out, the task and its command."""

import numpy as np
import pandas as pd
import pytest
from small_cells import save_tiny_checkpoint
from treated_cells import TYPES, make_treated

import scfviz
from scfviz.__main__ import main
from scfviz.data.normalise import log_normalise
from scfviz.data.open import OpenDataset
from scfviz.data.perturbations import read_design
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.registry import get_task
from scfviz.tasks.response.learn import MIN_TYPES, learn_responses, predict_response, stratum
from scfviz.tasks.response.measure import measure_responses
from scfviz.tasks.response.methods import VIEWS, ResponseViews
from scfviz.tasks.response.run import model_of
from scfviz.tasks.response.table import type_table
from scfviz.tasks.run import compute, run_task
from scfviz.tasks.spec import read_options
from scfviz.tasks.steps import Steps


@pytest.fixture(scope="module")
def counts():
    return OpenDataset(make_treated()).counts


@pytest.fixture(scope="module")
def responses(counts):
    return measure_responses(counts, read_design(counts.obs, column="stim", is_genetic=False), "cell_type")


def test_changes_are_those_of_the_means_of_each_type(counts, responses):
    values = log_normalise(counts.rows(0, counts.n_obs)).toarray()
    columns = [list(map(str, counts.genes)).index(gene) for gene in responses.genes]
    obs, row = counts.obs, responses.types.index("M1")
    mine = (obs["cell_type"] == "M1").to_numpy()
    is_treated = (obs["stim"] == "IFN-beta").to_numpy()
    treated, control = values[mine & is_treated][:, columns], values[mine & ~is_treated][:, columns]
    np.testing.assert_allclose(responses.change[row], treated.mean(axis=0) - control.mean(axis=0), atol=1e-5)
    expected = treated.var(axis=0, ddof=1) / len(treated) + control.var(axis=0, ddof=1) / len(control)
    np.testing.assert_allclose(responses.variance[row], expected, rtol=1e-3, atol=1e-7)
    assert responses.types == tuple(sorted(TYPES)) and not responses.is_measured[responses.types.index("B2")]


def test_a_type_left_out_is_predicted_better_than_by_the_mean_and_knows_its_worth(responses):
    model = learn_responses(responses)
    error = {view: found["error_ratio"] for view, found in model.scores["views"].items()}
    assert error["combination"] < 0.8 * error["mean"] < error["no_change"] == 1.0
    assert sum(model.weights.values()) == pytest.approx(1) and 0.8 < model.scores["coverage"]["measured"] <= 1
    assert not np.isfinite(model.held_out[responses.types.index("B2")]).any(), "nothing of it was measured"
    said = predict_response(model)
    row = responses.types.index("B2")
    assert said.change[row][10 + 5 : 15 + 5].mean() > 0.5, "it responds as its own family does"
    table = type_table(model, row)
    assert table["measured"].isna().all() and (table["low"] < table["predicted"]).all()


def test_what_is_said_of_a_type_does_not_come_from_its_treated_cells(responses):
    changed = responses.change.copy()
    row = responses.types.index("T1")
    changed[row] += 5
    from dataclasses import replace

    first, second = learn_responses(responses), learn_responses(replace(responses, change=changed))
    for view in first.views_held_out:
        np.testing.assert_array_equal(first.views_held_out[view][row], second.views_held_out[view][row])


def test_order_of_types_and_genes_changes_nothing(responses):
    rng = np.random.default_rng(0)
    order, genes = rng.permutation(5), rng.permutation(len(responses.genes))
    known = responses.take(np.flatnonzero(responses.is_measured))
    first = ResponseViews(known.basal, known.change, known.trust, known.basal[:, :8]).predict(
        known.basal[:2], known.basal[:2, :8]
    )
    second = ResponseViews(
        known.basal[order][:, genes], known.change[order][:, genes], known.trust[order], known.basal[order, :8]
    ).predict(known.basal[:2][:, genes], known.basal[:2, :8])
    assert tuple(first) == VIEWS
    for view in VIEWS:
        np.testing.assert_allclose(first[view][:, genes], second[view], atol=1e-9)


def test_a_gene_that_rises_where_it_is_low_is_learned_by_its_level():
    basal = np.arange(12.0)[:, None] * np.ones((12, 3)) / 4
    change = 2 - basal
    said = ResponseViews(basal[1:], change[1:], np.ones(11)).predict(basal[:1])
    assert abs(said["basal"][0, 0] - 2.0) < 0.5 < abs(said["mean"][0, 0] - 2.0)


def test_strata_are_those_of_the_replicate():
    assert [stratum(r) for r in (0.9, 0.5, 0.1, float("nan"))] == ["strong", "weak", "hardly repeated"] * 1 + [
        "hardly repeated"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"column": "nothing"}, "no column of cell types"),
        ({"column": "stim"}, "no column of cell types"),
        ({"column": "cell_type", "treatment": "aspirin"}, "no condition 'aspirin'"),
    ],
)
def test_what_cannot_be_asked_is_refused(counts, options, words):
    with pytest.raises(OptionError, match=words):
        measure_responses(counts, read_design(counts.obs, column="stim", is_genetic=False), **options)


def test_too_few_types_are_refused_in_words(responses):
    with pytest.raises(DatasetError, match=f"At least {MIN_TYPES}"):
        learn_responses(responses.take(np.arange(3)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("treated") / "treated.h5ad"
    make_treated().write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def test_the_task_resumed_gives_the_same_and_the_command_gives_its_numbers(dataset, tiny, tmp_path, capsys):
    task = get_task("response")
    asked = read_options(task.options_type, {"dataset": str(dataset), "types": "cell_type", "checkpoint": str(tiny)})
    (tmp_path / "work").mkdir()
    first = compute(task, asked, Steps(tmp_path / "work"))
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"sums.npy", "embedding.npy"}
    again = compute(task, asked, Steps(tmp_path / "work"))
    np.testing.assert_array_equal(first.arrays["predicted"], again.arrays["predicted"])
    model = model_of(first)
    assert "nearest_model" in model.scores["views"] and "B2" in " ".join(first.notes)
    out = tmp_path / "table.csv"
    arguments = ["perturb", "response", str(dataset), "--types", "cell_type", "--checkpoint", str(tiny)]
    assert main([*arguments, "--out", str(out)]) == 0 and "It rests on" in capsys.readouterr().out
    table = pd.read_csv(out)
    mine = table[table["type"] == "T2"].set_index("gene")["predicted"]
    expected = dict(zip(model.responses.genes, model.held_out[model.responses.types.index("T2")], strict=True))
    np.testing.assert_allclose(mine, [expected[gene] for gene in mine.index], rtol=1e-4, atol=1e-5)
    assert main([*arguments, "--out", str(out)]) == 2 and "exists" in capsys.readouterr().err


def test_it_is_public_and_refuses_without_types(dataset):
    assert scfviz.learn_responses is learn_responses
    with pytest.raises(OptionError, match="No column of cell types"):
        run_task("response", dataset=dataset)
