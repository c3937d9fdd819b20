"""A small language for choosing cells by their table: `cell_type == "B" and n_counts > 1000`.

    query      = "or" of "and" of conditions, `not`, parentheses
    condition  = value OP value [OP value]        OP: == != < <= > >=      (`200 < n_counts <= 1000` is allowed)
               | value [not] in ["B", "T"]
               | value is [not] missing
               | value                            a column of true and false
    value      = column | `column with spaces` | gene("CD3E") | "text" | 12.5 | true | false

A gene's value is ln(1 + counts per 10,000). Texts compare with == and != only. A missing value equals
nothing and is neither above nor below anything, so `==`, `<`, `in` are false for it and `!=`, `not in` are
true; `is missing` asks for it. Thus a query and its `not` together choose every cell once.

Nothing is ever handed to Python's own evaluation. This module reads; `scfviz.analysis.selection.query` computes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scfviz.errors import OptionError

MAX_LENGTH, MAX_DEPTH, MAX_LIST = 10_000, 60, 1_000
KEYWORDS = {"and", "or", "not", "in", "is", "missing", "true", "false", "gene"}
EXAMPLE = 'For example: cell_type == "B" and n_counts > 1000'
TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<quoted>`[^`]+`)
    |(?P<name>[^\W\d]\w*(?:[.:][\w]+)*)
    |(?P<op>==|!=|<=|>=|<|>)
    |(?P<mark>[()\[\],-])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Literal:
    """A text, number or truth value written in the query; `at` is its place in the text."""

    value: str | float | bool
    at: int


@dataclass(frozen=True)
class Column:
    """A column of the table of cells."""

    name: str
    at: int


@dataclass(frozen=True)
class Gene:
    """The expression of a gene."""

    name: str
    at: int


@dataclass(frozen=True)
class Compare:
    """`left op right`."""

    left: "Value"
    op: str
    right: "Value"
    at: int


@dataclass(frozen=True)
class Among:
    """`value in [...]`."""

    value: "Value"
    options: tuple[Literal, ...]
    at: int


@dataclass(frozen=True)
class Missing:
    """`value is missing`."""

    value: "Value"
    at: int


@dataclass(frozen=True)
class Truth:
    """A value that stands alone: a column of true and false."""

    value: "Value"
    at: int


@dataclass(frozen=True)
class Not:
    """`not part`."""

    part: "Node"


@dataclass(frozen=True)
class AllOf:
    """Parts joined by `and`."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class AnyOf:
    """Parts joined by `or`."""

    parts: tuple["Node", ...]


Value = Literal | Column | Gene
Node = Compare | Among | Missing | Truth | Not | AllOf | AnyOf


class QueryError(OptionError):
    """A query that cannot be read or does not fit the table; `position` counts its characters from 0."""

    title = "This query cannot be used"

    def __init__(self, text: str, position: int, found: str, needed: str = "", advice: str = ""):
        self.position = position
        before, after = text[max(0, position - 30) : position], text[position : position + 30]
        place = f"Position {position + 1}, at '{before}→{after}'." if text else ""
        super().__init__(f"{found} {place}".strip(), needed, advice)


def parse_query(text: str) -> Node:
    """Read a query.

    Raises
    ------
    QueryError
        It does not follow the grammar, or is too long or too deep; the message points at the place.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError("", 0, f"The query has {len(text):,} characters.", f"At most {MAX_LENGTH:,} are read.")
    if not text.strip():
        raise QueryError("", 0, "The query is empty.", "A condition is needed.", EXAMPLE)
    return _Parser(text).parse()


def query_names(node: Node) -> Iterator[Column | Gene]:
    """Every column and gene that a parsed query asks for."""
    match node:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from query_names(part)
        case Not(part):
            yield from query_names(part)
        case Compare(left, _, right):
            yield from (value for value in (left, right) if not isinstance(value, Literal))
        case Among(value) | Missing(value) | Truth(value):
            if not isinstance(value, Literal):
                yield value


def quote_column(name: str) -> str:
    """A column's name as a query writes it."""
    plain = TOKEN.fullmatch(name)
    return name if plain and plain.lastgroup == "name" and name.lower() not in KEYWORDS else f"`{name}`"


def quote_text(value: str) -> str:
    """A text as a query writes it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class _Token:
    kind: str  # number, text, name, op, mark, end; keywords have their own word as kind
    value: Any
    at: int


class _Parser:
    """Recursive descent: one method per level of the grammar."""

    def __init__(self, text: str):
        self.text = text
        self.tokens = list(self._split())
        self.next, self.depth = 0, 0

    def _split(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            match = TOKEN.match(self.text, at)
            if match is None:
                raise self._unreadable(at)
            kind, value = match.lastgroup, match.group()
            if kind == "number":
                yield _Token("number", float(value.replace("_", "")), at)
            elif kind == "text":
                yield _Token("text", re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.S), at)
            elif kind == "quoted":
                yield _Token("name", value[1:-1], at)
            elif kind == "name" and value.lower() in KEYWORDS:
                yield _Token(value.lower(), value, at)
            elif kind != "space":
                yield _Token("name" if kind == "name" else value, value, at)
            at = match.end()
        yield _Token("end", "", len(self.text))

    def _unreadable(self, at: int) -> QueryError:
        character = self.text[at]
        advice = {
            '"': "Close the text with the same quotation mark.",
            "'": "Close the text with the same quotation mark.",
            "`": "Close the column's name with `.",
            "=": "Write == to compare.",
            "&": "Write and.",
            "|": "Write or.",
            "!": "Write not, or != to compare.",
            "~": "Write not.",
        }.get(character, EXAMPLE)
        return QueryError(self.text, at, f"'{character}' cannot stand here.", "", advice)

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def take(self, *kinds: str) -> _Token | None:
        """The next token, if it is of one of these kinds."""
        if self.token.kind not in kinds:
            return None
        self.next += 1
        return self.tokens[self.next - 1]

    def need(self, kind: str, what: str) -> _Token:
        taken = self.take(kind)
        if taken is None:
            raise self.surprise(what)
        return taken

    def surprise(self, needed: str) -> QueryError:
        token = self.token
        found = (
            "The query ends too early."
            if token.kind == "end"
            else f"'{self.text[token.at : token.at + 20]}' was not expected."
        )
        return QueryError(self.text, token.at, found, f"{needed} is needed.", EXAMPLE)

    def parse(self) -> Node:
        node = self.any_of()
        if self.token.kind != "end":
            raise self.surprise("'and', 'or' or the end")
        return node

    def any_of(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise QueryError(
                self.text, self.token.at, "The query is nested too deeply.", f"At most {MAX_DEPTH} levels are read."
            )
        parts = [self.all_of()]
        while self.take("or"):
            parts.append(self.all_of())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def all_of(self) -> Node:
        parts = [self.negation()]
        while self.take("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def negation(self) -> Node:
        negated = False
        while self.take("not"):
            negated = not negated
        node = self.condition()
        return Not(node) if negated else node

    def condition(self) -> Node:
        if self.take("("):
            node = self.any_of()
            self.need(")", "')'")
            return node
        at = self.token.at
        left = self.value()
        if self.take("is"):
            negated = self.take("not")
            self.need("missing", "'missing'")
            return Not(Missing(left, at)) if negated else Missing(left, at)
        negated = self.take("not")
        if negated or self.token.kind == "in":
            self.need("in", "'in'")
            node = Among(left, self.options(), at)
            return Not(node) if negated else node
        if self.token.kind not in ("==", "!=", "<", "<=", ">", ">="):
            return Truth(left, at)
        parts = []
        while op := self.take("==", "!=", "<", "<=", ">", ">="):
            right = self.value()
            parts.append(Compare(left, op.value, right, op.at))
            left = right
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def options(self) -> tuple[Literal, ...]:
        closing = "]" if self.take("[") else ")" if self.take("(") else None
        if closing is None:
            raise self.surprise('A list such as ["B", "T"]')
        options = []
        while not options or self.take(","):
            value = self.value()
            if not isinstance(value, Literal):
                raise QueryError(
                    self.text,
                    value.at,
                    f"'{value.name}' is a name.",
                    "A list holds texts and numbers.",
                    f"Write {quote_text(value.name)} if a text is meant.",
                )
            options.append(value)
            if len(options) > MAX_LIST:
                raise QueryError(self.text, value.at, "The list is too long.", f"At most {MAX_LIST:,} values are read.")
        self.need(closing, f"',' or '{closing}'")
        return tuple(options)

    def value(self) -> Value:
        at = self.token.at
        if self.take("-"):
            return Literal(-self.need("number", "A number").value, at)
        if token := self.take("number", "true", "false"):
            return Literal(token.value if token.kind == "number" else token.kind == "true", at)
        if token := self.take("text"):
            return Literal(token.value, at)
        if self.take("gene"):
            self.need("(", "'(' and a gene, such as gene(\"CD3E\"),")
            name = self.take("text", "name")
            if name is None:
                raise self.surprise("The name of a gene")
            self.need(")", "')'")
            return Gene(name.value, at)
        return Column(self.need("name", "A column, a value or '('").value, at)
