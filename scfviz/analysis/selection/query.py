"""Choose cells with a query: the language of `scfviz.analysis.selection.grammar`, computed on whole columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.selection.grammar import (
    EXAMPLE,
    AllOf,
    Among,
    AnyOf,
    Column,
    Compare,
    Gene,
    Literal,
    Missing,
    Node,
    Not,
    QueryError,
    Truth,
    Value,
    parse_query,
    quote_column,
    quote_text,
)

if TYPE_CHECKING:
    import pandas as pd

# Values of a text column that a misspelt one is compared with.
MAX_COMPARED = 5_000

ReadGene = Callable[[str], np.ndarray]


def evaluate_query(text: str, obs: "pd.DataFrame", read_gene: ReadGene | None = None) -> np.ndarray:
    """The cells that a query chooses.

    Parameters
    ----------
    obs
        Table of the cells.
    read_gene
        Gives the expression of a gene, float (n_obs,); None where there is none to ask for.

    Returns
    -------
    bool (n_obs,)

    Raises
    ------
    QueryError
        The query cannot be read, names a column or value that is not there, or compares text with numbers.
    GeneError
        A gene is unknown or was not measured.
    """
    return _Evaluation(text, obs, read_gene).mask(parse_query(text))


class _Evaluation:
    """Computes parsed queries on whole columns."""

    def __init__(self, text: str, obs: "pd.DataFrame", read_gene: ReadGene | None):
        self.text, self.obs, self.read_gene = text, obs, read_gene
        self.genes: dict[str, np.ndarray] = {}

    def error(self, at: int, found: str, needed: str = "", advice: str = "") -> QueryError:
        return QueryError(self.text, at, found, needed, advice)

    def mask(self, node: Node) -> np.ndarray:
        match node:
            case AllOf(parts):
                return np.logical_and.reduce([self.mask(part) for part in parts])
            case AnyOf(parts):
                return np.logical_or.reduce([self.mask(part) for part in parts])
            case Not(part):
                return ~self.mask(part)
            case Missing(value):
                return np.zeros(len(self.obs), dtype=bool) if isinstance(value, Literal) else ~self.vector(value).known
            case Truth(value, at):
                vector = self.vector(value)
                if vector.kind != "truth":
                    raise self.error(
                        at,
                        f"{_words(value)} holds {KIND_WORDS[vector.kind]}, not true and false.",
                        "A comparison is needed.",
                        EXAMPLE,
                    )
                return vector.known & (vector.values == 1)
            case Among(value, options, at):
                return np.logical_or.reduce([self.compare(Compare(value, "==", option, at)) for option in options])
        return self.compare(node)

    def compare(self, node: Compare) -> np.ndarray:
        left, right = self.vector(node.left), self.vector(node.right)
        if left.kind != right.kind:
            written = [
                v.value for v in (node.left, node.right) if isinstance(v, Literal) and isinstance(v.value, float)
            ]
            texts = f" such as {quote_text(f'{written[0]:g}')}" if written and "text" in (left.kind, right.kind) else ""
            raise self.error(
                node.at,
                f"{_words(node.left)} ({KIND_WORDS[left.kind]}) cannot be compared with {_words(node.right)} "
                f"({KIND_WORDS[right.kind]}).",
                "Both sides must be of one kind.",
                f"Write texts in quotation marks{texts}, numbers without, and truth as true or false.",
            )
        if node.op not in ("==", "!=") and left.kind != "number":
            raise self.error(node.at, f"{KIND_WORDS[left.kind].capitalize()} has no order.", "Use == or != here.")
        if left.kind == "text":
            equal = self.equal_texts(node, left, right)
        else:
            with np.errstate(invalid="ignore"):
                equal = _ORDER["==" if node.op == "!=" else node.op](left.values, right.values)
        equal = np.broadcast_to(equal, (len(self.obs),)) & left.known & right.known
        return ~equal if node.op == "!=" else equal

    def equal_texts(self, node: Compare, left: "_Vector", right: "_Vector") -> np.ndarray:
        """Texts are compared by the number of their category."""
        for this, asked in ((left, node.right), (right, node.left)):
            if isinstance(asked, Literal) and this.categories is not None:
                found = np.flatnonzero(this.categories == asked.value)
                if not len(found):
                    close = _close(str(asked.value), this.categories[:MAX_COMPARED])
                    some = ", ".join(quote_text(c[:40]) for c in this.categories[:6])
                    raise self.error(
                        asked.at,
                        f"No cell has the value {quote_text(str(asked.value)[:60])} there.",
                        f"The values are {some}{' and others' if len(this.categories) > 6 else ''}.",
                        f"Did you mean {' or '.join(map(quote_text, close))}?" if close else "",
                    )
                return this.values == found[0]
        if left.categories is None or right.categories is None:
            return np.asarray(left.values == right.values)
        place = {value: i for i, value in enumerate(left.categories)}
        renamed = np.array([place.get(value, -2) for value in right.categories] + [-3])
        return left.values == renamed[right.values]

    def vector(self, value: Value) -> "_Vector":
        match value:
            case Literal(content):
                kind = "text" if isinstance(content, str) else "truth" if isinstance(content, bool) else "number"
                return _Vector(kind, np.asarray(content if kind != "truth" else float(content)), np.asarray(True))
            case Gene(name, at):
                if self.read_gene is None:
                    raise self.error(at, "Genes cannot be asked for here.", "", "Use columns of the table of cells.")
                if name not in self.genes:
                    self.genes[name] = np.asarray(self.read_gene(name), dtype=np.float64)
                return _Vector("number", self.genes[name], np.ones(len(self.obs), dtype=bool))
        return read_column(self.obs.iloc[:, self.column(value)])

    def column(self, value: Column) -> int:
        """The position of a column."""
        keys = {str(key): i for i, key in enumerate(self.obs.columns)}
        if value.name not in keys:
            close = _close(value.name, keys)
            advice = f"Did you mean {' or '.join(map(quote_column, close))}?" if close else ""
            if not close and self.read_gene is not None:
                advice = f'A gene is written gene("{value.name[:40]}"), a text in quotation marks.'
            some = ", ".join(map(quote_column, list(keys)[:8]))
            columns = f"The columns are {some or 'none'}{' and others' if len(keys) > 8 else ''}."
            raise self.error(value.at, f"There is no column '{value.name[:60]}'.", columns, advice)
        return keys[value.name]


@dataclass(frozen=True)
class _Vector:
    """Values of all cells, or one for all.

    `known` is False where a value is missing; texts are numbers of `categories`, -1 where missing.
    """

    kind: str  # number, text, truth
    values: np.ndarray
    known: np.ndarray
    categories: np.ndarray | None = None


KIND_WORDS = {"number": "numbers", "text": "text", "truth": "true and false"}
_ORDER = {"==": np.equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


def read_column(column: "pd.Series") -> _Vector:
    """A column as numbers, truth values or categories, with what is missing."""
    import pandas as pd
    from pandas.api import types

    known = column.notna().to_numpy()
    if types.is_bool_dtype(column.dtype) or (column.dtype == object and set(column.dropna().map(type)) == {bool}):
        return _Vector("truth", column.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan), known)
    if types.is_numeric_dtype(column.dtype):
        return _Vector("number", column.to_numpy(dtype=np.float64, na_value=np.nan), known)
    if isinstance(column.dtype, pd.CategoricalDtype):
        kinds = column.cat.categories.dtype
        if types.is_bool_dtype(kinds):
            return _Vector("truth", column.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan), known)
        categories, codes = column.cat.categories, column.cat.codes.to_numpy().astype(np.int64)
        return _Vector("text", codes, known, np.array([str(c) for c in categories], dtype=object))
    codes, categories = pd.factorize(column.astype("string").astype(object))
    return _Vector("text", codes.astype(np.int64), known, np.array([str(c) for c in categories], dtype=object))


def _close(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that resemble one, capitals aside."""
    folded = {other.casefold(): other for other in names}
    return [folded[match] for match in get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]


def _words(value: Value) -> str:
    match value:
        case Column(name):
            return f"Column {quote_column(name)}"
        case Gene(name):
            return f"The expression of {name}"
        case Literal(float() as number):
            return f"{number:g}"
    return str(value.value)
