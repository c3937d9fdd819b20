"""The genes of a dataset by every name they go by: what is shown, and what may be typed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import pandas as pd

from scfviz.data.vocabulary import MITOCHONDRIAL_PREFIX, load_vocabulary
from scfviz.errors import GeneNameError

MOST_CANDIDATES = 6
_SHOWN = 40  # letters of a name that is not known


@dataclass(frozen=True)
class GeneIndex:
    """Names of genes.

    Attributes
    ----------
    names
        str, each once: what the genes are called on screen and in tables.
    symbols
        Symbol of the model's gene that each is, "" where the model does not know it. Several may be one gene.
    others
        Other names in the same file, "" where there is none: Ensembl IDs beside symbols, or symbols beside IDs.
    """

    names: tuple[str, ...]
    symbols: tuple[str, ...]
    others: tuple[str, ...] = ()

    @classmethod
    def of_model(cls, genes: Sequence[str]) -> "GeneIndex":
        """The model's own genes, which are called by their symbols."""
        return cls(tuple(map(str, genes)), tuple(map(str, genes)))

    @classmethod
    def of_file(cls, index: Sequence[str], symbols: Sequence[str], column: Sequence[str] | None = None) -> "GeneIndex":
        """Genes of a file.

        Parameters
        ----------
        index
            The file's own names.
        symbols
            The model's symbol of each, "" where there is none.
        column
            Names in a column of the gene table, if one of them speaks better to a reader than the row names.
        """
        names = list(map(str, index if column is None else column))
        others = tuple(map(str, index)) if column is not None else ()
        for i, name in enumerate(names):
            if (not name or is_ensembl(name)) and symbols[i]:
                names[i] = symbols[i]
            elif not name:
                names[i] = str(index[i]) or f"gene {i + 1}"
        if column is None and any(new != old for new, old in zip(names, index, strict=True)):
            others = tuple(map(str, index))
        return cls(make_unique(names), tuple(symbols), others)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Position of each gene by the name that is shown."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def is_known(self) -> np.ndarray:
        """bool (n_genes,): whether the model knows the gene."""
        return np.array([bool(symbol) for symbol in self.symbols], dtype=bool)

    @cached_property
    def is_mitochondrial(self) -> np.ndarray:
        """bool (n_genes,): names that begin with MT-, as `sc.pp.calculate_qc_metrics` is usually told."""
        begins = len(MITOCHONDRIAL_PREFIX)
        by_name, by_symbol = (
            np.array([text[:begins].upper() == MITOCHONDRIAL_PREFIX for text in texts], dtype=bool)
            for texts in (self.names, self.symbols)
        )
        return by_name | by_symbol

    @cached_property
    def _by_other(self) -> dict[str, list[int]]:
        return _group(self.others)

    @cached_property
    def _by_symbol(self) -> dict[str, list[int]]:
        return _group(self.symbols)

    @cached_property
    def _by_capitals(self) -> dict[str, list[int]]:
        return _group(name.upper() for name in self.names)

    def find(self, text: str) -> int:
        """Position of the gene that a name stands for: the file's own names first, then symbols, aliases, Ensembl IDs.

        Raises
        ------
        GeneNameError
            The name stands for no gene, for several, or for one that the dataset does not hold; the error carries
            genes of the dataset that may be meant.
        """
        asked = str(text).strip()
        if asked in self.position:
            return self.position[asked]
        for table, key in ((self._by_other, asked), (self._by_symbol, asked), (self._by_capitals, asked.upper())):
            found = table.get(key)
            if found and (len(found) == 1 or table is self._by_symbol):
                return found[0]
            if found:
                raise self._ambiguous(asked, [self.names[i] for i in found])
        meant = load_vocabulary().genes_called(asked) or load_vocabulary().genes_called(asked.upper())
        here = [self.names[self._by_symbol[symbol][0]] for symbol in meant if symbol in self._by_symbol]
        if len(meant) > 1:
            raise self._ambiguous(asked, here, meant)
        if here:
            return self.position[here[0]]
        if meant:
            name = meant[0] if meant[0] == asked else f"{meant[0]} ({asked[:_SHOWN]})"
            raise GeneNameError(
                f"{name} was not measured in this dataset: the file has no such gene.",
                "That is not the same as no counts: nothing is known about it here.",
                "Choose another gene.",
            )
        raise self._unknown(asked)

    def known(self, names: Iterable[str]) -> tuple[list[int], list[str]]:
        """(positions of the genes that are here, each once, in the order of `names`; the names that are none)."""
        found, left_out = [], []
        for name in names:
            try:
                found.append(self.find(name))
            except GeneNameError:
                left_out.append(str(name))
        return list(dict.fromkeys(found)), left_out

    def _ambiguous(self, asked: str, here: Sequence[str], meant: Sequence[str] = ()) -> GeneNameError:
        absent = [symbol for symbol in meant if symbol not in self._by_symbol]
        return GeneNameError(
            f"'{asked[:_SHOWN]}' may be {_list([*here, *absent])}.",
            f"Not in this file: {', '.join(absent[:MOST_CANDIDATES])}." if absent else "One gene is needed.",
            "Choose one of them; nothing is guessed.",
            candidates=here[:MOST_CANDIDATES],
        )

    def _unknown(self, asked: str) -> GeneNameError:
        capitals = asked.upper()
        begins = [name for name in self.names if capitals and name.upper().startswith(capitals)]
        begins.sort(key=lambda name: (len(name), name))  # CD3: CD3D before CD300A
        close = get_close_matches(capitals, self._by_capitals, n=MOST_CANDIDATES, cutoff=0.7)
        near = [*begins[:MOST_CANDIDATES], *(self.names[self._by_capitals[name][0]] for name in close)]
        candidates = list(dict.fromkeys(near))[:MOST_CANDIDATES]
        return GeneNameError(
            f"'{asked[:_SHOWN]}' is no gene of this dataset.",
            "A name from the file, a symbol, an alias or an Ensembl ID is needed.",
            f"Did you mean {' or '.join(candidates[:3])}?" if candidates else "Check the spelling.",
            candidates=candidates,
        )


def is_ensembl(name: str) -> bool:
    """Whether a name is an Ensembl ID of a gene, of any species."""
    return name.startswith("ENS") and name[-1:].isdigit() and "G0" in name


def make_unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names, each once: a repeated one gets a number (TBCE, TBCE-1), as `var_names_make_unique` does."""
    if len(set(names)) == len(names):
        return tuple(names)
    from anndata.utils import make_index_unique

    return tuple(map(str, make_index_unique(pd.Index(list(names), dtype=str))))


def _group(names: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name:
            found.setdefault(name, []).append(i)
    return found


def _list(names: Sequence[str]) -> str:
    shown = list(names[:MOST_CANDIDATES])
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
