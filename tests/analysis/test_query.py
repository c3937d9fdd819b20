"""The query language: what it chooses, what it refuses, and that nothing hostile gets anywhere."""

import builtins
import os

import numpy as np
import pandas as pd
import pytest
from effort import sorts

from scfviz.analysis.selection import grammar
from scfviz.analysis.selection.grammar import QueryError, parse_query, query_names, quote_column, quote_text
from scfviz.analysis.selection.query import evaluate_query
from scfviz.errors import GeneError, OptionError

GENES = {"CD3E": [0.0, 1.5, 2.0, 0.0]}
OBS = pd.DataFrame(
    {
        "cell_type": pd.Categorical(["B", "T", None, "NK cell"], categories=["B", "T", "NK cell", "unused"]),
        "n_counts": [1.0, 2000.0, np.nan, 500.0],
        "n_genes": np.array([1, 2, 3, 4], dtype=np.int32),
        "my column": [1, 2, 3, 4],
        "is_doublet": [True, False, True, True],
        "passed": pd.array([True, None, False, True], dtype="boolean"),
        "donor.id": ["a", "b", None, "c"],
        "leiden": pd.Categorical(["0", "1", "0", "2"]),
        "plate": pd.Categorical([10, 20, 10, 20]),
        "in": [1, 0, 1, 0],
        "größe": [1, 2, 3, 4],
    },
    index=["c1", "c2", "c3", "c4"],
)


def read_gene(name):
    if name not in GENES:
        raise GeneError(f"'{name}' is no gene.")
    return np.array(GENES[name])


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('cell_type == "B"', [0]),
        ("cell_type == 'B' or cell_type == \"T\"", [0, 1]),
        ('cell_type != "B"', [1, 2, 3]),
        ('cell_type == "unused"', []),
        ('cell_type in ["B", "NK cell"]', [0, 3]),
        ('cell_type not in ("B", "T")', [2, 3]),
        ('not cell_type in ["B"]', [1, 2, 3]),
        ("cell_type is missing", [2]),
        ("n_counts is not missing", [0, 1, 3]),
        ("n_counts > 1000", [1]),
        ("n_counts <= 500", [0, 3]),
        ("not n_counts <= 500", [1, 2]),
        ("200 < n_counts <= 1_000", [3]),
        ("-1 < n_counts and n_counts < 1e3", [0, 3]),
        ("n_genes == 2", [1]),
        ("n_genes in [1, 4]", [0, 3]),
        ("`my column` >= 2.5", [2, 3]),
        ("is_doublet", [0, 2, 3]),
        ("not is_doublet", [1]),
        ("is_doublet == false", [1]),
        ("passed", [0, 3]),
        ("not passed", [1, 2]),
        ('donor.id == "a"', [0]),
        ('leiden == "0"', [0, 2]),
        ('plate == "10"', [0, 2]),
        ("`in` == 1", [0, 2]),
        ("größe > 3", [3]),
        ('gene("CD3E") > 0', [1, 2]),
        ("gene(CD3E) > 1.5 and is_doublet", [2]),
        ("donor.id == cell_type", []),
        ('n_counts > 1 and (cell_type == "T" or cell_type == "NK cell") AND NOT is_doublet', [1]),
        ('cell_type == "B" or cell_type == "T" and n_counts > 1e9', [0]),
    ],
)
def test_a_query_chooses_these_cells(text, chosen):
    assert np.flatnonzero(evaluate_query(text, OBS, read_gene)).tolist() == chosen


def test_a_query_agrees_with_pandas_on_random_tables():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"a": rng.normal(size=500), "b": rng.integers(0, 5, 500), "c": rng.choice(list("xyz"), 500)})
    a, b, c = obs["a"], obs["b"], obs["c"]
    expected = ((a > 0.1) & (b != 3)) | ~c.isin(["x", "y"]) & ~(a <= -1)
    found = evaluate_query('(a > 0.1 and b != 3) or c not in ["x", "y"] and not a <= -1', obs)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("text", ['cell_type == "B"', "n_counts > 3", "passed", 'cell_type in ["B"]', "n_counts != 1"])
def test_a_query_and_its_not_choose_every_cell_once(text):
    chosen, others = (evaluate_query(t, OBS) for t in (text, f"not ({text})"))
    np.testing.assert_array_equal(chosen, ~others)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("cell_typ == 'B'", 0, "Did you mean cell_type?"),
        ("CELL_TYPE == 'B'", 0, "Did you mean cell_type?"),
        ('cell_type == "b"', 13, 'Did you mean "B"?'),
        ("cell_type = 'B'", 10, "Write == to compare"),
        ("cell_type == B", 13, "There is no column 'B'"),
        ("n_counts > 'x'", 9, "cannot be compared"),
        ("leiden == 0", 7, 'such as "0"'),
        ("cell_type > 'B'", 10, "no order"),
        ("n_counts", 0, "not true and false"),
        ("(is_doublet", 11, "ends too early"),
        ("is_doublet)", 10, "was not expected"),
        ("is_doublet and", 14, "ends too early"),
        ("is_doublet is_doublet", 11, "'and', 'or' or the end"),
        ("is_doublet & passed", 11, "Write and"),
        ('cell_type == "B', 13, "Close the text"),
        ("cell_type in []", 14, "is needed"),
        ("cell_type in [B]", 14, 'Write "B"'),
        ("n_counts > 12abc", 11, "cannot stand here"),
        ("n_counts is 3", 12, "'missing'"),
        ("gene() > 1", 5, "name of a gene"),
        ("n_counts > -", 12, "number"),
    ],
)
def test_errors_point_at_the_place(text, position, words):
    with pytest.raises(QueryError) as caught:
        evaluate_query(text, OBS, read_gene)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert f"Position {position + 1}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\t",
        "__import__('os').system('touch /tmp/x')",
        "is_doublet.__class__.__mro__",
        "@obs",
        "lambda: 1",
        "[c for c in ().__class__.__bases__]",
        "n_counts ** 99999 ** 99999",
        "(" * 3000 + "is_doublet" + ")" * 3000,
        "not " * 2490 + "is_doublet or",
        "cell_type in [" + "1," * 2000 + "1]",
        "x" * 20_000,
        "is_doublet;import os",
        "`" + "a" * 50,
        '"' + "\\" * 501,
        "\x00",
        "is_doublet\u202e",
        "🙂 > 1",
        "n_counts > 1e99999 and",
        "{}.format",
        "<script>alert(1)</script>",
        "gene(" * 100,
        "1 < " * 2400,
    ],
)
def test_hostile_text_ends_in_an_error_quickly(text, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the query reached Python")

    for name in ("eval", "exec"):
        monkeypatch.setattr(builtins, name, refuse)
    monkeypatch.setattr(os, "system", refuse)
    monkeypatch.setattr(pd.DataFrame, "query", refuse)
    monkeypatch.setattr(pd.DataFrame, "eval", refuse)

    def ask():
        with pytest.raises(OptionError):
            evaluate_query(text, OBS, read_gene)

    assert sorts(ask, repeats=1) < 4


def test_any_text_is_read_or_refused_with_a_query_error():
    rng = np.random.default_rng(0)
    words = [
        "is_doublet",
        "n_counts",
        "and",
        "or",
        "not",
        "(",
        ")",
        "in",
        "[",
        "]",
        "<",
        "==",
        "1",
        '"B"',
        ",",
        "is",
        "missing",
        "-",
    ]
    n_read = 0
    for _ in range(3000):
        text = " ".join(rng.choice(words, size=rng.integers(1, 9)))
        try:
            assert evaluate_query(text, OBS).shape == (4,)
            n_read += 1
        except QueryError:
            pass
    assert n_read > 10


def test_an_error_of_a_gene_comes_through_and_genes_are_read_once():
    with pytest.raises(GeneError):
        evaluate_query('gene("NOPE") > 0', OBS, read_gene)
    with pytest.raises(QueryError, match="Genes cannot be asked"):
        evaluate_query('gene("CD3E") > 0', OBS)
    asked = []
    evaluate_query("1 < gene(CD3E) < 3 or gene(CD3E) == 0", OBS, lambda name: asked.append(name) or np.zeros(4))
    assert asked == ["CD3E"]


def test_names_of_a_query_are_known_before_it_is_computed():
    node = parse_query('(a > 1 or `b c` in ["x"]) and not gene("CD3E") is missing and d')
    assert [(type(v).__name__, v.name) for v in query_names(node)] == [
        ("Column", "a"),
        ("Column", "b c"),
        ("Gene", "CD3E"),
        ("Column", "d"),
    ]


@pytest.mark.parametrize("name", ["plain", "with space", "in", "a.b", "x-y", "größe", "1st", "Not"])
def test_quoted_names_are_read_back(name):
    assert parse_query(f"{quote_column(name)} == {quote_text(chr(34) + name + chr(92))}").left.name == name
    assert parse_query(f"a == {quote_text(chr(34) + name + chr(92))}").right.value == f'"{name}\\'


def test_repeated_and_numbered_columns_are_no_trouble():
    obs = pd.DataFrame([[1, 2, 3], [4, 5, 6]], columns=["a", "a", 7])
    assert evaluate_query("a > 0 and `7` > 3", obs).tolist() == [False, True]


def test_a_million_cells_take_no_time():
    n = 1_000_000
    obs = pd.DataFrame(
        {"t": pd.Categorical.from_codes(np.arange(n) % 30, [str(i) for i in range(30)]), "n": np.arange(n)}
    )
    assert evaluate_query('t in ["1", "2"] and n > 10 or t == "3"', obs).sum() > 0
    assert sorts(lambda: evaluate_query('t in ["1", "2"] and n > 10 or t == "3"', obs)) < 2


def test_the_limits_are_what_the_messages_say():
    deep = "(" * (grammar.MAX_DEPTH - 1) + "is_doublet" + ")" * (grammar.MAX_DEPTH - 1)
    assert evaluate_query(deep, OBS).tolist() == [True, False, True, True]
    with pytest.raises(QueryError, match=f"{grammar.MAX_DEPTH} levels"):
        evaluate_query(f"({deep})", OBS)
