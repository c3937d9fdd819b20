"""Selections: rules choose what they say, travel as JSON, combine, and every step can be undone."""

import json

import numpy as np
import pandas as pd
import pytest

from scfviz.analysis.selection.history import MAX_STEPS, SelectionHistory, read_history
from scfviz.analysis.selection.rules import (
    Categories,
    Cells,
    Difference,
    Intersection,
    Invert,
    Polygon,
    Query,
    Rectangle,
    SelectionContext,
    Threshold,
    Union,
    combine,
    evaluate,
    from_json,
    rule_id,
    to_json,
)
from scfviz.errors import OptionError, ScfvizError

SQUARE = Polygon("umap", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
RULES = [
    SQUARE,
    Rectangle("umap", (0.2, 0.4), (-1.0, 3.5)),
    Categories("cell_type", ("B", None)),
    Categories("flag", (True,)),
    Threshold("gene", "CD3E", ">", 0.5),
    Threshold("column", "n", "<=", 10.0),
    Query('cell_type == "B" and n > 3'),
    Cells(("c1", "c7", "nobody")),
    Union((SQUARE, Query("n > 5"))),
    Intersection((SQUARE, Invert(Query("n > 5")))),
    Difference(SQUARE, Cells(("c1",))),
]


@pytest.fixture
def context():
    rng = np.random.default_rng(1)
    n = 400
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["B", "T", None], n)),
            "n": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 20, n)),
            "flag": rng.random(n) < 0.5,
        },
        index=[f"c{i}" for i in range(n)],
    )
    maps = {"umap": rng.uniform(-0.5, 1.5, (n, 2)).astype(np.float32)}
    maps["umap"][5] = np.nan
    gene = rng.random(n)
    return SelectionContext(obs, maps, lambda name: gene)


def test_each_rule_chooses_what_it_says(context):
    x, y = context.maps["umap"].T.astype(float)
    n, cell_type = context.obs["n"], context.obs["cell_type"]
    expected = [
        (x > 0) & (x < 1) & (y > 0) & (y < 1),
        (x >= 0.2) & (x <= 0.4) & (y >= -1) & (y <= 3.5),
        (cell_type == "B") | cell_type.isna(),
        context.obs["flag"],
        context.read_gene("CD3E") > 0.5,
        n <= 10,
        (cell_type == "B") & (n > 3),
        context.obs.index.isin(["c1", "c7"]),
    ]
    for rule, mask in zip(RULES, expected, strict=False):
        found = evaluate(rule, context)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, np.asarray(mask), err_msg=rule.describe())


def test_a_lasso_that_crosses_itself_follows_the_even_odd_rule():
    star = [(np.cos(a), np.sin(a)) for a in np.pi / 2 + 4 * np.pi / 5 * np.arange(5)]
    context = SelectionContext(
        pd.DataFrame(index=["middle", "tip", "outside"]), {"m": np.array([[0, 0], [0, 0.8], [1, 1.0]])}
    )
    assert evaluate(Polygon("m", tuple(star)), context).tolist() == [False, True, False]


def test_a_lasso_agrees_with_geometry_on_random_points():
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 60))
    line = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.3, 1, 60)[:, None]
    points = rng.uniform(-1, 1, (2000, 2))
    crossings = np.zeros(len(points), dtype=int)
    for (x1, y1), (x2, y2) in zip(line, np.roll(line, -1, axis=0), strict=True):
        spans = (y1 > points[:, 1]) != (y2 > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            crossings += spans & (points[:, 0] < (x2 - x1) * (points[:, 1] - y1) / (y2 - y1) + x1)
    context = SelectionContext(pd.DataFrame(index=range(2000)), {"m": points})
    found = evaluate(Polygon("m", tuple(map(tuple, line.tolist()))), context)
    np.testing.assert_array_equal(found, crossings % 2 == 1)


def test_set_algebra_holds(context):
    a, b = SQUARE, Query("n > 5")
    ma, mb = evaluate(a, context), evaluate(b, context)
    np.testing.assert_array_equal(evaluate(Union((a, b)), context), ma | mb)
    np.testing.assert_array_equal(evaluate(Intersection((a, b)), context), ma & mb)
    np.testing.assert_array_equal(evaluate(Difference(a, b), context), ma & ~mb)
    np.testing.assert_array_equal(
        evaluate(Invert(Union((a, b))), context), evaluate(Intersection((Invert(a), Invert(b))), context)
    )
    for how, expected in (("replace", mb), ("add", ma | mb), ("intersect", ma & mb), ("subtract", ma & ~mb)):
        np.testing.assert_array_equal(evaluate(combine(how, a, b), context), expected)
    np.testing.assert_array_equal(evaluate(combine("subtract", None, b), context), ~mb)
    with pytest.raises(OptionError):
        combine("xor", a, b)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_a_rule_survives_json(rule, context):
    again = from_json(json.loads(json.dumps(to_json(rule))))
    assert again == rule
    assert rule_id(again) == rule_id(rule)
    assert rule.describe()


def test_different_rules_have_different_ids():
    assert len({rule_id(rule) for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "polygon",
        {},
        {"rule": "eval", "text": "1"},
        {"rule": ["polygon"]},
        {"rule": "polygon", "map": "m"},
        {"rule": "polygon", "map": "m", "vertices": [[0, 0], [1, 1]]},
        {"rule": "polygon", "map": "m", "vertices": [[0, 0], [1, 1], [0, "1"]]},
        {"rule": "polygon", "map": "m", "vertices": [[0, 0], [1, 1], [0, float("nan")]]},
        {"rule": "polygon", "map": "m", "vertices": [[0, 0]] * 30_000},
        {"rule": "polygon", "map": 3, "vertices": [[0, 0], [1, 1], [0, 1]]},
        {"rule": "query", "text": "x", "more": 1},
        {"rule": "query", "text": 3},
        {"rule": "threshold", "kind": "file", "name": "a", "op": ">", "value": 1},
        {"rule": "threshold", "kind": "gene", "name": "a", "op": "__gt__", "value": 1},
        {"rule": "threshold", "kind": "gene", "name": "a", "op": ">", "value": True},
        {"rule": "cells", "names": [1]},
        {"rule": "union", "parts": []},
        {"rule": "union", "parts": [{"rule": "nothing"}]},
        {"rule": "categories", "column": "a", "values": [{}]},
    ],
)
def test_json_that_is_no_rule_is_refused(content):
    with pytest.raises(OptionError):
        from_json(content)


def test_a_bottomless_rule_is_refused():
    content = {"rule": "query", "text": "x"}
    for _ in range(900):
        content = {"rule": "invert", "part": content}
    with pytest.raises(OptionError, match="deeply"):
        from_json(content)


@pytest.mark.parametrize(
    "rule",
    [
        Polygon("other map", SQUARE.vertices),
        Categories("nope", ("x",)),
        Threshold("column", "cell_type", ">", 1.0),
        Query("nope > 1"),
    ],
)
def test_a_rule_that_does_not_fit_the_dataset_says_so(rule, context):
    with pytest.raises(ScfvizError):
        evaluate(rule, context)


def test_every_step_can_be_undone_and_redone():
    steps = [SelectionHistory()]
    steps.append(steps[-1].select(SQUARE))
    steps.append(steps[-1].keep("left", 10, 400, author="Ada"))
    steps.append(steps[-1].select(Query("n > 5")))
    steps.append(steps[-1].keep("many", 3, 400))
    steps.append(steps[-1].rename("left", "square"))
    steps.append(steps[-1].remove("many"))
    steps.append(steps[-1].select(None))
    now = steps[-1]
    for before in reversed(steps[:-1]):
        now = now.undo()
        assert now.present == before.present
    assert now.undo() is now
    for after in steps[1:]:
        now = now.redo()
        assert now.present == after.present
    assert now.redo() is now
    assert [s.name for s in now.named] == ["square"]
    assert now.find("square").rule == SQUARE


def test_a_new_step_after_undo_forgets_what_was_undone():
    history = SelectionHistory().select(SQUARE).undo().select(Query("n > 1"))
    assert history.redo() is history
    assert history.select(Query("n > 1")) is history


def test_a_history_survives_json_and_writes_each_rule_once():
    history = SelectionHistory()
    for i in range(MAX_STEPS + 30):
        history = history.select(SQUARE if i % 2 else RULES[-1])
    history = history.keep("kept", 1, 2).select(None).undo()
    content = json.loads(json.dumps(history.as_dict()))
    assert read_history(content) == history
    assert len(content["rules"]) == 2
    assert len(history.past) <= MAX_STEPS


@pytest.mark.parametrize("name", ["", "  ", "x" * 500, "a\nb", "\x00"])
def test_names_are_checked(name):
    with pytest.raises(OptionError):
        SelectionHistory().select(SQUARE).keep(name, 1, 2)


def test_a_name_is_given_once_and_only_to_something():
    history = SelectionHistory().select(SQUARE).keep("a", 1, 2)
    for wrong in (
        lambda: history.keep("a", 1, 2),
        lambda: history.rename("b", "c"),
        lambda: history.remove("b"),
        lambda: SelectionHistory().keep("a", 0, 2),
    ):
        with pytest.raises(OptionError):
            wrong()
    assert history.rename("a", "a") is history


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.clear(),
        lambda c: c.update(version=99),
        lambda c: c.update(rules=[]),
        lambda c: c.update(rules="x"),
        lambda c: c.update(present=None),
        lambda c: c.update(past=[1]),
        lambda c: c["present"].update(named=[{"name": "a"}]),
        lambda c: c["present"]["named"][0].update(rule=None),
        lambda c: c["present"]["named"][0].update(n_cells="<b>"),
        lambda c: c["present"]["named"][0].update(name=["x"]),
        lambda c: c["present"].update(current=-1),
        lambda c: c["present"].update(current=True),
    ],
)
def test_a_damaged_history_is_refused(damage):
    content = SelectionHistory().select(SQUARE).keep("a", 1, 2).as_dict()
    damage(content)
    with pytest.raises(OptionError):
        read_history(content)
