"""Which cells were perturbed, and how: recognised from what columns hold, never from their names alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd

CONTROL = "control"
MIN_CELLS, MIN_CONTROLS, MAX_CONDITIONS = 5, 10, 5_000
_MOST_KINDS_OF_OTHERS = 200
_GENES_NEEDED = 0.5  # share of a column's values that are genes
_ALIAS = 0.49  # what a name that is a gene's only as an alias counts: LPS and TNFA are added, too
# Names without letter case, blanks and marks.
_CONTROLS = frozenset(
    "control ctrl ctl ctr con nontargeting nontarget nontargetingcontrol nt ntc negctrl negativecontrol neg negative "
    "safeharbour safeharbor aavs1 scramble scrambled scr vehicle dmso untreated unperturbed unstimulated unstim mock "
    "pbs none wt wildtype nontargetinggrna nontargetinggrnas nontargetingsgrna".split()
)
_UNASSIGNED = frozenset(
    "unassigned unknown nan na negativedroplet doublet multiplet ambiguous undetermined noguide".split()
)
_CELL_TYPES = ("celltype", "cellontology")
_CZI = "genetic_perturbation_id"
_NAMES = tuple(
    "genetic_perturbation_id condition perturbation perturbations target_gene target gene gene_target guide_identity "
    "guide_ids guide sgrna sgrna_id grna perturb treatment stimulation stim cytokine drug compound dose time".split()
)
_GREEK = re.compile(r"alpha|beta|gamma|lambda|kappa", re.IGNORECASE)  # IFN-beta is a protein that was added
_SEPARATOR = re.compile(r"\s*(?:\|\||\+|[|;,&])\s*")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_CODE = re.compile(r"^(?:sg|g)?RNA[-_]?|^sg(?=[A-Z])")
_GUIDE = re.compile(r"(?:[-_.](?:sg|g|grna|guide)?\d{1,3}|[-_.]?(?:sg|g)\d{1,3})$", re.IGNORECASE)
_STRAND = re.compile(r"_[+-]_\d[\w.,-]*")  # KLF1_+_12995988.23-P1P2: the place of a guide


@dataclass(frozen=True)
class PerturbationDesign:
    """Conditions of the cells of a perturbation screen.

    Attributes
    ----------
    column
        Of `obs`, or the name of a guide table.
    is_genetic
        Whether conditions are genes; else they are a drug, a cytokine, a dose, a time.
    conditions
        Names, the control first; several genes are joined by `+` in alphabetical order.
    targets
        The genes of each condition, empty for the control.
    codes
        int32 (n_obs,): condition of each cell, -1 where none was assigned.
    controls
        What the control group is called in the column.
    notes
        What was recognised and what was left out, in sentences.
    """

    column: str
    is_genetic: bool
    conditions: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    codes: np.ndarray
    controls: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_cells(self) -> np.ndarray:
        """int64 (n_conditions,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.conditions))

    def describe(self) -> str:
        """What was recognised, in one sentence."""
        n_single = sum(len(one) == 1 for one in self.targets)
        n_several = sum(len(one) > 1 for one in self.targets)
        n_others = len(self.conditions) - 1
        others = "1 condition that is not a gene" if n_others == 1 else f"{n_others:,} conditions that are not genes"
        what = f"{n_single:,} single genes and {n_several:,} combinations" if self.is_genetic else others
        named = ", ".join(f"'{name}'" for name in self.controls)
        return (
            f"Column '{self.column}': {what}, against {int(self.n_cells[0]):,} control cells ({named}); "
            f"{int((self.codes < 0).sum()):,} cells belong to none."
        )


def read_design(
    obs: "pd.DataFrame",
    *,
    column: str | None = None,
    control: str | None = None,
    is_genetic: bool | None = None,
    uns: Mapping[str, Any] | None = None,
) -> PerturbationDesign:
    """Recognise the perturbations of cells.

    Parameters
    ----------
    obs
        Table of the cells.
    column
        The column that holds the conditions; None finds it by content.
    control
        The value that is the control group; None knows the usual names.
    is_genetic
        Whether conditions are genes; None sees it from their names.
    uns
        Of the file: `genetic_perturbations` (CZI schema 7) says which gene an identifier stands for.

    Raises
    ------
    OptionError
        There is no such column or no such value.
    DatasetError
        No column holds perturbations, there is no control group, or it is too small.
    """
    obs = _translate(obs, uns)
    if column is not None:
        if column not in obs.columns:
            raise OptionError(
                f"The dataset has no column '{column}'.",
                f"Its columns are {', '.join(map(str, obs.columns[:20])) or 'none'}.",
                "Choose the one with the perturbations.",
            )
        return _read_column(obs[column], column, control, is_genetic)
    found = find_columns(obs, control=control)
    if not found:
        raise DatasetError(
            "No column holds perturbations: none has a control group beside genes, drugs or conditions.",
            "One value per cell is needed: a gene, several joined by '+', or a control such as 'ctrl' or "
            "'non-targeting'.",
            f"Choose the column and its control; there are {', '.join(map(str, obs.columns[:12])) or 'none'}.",
        )
    return _read_column(obs[found[0]], found[0], control, is_genetic)


def find_columns(
    obs: "pd.DataFrame", *, control: str | None = None, uns: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Columns that may hold perturbations, the likeliest first: those of genes, then those of other conditions."""
    obs, ranked = _translate(obs, uns), []
    for place, name in enumerate(map(str, obs.columns)):
        values = _values(obs[name])
        if values is None or not 2 <= len(values) <= 20 * MAX_CONDITIONS:
            continue
        controls = [value for value in values if is_control(value) or value == control]
        others = [value for value in values if value not in controls and not _is_unassigned(value)]
        if not controls or not others:
            continue
        share = np.mean([_targets(value)[1] for value in others[:2_000]])
        known = _NAMES.index(name.lower()) if name.lower() in _NAMES else len(_NAMES)
        if share >= _GENES_NEEDED:
            is_guide = any(_GUIDE.search(value) for value in others[:50])  # a column of genes says the same in fewer
            ranked.append((0, is_guide, known, place, name))
        elif known < len(_NAMES) and len(values) <= _MOST_KINDS_OF_OTHERS:
            ranked.append((1, False, known, place, name))
    return tuple(name for *_, name in sorted(ranked))


def list_values(column: "pd.Series") -> tuple[str, ...]:
    """The different values of a column as text, the most frequent first."""
    counts = column.astype(str).value_counts()
    return tuple(map(str, counts.index[counts.to_numpy() > 0]))


def condition_name(targets: Sequence[str]) -> str:
    """The name of a condition from its genes: the same whatever their order."""
    return "+".join(sorted(set(targets)))


def parse_condition(text: str) -> tuple[str, ...]:
    """The genes of a condition as somebody wrote it (`KLF1`, `KLF1+ctrl`, `BAK1+KLF1`), by the model's symbols.

    Raises
    ------
    OptionError
        There is no name in it.
    """
    parts, _ = _targets(text)
    if not parts:
        raise OptionError(f"'{text}' names no gene.", "A gene, or several joined by '+', is needed.", "Write KLF1.")
    return tuple(sorted(set(parts)))


def _read_column(column: "pd.Series", name: str, control: str | None, is_genetic: bool | None) -> PerturbationDesign:
    texts = column.astype(str).to_numpy(dtype=object)
    texts[column.isna().to_numpy()] = "nan"
    values, place = np.unique(texts.astype(str), return_inverse=True)
    controls = _controls(values, name, control)
    others = [str(v) for v in values if v not in controls and not _is_unassigned(v)]
    if not others:
        raise DatasetError(
            f"The column '{name}' holds control cells only.", "At least one perturbation is needed.", "Choose another."
        )
    parsed = {value: _targets(value) for value in others}
    if is_genetic is None:
        is_genetic = float(np.mean([share for _, share in parsed.values()])) >= _GENES_NEEDED
    names, notes = {}, []
    for value in others:
        names[value] = condition_name(parsed[value][0]) if is_genetic and parsed[value][0] else value
    conditions = sorted(set(names.values()))
    if len(conditions) > MAX_CONDITIONS:
        raise DatasetError(
            f"The column '{name}' holds {len(conditions):,} conditions.",
            f"At most {MAX_CONDITIONS:,} can be compared.",
            "If it holds guides or barcodes, choose the column of genes; else keep the conditions with most cells.",
        )
    merged = len(others) - len(conditions)
    if merged and is_genetic:
        values_name = "1 value names" if merged == 1 else f"{merged:,} values name"
        notes.append(f"{values_name} the same genes as others (guides, aliases, order): joined.")
    targets = {names[value]: tuple(sorted(set(parsed[value][0]))) if is_genetic else () for value in others}
    unknown = sorted({gene for one in targets.values() for gene in one if _symbol(gene) is None})
    if unknown and is_genetic:
        names_are = (
            "1 perturbed name is no gene" if len(unknown) == 1 else f"{len(unknown):,} perturbed names are no genes"
        )
        notes.append(f"{names_are} of the vocabulary: {', '.join(unknown[:5])}.")
    if triples := [one for one in conditions if len(targets[one]) > 2]:
        notes.append(
            f"{_conditions(len(triples), 'combine')} three genes or more ({triples[0]}): shown, and no part of what is "
            "learned."
        )
    if is_genetic and all(len(targets[one]) > 1 for one in conditions):
        notes.append(
            "Every condition combines genes: what each does alone, and how far a pair departs from the sum, cannot be "
            "told. Pairs are predicted from similar pairs; add cells in which single genes are perturbed to know more."
        )
    if _bare(name).startswith(_CELL_TYPES):
        notes.append(
            f"'{name}' is named like a column of cell types: differences between types are no responses. If it is one, "
            "choose another column."
        )
    number = {one: i + 1 for i, one in enumerate(conditions)}
    codes = np.array([0 if v in controls else number[names[v]] if v in names else -1 for v in values], dtype=np.int32)
    design = PerturbationDesign(
        name,
        is_genetic,
        (CONTROL, *conditions),
        ((), *(targets[one] for one in conditions)),
        codes[place.ravel()],
        tuple(sorted(controls)),
        tuple(notes),
    )
    return _check(design)


def _controls(values: np.ndarray, name: str, control: str | None) -> set[str]:
    if control is not None:
        if control not in values:
            raise OptionError(
                f"The column '{name}' has no value '{control}'.",
                f"It has {', '.join(map(str, values[:8]))}.",
                "Choose the value that is the control group.",
            )
        return {control}
    found = {str(value) for value in values if is_control(value)}
    if not found:
        raise DatasetError(
            f"The column '{name}' has no control group: its values are {', '.join(map(str, values[:6]))}.",
            "Changes are measured against cells that were not perturbed (ctrl, non-targeting, vehicle, ...).",
            "Name the control's value; if this column holds cell types, choose another.",
        )
    return found


def _check(design: PerturbationDesign) -> PerturbationDesign:
    sizes = design.n_cells
    if sizes[0] < MIN_CONTROLS:
        raise DatasetError(
            f"The control group '{', '.join(design.controls)}' of '{design.column}' has {int(sizes[0]):,} cells.",
            f"At least {MIN_CONTROLS} are needed: every change is measured against them.",
            "Choose another control, or a file with more control cells.",
        )
    few = [name for name, size in zip(design.conditions[1:], sizes[1:], strict=True) if size < MIN_CELLS]
    if len(few) == len(sizes) - 1:
        raise DatasetError(
            f"No condition of '{design.column}' has {MIN_CELLS} cells.",
            f"Means of at least {MIN_CELLS} cells are compared.",
            "If the column holds guides or barcodes, choose the one of genes.",
        )
    if not few:
        return design
    note = f"{_conditions(len(few), 'have')} fewer than {MIN_CELLS} cells ({few[0]}): left out."
    kept = [i for i in range(len(sizes)) if i == 0 or sizes[i] >= MIN_CELLS]
    place = np.full(len(sizes) + 1, -1, dtype=np.int32)  # the last stands for -1
    place[kept] = np.arange(len(kept))
    return replace(
        design,
        conditions=tuple(design.conditions[i] for i in kept),
        targets=tuple(design.targets[i] for i in kept),
        codes=place[design.codes],
        notes=(*design.notes, note),
    )


def _conditions(n: int, verb: str) -> str:
    """How many conditions do something, with the verb in its form."""
    return f"1 condition {'has' if verb == 'have' else f'{verb}s'}" if n == 1 else f"{n:,} conditions {verb}"


def _values(column: "pd.Series") -> list[str] | None:
    """The different values of a column of text or categories; None for numbers."""
    if column.dtype.kind in "fiub":
        return None
    if column.dtype == "category":
        return [str(v) for v in column.cat.categories]
    return [str(v) for v in column.dropna().unique()]


def _bare(text: str) -> str:
    return _NO_LETTERS.sub("", text.lower())


def is_control(value: str) -> bool:
    """Whether a name is one of the usual ones of a control group: ctrl, non-targeting, NTC, vehicle, DMSO, ..."""
    parts = [part for part in _SEPARATOR.split(_STRAND.sub("", str(value))) if part.strip()]
    return bool(parts) and all(
        bool(_CONTROLS & {_bare(part), _bare(part).rstrip("0123456789"), _bare(_GUIDE.sub("", part))}) for part in parts
    )


def _is_unassigned(value: str) -> bool:
    return _bare(str(value)) in _UNASSIGNED or not str(value).strip()


@lru_cache(maxsize=100_000)
def _symbol(name: str) -> str | None:
    from scfviz.data.vocabulary import load_vocabulary

    return load_vocabulary().lookup(name)


def _targets(value: str) -> tuple[tuple[str, ...], float]:
    """The genes of a value, by the model's symbols where it has them, and how much speaks for their being genes."""
    value = _STRAND.sub("", str(value))
    parts = [part for part in _SEPARATOR.split(value) if part.strip() and not is_control(part)]
    if (
        len(parts) == 1 and _symbol(gene_of_guide(parts[0])) is None and parts[0].count("_") == 1
    ):  # A_B, as GEARS' sources
        pair = parts[0].split("_")
        if all(is_control(one) or _symbol(one) for one in pair):
            parts = [one for one in pair if not is_control(one)]
    genes = [gene_of_guide(part) for part in parts]
    found = [_symbol(gene) for gene in genes]
    names = tuple(symbol or gene for symbol, gene in zip(found, genes, strict=True))
    if not found or None in found or any(_GREEK.search(part) for part in parts):
        return names, 0.0
    is_official = all(name == gene or gene.startswith("ENSG") for name, gene in zip(names, genes, strict=True))
    return names, 1.0 if is_official else _ALIAS


def gene_of_guide(part: str) -> str:
    """The gene in the name of a guide: `sgSTAT2-1` and `STAT2g2` are STAT2."""
    part = part.strip()
    if _symbol(part) is not None:
        return part
    bare = _CODE.sub("", part)
    while _symbol(bare) is None and (shorter := _GUIDE.sub("", bare)) != bare:
        bare = shorter
    return bare if _symbol(bare) is not None else part


def _translate(obs: "pd.DataFrame", uns: Mapping[str, Any] | None) -> "pd.DataFrame":
    """The table with genes in the place of the identifiers that `uns["genetic_perturbations"]` explains."""
    table = dict(uns or {}).get("genetic_perturbations")
    if not isinstance(table, Mapping) or _CZI not in obs.columns:
        return obs
    named = {}
    for identifier, about in table.items():
        about = about if isinstance(about, Mapping) else {}
        genes = about.get("target_features")
        names = list(genes.values()) if isinstance(genes, Mapping) else np.atleast_1d(genes).tolist()
        is_named = about.get("role") != "control" and names and names[0] is not None
        named[str(identifier)] = str(names[0]) if is_named else CONTROL
    texts = obs[_CZI].astype(str)
    spelled = {
        text: "+".join(named.get(part.strip(), part.strip()) for part in text.split("||")) for text in texts.unique()
    }
    return obs.assign(**{_CZI: texts.map(spelled).astype("category")})
