"""How numbers are written in a table: which mark separates decimals, and which groups of three digits."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from scfviz.errors import DatasetError

SPACES = " \u00a0\u202f\u2007\u2009'\u2019"  # marks between groups that mean nothing else
MISSING = ("", "na", "nan", "null", "none", "n/a", "<na>", "-")
GROUPED = {mark: re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:\{mark}\d{{3}})+") for mark in ",."}
FRACTION = {mark: re.compile(rf"[-+]?\d*\{mark}\d+(?:[eE][-+]?\d+)?") for mark in ",."}
BOTH = {  # 1,234.5 and 1.234,5
    ",": re.compile(r"[-+]?\d{1,3}(?:,\d{3})+\.\d+"),
    ".": re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+"),
}
WITH_SPACES = re.compile(rf"[-+]?\d{{1,3}}(?:[{SPACES}]\d{{3}})+(?:[.,]\d+)?")
N_DECIDING = 200


@dataclass(frozen=True)
class Numbers:
    """The decimal mark, and the mark between groups of three digits ("" where there is none)."""

    decimal: str = "."
    group: str = ""

    def clean(self, text: str) -> str:
        """A field, or a whole line whose delimiter is neither mark, as Python writes numbers."""
        if self.group:
            text = text.replace(self.group, "")
        return text.replace(",", ".") if self.decimal == "," else text

    def value(self, text: str) -> float:
        """The number in a field; ValueError where it is none."""
        text = text.strip()
        if WITH_SPACES.fullmatch(text):
            text = re.sub(f"[{SPACES}]", "", text)
        return float(self.clean(text))


@dataclass
class Evidence:
    """What the fields of a table show about its marks."""

    grouped: dict[str, int] = field(default_factory=lambda: {",": 0, ".": 0})  # 2,250: groups, or three decimals
    surely_grouped: set[str] = field(default_factory=set)  # 1,234,567 or 1,234.5
    fractions: dict[str, int] = field(default_factory=lambda: {",": 0, ".": 0})  # 0,25: no groups
    n_plain: int = 0  # numbers above 0 without any mark
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def is_decided(self) -> bool:
        """Whether further fields cannot change much."""
        all_alike = not self.n_plain and max(self.grouped.values()) >= 10 * N_DECIDING
        return all_alike or max(self.fractions.values()) >= N_DECIDING

    def add(self, fields: Iterable[str]) -> None:
        """Take the fields of a line into account."""
        for text in fields:
            text = text.strip()
            if text.isdigit():
                self.n_plain += text.strip("0") != ""
                continue
            for mark, other in ((",", "."), (".", ",")):
                if mark not in text:
                    continue
                if BOTH[mark].fullmatch(text):
                    self.surely_grouped.add(mark)
                    self.fractions[other] += 1
                elif GROUPED[mark].fullmatch(text):
                    self.grouped[mark] += 1
                    self.examples.setdefault(mark, text)
                    if text.count(mark) > 1:
                        self.surely_grouped.add(mark)
                elif FRACTION[mark].fullmatch(text):
                    self.fractions[mark] += 1

    def decide(self, delimiter: str, name: str, notes: list[str]) -> Numbers:
        """The marks of a table.

        A comma is a decimal mark where any number shows it (0,25); where all look like 2,250 it groups digits, if
        other numbers, below 1,000, have none.

        Raises
        ------
        DatasetError
            All numbers look like 2,250: groups of digits or three decimals, nothing tells which.
        """
        # Between commas a point is the decimal mark; elsewhere either may be.
        for mark in "," if delimiter == "," else ",.":
            other = "." if mark == "," else ","
            if self.fractions[mark] and mark not in self.surely_grouped:
                if mark == ",":
                    notes.append("Numbers are written with a decimal comma.")
                is_grouped = other in self.surely_grouped or (mark == "," and self.grouped[other] > 0)
                return Numbers(mark, other if is_grouped else "")
            if not self.grouped[mark] and mark not in self.surely_grouped:
                continue
            example = self.examples.get(mark, "")
            if mark not in self.surely_grouped and not self.n_plain:
                if mark == ".":
                    continue
                raise DatasetError(
                    f"The numbers of '{name}' can be read in two ways: '{example}' is "
                    f"{example.replace(',', '')} or {example.replace(',', '.')}, and no other number tells which.",
                    "Numbers without marks between groups of digits, and a decimal point, are always clear.",
                    "Export the table again without thousands separators.",
                )
            if mark == "." and self.fractions["."]:
                continue
            if example:
                notes.append(
                    f"Numbers are written with thousands separators: '{example}' is {example.replace(mark, '')}."
                )
            return Numbers(other if self.fractions[other] else ".", mark)
        return Numbers()


def is_missing(text: str) -> bool:
    """Whether a field says that there is no value."""
    return text.strip().lower() in MISSING
