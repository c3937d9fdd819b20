"""Name every row of a file: which gene of the model it is, and how that was found."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from scfviz.data.gene_names import MONTHS, PART_SUFFIX, REPEAT_SUFFIX, clean, is_row_number, parse_date, rodent
from scfviz.data.vocabulary import AMBIGUOUS, GeneVocabulary

INDEX_COLUMN = "(row names)"


@dataclass
class Naming:
    """What one column of names says: the model's symbol of each row ("" where none) and how it was found."""

    column: str
    names: np.ndarray
    symbols: list[str]
    how: list[str]
    id_type: str
    organism: str
    damaged: tuple[tuple[str, str], ...] = ()
    n_parts: int = 0

    @property
    def score(self) -> tuple[int, int, int]:
        """Genes named, names matched as they are, and whether row names: the larger is the better column."""
        known = {s for s in self.symbols if s}
        # Row names go before other columns, and those before numbers of rows.
        preference = 0
        if self.column == INDEX_COLUMN:
            preference = -1 if is_row_number([str(n) for n in self.names]) else 1
        return len(known), self.how.count("matched"), preference


def name_all(names: np.ndarray, column: str, vocabulary: GeneVocabulary, position: dict[str, int]) -> Naming:
    """Name every row of one column, as human or as mouse genes, whichever fits better."""
    bare = [n if n in position or n in vocabulary.by_symbol else clean(n) for n in names]
    human = [(n, "matched") if n in position else lookup_human(n, vocabulary) for n in bare]
    mouse = [vocabulary.by_mouse_symbol.get(n) or vocabulary.by_mouse_ensembl.get(n, "") for n in bare]
    n_ensembl = sum(n.startswith("ENS") for n in bare)
    id_type = "ensembl" if n_ensembl > len(bare) / 2 else "symbol"
    if sum(map(bool, mouse)) > sum(how in ("matched", "alias") for _, how in human):
        how = ["ortholog" if s else "unknown" for s in mouse]
        naming = Naming(column, names, mouse, how, id_type, "mouse" if n_ensembl else rodent(bare))
    else:
        naming = Naming(column, names, [s for s, _ in human], [how for _, how in human], id_type, "human")
        repair_dates(naming, vocabulary)
        drop_conflicts(naming)
    repair_repeats(naming)
    add_parts(naming)
    return naming


def lookup_human(name: str, vocabulary: GeneVocabulary) -> tuple[str, str]:
    """(symbol, how) of one human name; how is matched, alias, ambiguous or unknown."""
    if name in vocabulary.by_symbol:
        return name, "matched"
    if name in vocabulary.by_ensembl:
        symbol = vocabulary.by_ensembl[name]
        return symbol, "matched" if symbol else "ambiguous"
    # R writes HLA.A for HLA-A; many files hold C1orf43 in capitals.
    for table, key in (
        (vocabulary.by_alias, name),
        (vocabulary.by_upper, name),
        (vocabulary.by_symbol, name.replace(".", "-")),
        (vocabulary.by_alias, name.replace(".", "-")),
    ):
        if key in table:
            return table[key], "alias" if table[key] != AMBIGUOUS else "ambiguous"
    return "", "unknown"


def repair_dates(naming: Naming, vocabulary: GeneVocabulary) -> None:
    """Recognise symbols that a spreadsheet turned into dates (1-Mar, 2-Sep), where only one gene can be meant.

    Source: Ziemann et al. 2016, doi:10.1186/s13059-016-1044-7.
    """
    dates = [(i, parsed) for i, name in enumerate(naming.names) if (parsed := parse_date(name))]
    if not dates:
        return
    present = {s for s in naming.symbols if s}
    times = Counter(parsed for _, parsed in dates)
    damaged = []
    for i, (month, day) in dates:
        possible = [f"{family}{day}" for family in MONTHS[month] if f"{family}{day}" in vocabulary.by_symbol]
        left = [s for s in possible if s not in present]
        if len(left) == 1 and times[(month, day)] == 1:
            naming.symbols[i], naming.how[i] = left[0], "alias"
        else:
            naming.symbols[i], naming.how[i] = "", "ambiguous"
        damaged.append((str(naming.names[i]), naming.symbols[i]))
    naming.damaged = tuple(damaged)


def drop_conflicts(naming: Naming) -> None:
    """Leave out aliases of genes that the file holds under their own name too: they are other genes (TIAF1, MYO18A)."""
    present = {s for s, how in zip(naming.symbols, naming.how, strict=True) if how == "matched"}
    for i, symbol in enumerate(naming.symbols):
        if naming.how[i] == "alias" and symbol in present:
            naming.symbols[i], naming.how[i] = "", "ambiguous"


def add_parts(naming: Naming) -> None:
    """Take CD4-U and CD4-A for CD4 where every gene has such rows: alevin-fry's unspliced and ambiguous molecules."""
    symbol_of = dict(zip(naming.names, naming.symbols, strict=True))
    bases = {
        i: m.group(1) for i, n in enumerate(naming.names) if (m := PART_SUFFIX.match(n)) and m.group(1) in symbol_of
    }
    if 3 * len(bases) < len(naming.names):
        return
    for i, base in bases.items():
        naming.symbols[i], naming.how[i] = symbol_of[base], "part" if symbol_of[base] else "unknown"
    naming.n_parts = len(bases)


def repair_repeats(naming: Naming) -> None:
    """Recognise names that were made unique with a suffix (TBCE-1, TBCE.1) beside the name itself: the same gene."""
    symbol_of = dict(zip(naming.names, naming.symbols, strict=True))
    for i, name in enumerate(naming.names):
        if naming.how[i] == "unknown" and (match := REPEAT_SUFFIX.match(name)) and symbol_of.get(match.group(1)):
            naming.symbols[i], naming.how[i] = symbol_of[match.group(1)], "alias"
