"""Tables that predictors of drug response are learned from: responses, expression of lines, and what is known of drugs.

Three sources name the same line in three spellings (NCI-H1975, NCIH1975, H1975); `harmonise` brings them together.
Nothing of these tables ships: what does are parameters, see `predictor`.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

_NOT_PLAIN = re.compile(r"[^A-Z0-9]")
MOST_LN_IC50 = 20.0  # either way, in ln(uM): what a measured response may be
_COLUMNS = ("CELL_LINE_NAME", "DRUG_NAME", "LN_IC50")


@dataclass(frozen=True)
class Responses:
    """ln(IC50 in uM) of lines and drugs, each pair once.

    Attributes
    ----------
    lines
        Harmonised names, see `harmonise`, sorted.
    line_names
        The same lines as the table spells them.
    drugs
        Names as the table spells them, sorted.
    ln_ic50
        float32 (n_lines, n_drugs), NaN where not measured; repeated pairs averaged.
    n_repeated
        Rows that were averaged into others.
    """

    lines: tuple[str, ...]
    line_names: tuple[str, ...]
    drugs: tuple[str, ...]
    ln_ic50: np.ndarray
    n_repeated: int = 0

    def take(self, lines: Sequence[str]) -> "Responses":
        """The same drugs for some lines, in their order; a line without responses has NaN.

        Parameters
        ----------
        lines
            Harmonised names.
        """
        place = {line: i for i, line in enumerate(self.lines)}
        rows = np.array([place.get(line, -1) for line in lines], dtype=np.int64)
        values = np.where((rows >= 0)[:, None], self.ln_ic50[np.maximum(rows, 0)], np.float32(np.nan))
        names = tuple(self.line_names[i] if i >= 0 else line for i, line in zip(rows, lines, strict=True))
        return Responses(tuple(lines), names, self.drugs, values, self.n_repeated)


@dataclass(frozen=True)
class LineExpression:
    """Expression of lines.

    Attributes
    ----------
    lines
        Harmonised names.
    genes
        Symbols as the table spells them.
    values
        float32 (n_lines, n_genes); in `unit`.
    unit
        In words.
    """

    lines: tuple[str, ...]
    genes: tuple[str, ...]
    values: np.ndarray
    unit: str


@dataclass(frozen=True)
class Drug:
    """What is known of a drug; empty where it is not.

    Attributes
    ----------
    name, synonyms
        As the table of responses spells it, and other names.
    smiles
        Its structure.
    targets, pathway
        Of the table of targets, for example "EGFR" and "EGFR signaling".
    """

    name: str
    smiles: str = ""
    targets: str = ""
    pathway: str = ""
    synonyms: tuple[str, ...] = ()


def harmonise(name: str) -> str:
    """The name of a line or drug as it is compared: letters and digits only, upper case, H1975 for NCI-H1975."""
    plain = _NOT_PLAIN.sub("", str(name).upper())
    return plain[3:] if re.fullmatch(r"NCI(H|SNU)\d+\w*", plain) else plain


def read_responses(path: Path | str) -> Responses:
    """Read ln(IC50) of pairs, one a row: columns `CELL_LINE_NAME`, `DRUG_NAME`, `LN_IC50` (csv, gzipped or not).

    Lines whose names differ in punctuation alone are left out.

    Raises
    ------
    DatasetError
        The file cannot be read, lacks a column, holds no pair, or values that are no logarithms.

    Source: GDSC, Iorio et al. 2016, doi:10.1016/j.cell.2016.06.017.
    """
    table = _read_csv(path)
    _refuse_missing(path, table, _COLUMNS)
    import pandas as pd

    table = table[list(_COLUMNS)].assign(LN_IC50=pd.to_numeric(table["LN_IC50"], errors="coerce")).dropna()
    table = table[np.isfinite(table["LN_IC50"])]
    if table.empty:
        raise DatasetError(f"'{Path(path).name}' holds no response.", "At least one row is needed.", "Give another.")
    if (far := table["LN_IC50"].abs()).max() > MOST_LN_IC50:
        raise DatasetError(
            f"'{Path(path).name}' holds the LN_IC50 {table['LN_IC50'][far.idxmax()]:g}.",
            f"ln(IC50 in uM) lies between {-MOST_LN_IC50:g} and {MOST_LN_IC50:g}.",
            "Take the logarithm of IC50 in uM.",
        )
    table["line"] = table["CELL_LINE_NAME"].map(harmonise)
    n_spellings = table.groupby("line")["CELL_LINE_NAME"].transform("nunique")
    table = table[n_spellings == 1]  # T-T and TT, KM-H2 and KMH-2 are different lines: nothing tells which is meant
    spelled = table.drop_duplicates("line").set_index("line")["CELL_LINE_NAME"].astype(str)
    table["DRUG_NAME"] = table["DRUG_NAME"].astype(str).str.strip()
    wide = table.pivot_table(index="line", columns="DRUG_NAME", values="LN_IC50", aggfunc="mean")
    lines = tuple(map(str, wide.index))
    n_repeated = len(table) - int(wide.notna().to_numpy().sum())
    values = wide.to_numpy(dtype=np.float32)
    return Responses(lines, tuple(spelled[line] for line in lines), tuple(map(str, wide.columns)), values, n_repeated)


def read_line_expression(folder: Path | str) -> LineExpression:
    """Read the GDSC array expression: a folder of `part*.npz` with `lines`, `genes`, `values_x1000` (int16).

    Values are z-scores within each line over the genes of the table, not over lines.

    Raises
    ------
    DatasetError
        There are no parts, or they disagree about the lines.
    """
    parts = sorted(Path(folder).glob("part*.npz"))
    if not parts:
        raise DatasetError(
            f"'{Path(folder).name}' holds no part*.npz.", "The folder with the expression is needed.", "Correct it."
        )
    lines, genes, values = None, [], []
    for part in parts:
        try:
            with np.load(part, allow_pickle=False) as held:
                here = tuple(harmonise(name) for name in held["lines"])
                genes += map(str, held["genes"])
                values.append(held["values_x1000"].astype(np.float32) / 1000)
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"'{part.name}' cannot be read.", "It may be damaged.", "Copy it again.") from error
        if lines is not None and here != lines:
            raise DatasetError(f"'{part.name}' holds other lines than the first part.", "", "Use parts of one table.")
        lines = here
    unit = "z-score of array log-intensity within the line"
    return LineExpression(lines, tuple(genes), np.concatenate(values, axis=1), unit)


def read_expression(path: Path | str) -> LineExpression:
    """Read expression of lines from a folder as `read_line_expression` takes it, or any table of samples."""
    if Path(path).is_dir() and any(Path(path).glob("part*.npz")):
        return read_line_expression(path)
    from scfviz.tasks.drug_response.samples import KIND_TITLES, open_samples

    samples = open_samples(path)
    lines = tuple(harmonise(name) for name in samples.names)
    return LineExpression(lines, samples.genes, samples.values, KIND_TITLES[samples.kind])


def read_measured(path: Path | str) -> dict[tuple[str, str], float]:
    """Read responses that were measured on samples: columns `sample`, `drug`, `ln_ic50`; repeated pairs averaged.

    Raises
    ------
    DatasetError
        The file cannot be read, lacks a column, or a value is no number.
    """
    import pandas as pd

    table = _read_csv(path)
    _refuse_missing(path, table, ("sample", "drug", "ln_ic50"))
    values = pd.to_numeric(table["ln_ic50"], errors="coerce")
    if values.isna().any():
        raise DatasetError(
            f"'{Path(path).name}' holds '{table['ln_ic50'][values.isna()].iloc[0]}' as ln_ic50.",
            "The natural logarithm of IC50 in uM is needed.",
            "Correct it, or remove the row.",
        )
    mean = values.groupby([table["sample"].astype(str), table["drug"].astype(str)]).mean()
    return {(str(sample), str(drug)): float(value) for (sample, drug), value in mean.items()}


def read_ccle_expression(path: Path | str, samples: Path | str) -> LineExpression:
    """Read CCLE log2(TPM + 1): a csv of lines by genes, its first column `DepMap_ID`, and the table that names the IDs.

    A column `value_origin` and lines whose ID is not in `samples` are left out.
    """
    names = _read_csv(samples).set_index("DepMap_ID")["stripped_cell_line_name"].astype(str)
    table = _read_csv(path).set_index("DepMap_ID").drop(columns="value_origin", errors="ignore")
    table = table[table.index.isin(names.index)]
    lines = tuple(harmonise(names[i]) for i in table.index)
    return LineExpression(lines, tuple(map(str, table.columns)), table.to_numpy(dtype=np.float32), "log2(TPM + 1)")


def read_drugs(
    names: Sequence[str], *, smiles: Sequence[Path | str] = (), targets: Path | str | None = None
) -> tuple[Drug, ...]:
    """What is known of drugs, one for each name.

    Parameters
    ----------
    smiles
        Tables with the columns `drug_name` and `smiles`; of several that know a drug the first counts.
    targets
        Table with the columns `Name`, `Synonyms`, `Targets`, `Target pathway`.

    Raises
    ------
    DatasetError
        A table cannot be read, or lacks the column of names or structures.
    """
    structures: dict[str, str] = {}
    for path in smiles:
        for row in _read_rows(path, ("drug_name", "smiles")):
            if row.get("smiles"):
                structures.setdefault(harmonise(row["drug_name"]), row["smiles"].strip())
    known = {}
    for row in _read_rows(targets, ("Name",)) if targets is not None else ():
        synonyms = [part.strip() for part in (row.get("Synonyms") or "").split(",") if part.strip()]
        about = (row.get("Targets") or "").strip(), (row.get("Target pathway") or "").strip(), tuple(synonyms)
        for name in (row["Name"], *synonyms):
            known.setdefault(harmonise(name), about)
    found = []
    for name in names:
        aim, pathway, synonyms = known.get(harmonise(name), ("", "", ()))
        bare = name.partition(" (")[0]  # Bleomycin (50 uM) is bleomycin
        structure = next((structures[key] for key in map(harmonise, (name, bare)) if key in structures), "")
        found.append(Drug(name, structure, aim, pathway, synonyms))
    return tuple(found)


def _read_rows(path: Path | str, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"'{Path(path).name}' cannot be read.", "A csv file is needed.", "Correct it.") from error
    _refuse_missing(path, reader.fieldnames, needed)
    return rows


def _refuse_missing(path: Path | str, columns: Iterable[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise DatasetError(
            f"'{Path(path).name}' has no column {', '.join(missing)}.", f"Needed: {', '.join(needed)}.", "Rename them."
        )


def _read_csv(path: Path | str) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_csv(path)
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file '{path}'.", "", "Check the path.") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{Path(path).name}' cannot be read.", "A csv file is needed.", "Correct it.") from error
