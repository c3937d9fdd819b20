"""The model's genes and every name they go by."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from scfviz.errors import GeneError
from scfviz.places import ASSETS

MITOCHONDRIAL_PREFIX = "MT-"
AMBIGUOUS = ""
ENSEMBL_VERSION = re.compile(r"^(ENS(?:MUS)?G\d{6,})\.\d+(?:_PAR_Y)?$")


@dataclass(frozen=True)
class GeneVocabulary:
    """The genes of the model in its order, with the other names each is known by.

    The lookups map a name to a symbol of the model; a name that several genes share maps to `""`, never to one of them.
    """

    symbols: tuple[str, ...]
    ensembl: tuple[tuple[str, ...], ...]
    aliases: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    types: tuple[str, ...]
    mouse_symbols: tuple[str, ...]
    mouse_ensembl: tuple[str, ...]
    by_symbol: dict[str, str] = field(repr=False)
    by_alias: dict[str, str] = field(repr=False)
    by_ensembl: dict[str, str] = field(repr=False)
    by_mouse_symbol: dict[str, str] = field(repr=False)
    by_mouse_ensembl: dict[str, str] = field(repr=False)
    by_upper: dict[str, str] = field(repr=False)

    def lookup(self, name: str) -> str | None:
        """The model's symbol for a human symbol, alias or Ensembl ID (with or without version), or None.

        A name that several genes of the model share gives None: guessing would mix two genes.
        """
        name = name.strip()
        bare = strip_version(name)
        for table in (self.by_symbol, self.by_ensembl, self.by_alias, self.by_upper):
            for key in (name, bare):
                if key in table:
                    return table[key] or None
        return None

    def genes_called(self, name: str) -> tuple[str, ...]:
        """Every gene of the model that a name may stand for, as symbol, Ensembl ID or alias, in the model's order."""
        bare = strip_version(name.strip())
        if bare in self.by_symbol:
            return (bare,)
        return tuple(
            symbol
            for symbol, ensembl, aliases in zip(self.symbols, self.ensembl, self.aliases, strict=True)
            if bare in aliases or bare in ensembl or bare == symbol.upper()
        )

    def index(self) -> dict[str, int]:
        """Position of each symbol in the model's order."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def describe(self, symbol: str) -> dict[str, str]:
        """Full name, type and other names of one gene of the model.

        Raises
        ------
        GeneError
            The symbol is not in the model's list.
        """
        try:
            i = self.symbols.index(symbol)
        except ValueError:
            raise GeneError(
                f"'{symbol}' is not one of the model's {len(self.symbols):,} genes.",
                "A symbol from the model's list is needed.",
                f"Did you mean {self.lookup(symbol)}?" if self.lookup(symbol) else "",
            ) from None
        return {
            "symbol": symbol,
            "name": self.names[i],
            "type": self.types[i],
            "ensembl": ", ".join(self.ensembl[i]),
            "aliases": ", ".join(self.aliases[i]),
            "mouse_symbol": self.mouse_symbols[i],
        }


def strip_version(name: str) -> str:
    """An Ensembl gene ID without its version (`ENSG00000141510.18` is `ENSG00000141510`); other names unchanged."""
    match = ENSEMBL_VERSION.match(name)
    return match.group(1) if match else name


@lru_cache(maxsize=1)
def load_vocabulary() -> GeneVocabulary:
    """Read `assets/gene_vocabulary.tsv` once.

    Returns
    -------
    GeneVocabulary
        19,264 genes in the model's order. How the table was made: `assets/README.md`.
    """
    with open(ASSETS / "gene_vocabulary.tsv", encoding="utf-8", newline="") as handle:
        columns = list(zip(*csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE), strict=True))
    table = {column[0]: column[1:] for column in columns}
    symbols = table["symbol"]
    ensembl, aliases = (
        tuple(tuple(cell.split("|")) if cell else () for cell in table[c]) for c in ("ensembl", "aliases")
    )
    by_symbol = {s: s for s in symbols}
    by_alias = unshared(zip(symbols, aliases, strict=True))
    return GeneVocabulary(
        symbols=symbols,
        ensembl=ensembl,
        aliases=aliases,
        names=table["name"],
        types=table["type"],
        mouse_symbols=table["mouse_symbol"],
        mouse_ensembl=table["mouse_ensembl"],
        by_symbol=by_symbol,
        by_alias=by_alias,
        by_ensembl=unshared(zip(symbols, ensembl, strict=True)),
        by_mouse_symbol={m: s for s, m in zip(symbols, table["mouse_symbol"], strict=True) if m},
        by_mouse_ensembl={m: s for s, m in zip(symbols, table["mouse_ensembl"], strict=True) if m},
        # Only symbols with small letters (C1orf43): many files hold them in capitals.
        by_upper=unshared((s, (s.upper(),)) for s in symbols if s.upper() != s),
    )


def unshared(pairs: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Name to symbol from (symbol, names) pairs; a name that two symbols have maps to `AMBIGUOUS`."""
    found: dict[str, str] = {}
    for symbol, names in pairs:
        for name in names:
            found[name] = AMBIGUOUS if found.get(name, symbol) != symbol else symbol
    return found
