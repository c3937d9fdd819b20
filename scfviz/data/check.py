"""Find raw counts in a dataset, prove that they are counts, and say so in plain words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.data.candidates import (
    UNIT,
    VERDICTS,
    Candidate,
    count_var,
    find_candidates,
    is_selection,
    layer_of,
    unit_said,
)
from scfviz.data.features import Features
from scfviz.data.genes import MIN_MODEL_GENES, GeneMatch
from scfviz.data.likeness import FAR, MAX_FAILING_CELLS, WHY, similar_totals
from scfviz.data.parts import PLUS, equals_part, is_same
from scfviz.data.recovery import Recovery
from scfviz.data.scan import Scan, bulk_note, refuse_unlike, scan
from scfviz.data.source import split_part
from scfviz.data.tables_of_genes import refuse_gene_table
from scfviz.errors import ChoiceError, DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

# Counts of a selection of genes give way to counts recovered for this many times as many genes.
WORTH_RECOVERING = 2
CHOOSE = 'Choose one: counts="..." in Python, --counts on the command line.'


@dataclass(frozen=True)
class Notice:
    """One sentence for the reader of a report; `level` is "info" or "warning"."""

    level: str
    text: str


@dataclass(frozen=True)
class CountsReport:
    """Where the counts are, what they are, and what should be known about them."""

    location: str  # "X" | "raw.X" | "layers['counts']" | "layers['spliced'] + layers['unspliced']"
    kind: str  # "counts" | "recovered"
    n_obs: int
    n_vars: int
    notices: tuple[Notice, ...]
    recovery: Recovery | None = None
    is_whole: bool = True  # False: estimated counts with fractions
    n_empty: int = 0  # cells without a single count on the genes that the model knows
    max_count: float = 0.0
    n_other_species: int = 0  # cells of the mouse, in a file of human and mouse cells
    features: Features | None = field(default=None, repr=False, compare=False)
    scan: Scan | None = field(default=None, repr=False, compare=False)

    @property
    def gene_totals(self) -> np.ndarray:
        """Counts per gene of the file, float64 (n_vars,)."""
        return self.scan.gene_totals

    @property
    def is_other_species(self) -> np.ndarray:
        """Which cells have more counts on genes of another species than on their own, bool (n_obs,)."""
        return self.scan.foreign > 0.5 * self.scan.totals

    def as_dict(self) -> dict:
        """The report as JSON-able fields."""
        recovery = self.recovery
        return {
            "location": self.location,
            "kind": self.kind,
            "n_obs": self.n_obs,
            "n_vars": self.n_vars,
            "is_whole": self.is_whole,
            "n_empty": self.n_empty,
            "n_other_species": self.n_other_species,
            "max_count": self.max_count,
            "recovery": {"scale": recovery.scale, "whole_share": recovery.whole_share} if recovery else None,
            "notices": [{"level": n.level, "text": n.text} for n in self.notices],
        }


@dataclass(frozen=True)
class Reading:
    """What else comes of the one reading of all values.

    Attributes
    ----------
    match
        How the genes meet the model's, from their table and what kind of feature each is.
    weigh
        Weights of the genes in sums over each cell, from their table and `match`; see `scan`.
    watch
        Called with the share that is done, 0 to 1; may raise to end the reading.
    """

    match: Callable[["pd.DataFrame", Features], GeneMatch] | None = None
    weigh: Callable[["pd.DataFrame", GeneMatch], np.ndarray] | None = None
    watch: Callable[[float], None] | None = None


def check_counts(adata: "AnnData", *, counts: str | None = None) -> CountsReport:
    """Find the raw counts of a dataset and check every value of them.

    Whole numbers that look like counts in their cells are preferred, the matrix with more genes first; then values from
    which counts can be recovered exactly; then estimated counts with fractions. Counts of a few selected genes give way
    to recovered counts of at least twice as many, and one part of the counts (spliced) to the sum of all parts. The
    chosen matrix is read once, in blocks of cells.

    Parameters
    ----------
    counts
        Where the counts are: "X", "raw", or the name of a layer. None finds out.

    Raises
    ------
    DatasetError
        No matrix holds counts: all are negative, scaled, bins or ranks, or normalised beyond recovery; several might,
        and nothing tells which; or the chosen one has missing, infinite or negative values.
    GeneError
        Not one column is a gene.
    OptionError
        There is no such place.
    """
    return check_and_match(adata, counts=counts)[0]


def check_and_match(
    adata: "AnnData", *, counts: str | None = None, reading: "Reading | None" = None
) -> tuple[CountsReport, GeneMatch | None]:
    """`check_counts`, and how the genes of the chosen matrix meet the model's, where `reading` asks for it.

    Then a cell is empty when it has no counts on genes that the model knows.
    """
    source = adata.uns.get("scfviz_source", {})
    refuse_gene_table(adata, source_name(adata))
    try:
        return check_candidates(adata, find_candidates(adata), counts or source.get("counts"), reading or Reading())
    except ChoiceError as error:
        error.choices = choices_in(source, error.choices)
        raise


def check_candidates(
    adata: "AnnData", candidates: list[Candidate], counts: str | None, reading: "Reading"
) -> tuple[CountsReport, GeneMatch | None]:
    """Choose one of the candidates, the one at `counts` where that is said, and read it."""
    name = source_name(adata)
    if counts is None:
        chosen, said = choose(candidates, name)
    else:
        chosen, said = named(candidates, counts), []
        if chosen.verdict not in VERDICTS and not chosen.is_doubtful:
            refuse_all([chosen], name)
    fallback = None if counts else first_usable(candidates)
    try:
        found, matched = read(adata, chosen, name, reading, trusted=counts is not None)
    except DatasetError:
        if fallback is None or chosen is fallback or chosen.is_parts:
            raise
        chosen, said = fallback, []
        found, matched = read(adata, chosen, name, reading)
    report = CountsReport(
        chosen.location,
        "recovered" if chosen.recovery else "counts",
        found.n_obs,
        found.n_vars,
        (),
        chosen.recovery,
        found.is_whole,
        found.n_empty,
        found.largest,
        features=chosen.features,
        scan=found,
    )
    report = replace(report, n_other_species=int(report.is_other_species.sum()))
    said = [*said, *explain(adata, chosen, candidates, report)]
    return replace(report, notices=tuple(said)), matched


def read(
    adata: "AnnData", chosen: Candidate, name: str, reading: "Reading", *, trusted: bool = False
) -> tuple[Scan, GeneMatch | None]:
    """Match the genes of the chosen matrix and read all its values; what the user chose need not look like counts."""
    var = count_var(adata, chosen.location)
    matched = reading.match(var, chosen.features) if reading.match else None
    weights = reading.weigh(var, matched) if reading.weigh and matched else None
    found = scan(adata, chosen, name, matched, weights=weights, watch=reading.watch)
    if not trusted:
        refuse_unlike(found, chosen, name, by_totals=not is_selection(adata))
    # So few genes that only what needs no model can go on: then counts on any gene will do.
    is_panel = matched is not None and matched.report.n_measured < min(MIN_MODEL_GENES, -(-len(matched.genes) // 5))
    if not found.totals.any() or (found.n_empty == found.n_obs and not is_panel):
        where = "the genes that the model knows" if reading.match else f"{chosen.location}"
        raise DatasetError(
            f"No cell of {name} has a single count in {where}.",
            "At least one cell with counts is needed.",
            "Check how the file was made.",
        )
    return found, matched


def source_name(adata: "AnnData") -> str:
    """What to call the dataset in messages."""
    return f"'{Path(adata.uns['scfviz_source']['path']).name}'" if "scfviz_source" in adata.uns else "the dataset"


def first_usable(candidates: list[Candidate]) -> Candidate | None:
    """The best matrix by its verdict and number of genes, parts aside; None when there is none."""
    usable = [c for c in candidates if c.verdict in VERDICTS and not c.is_parts]
    return min(usable, key=lambda c: c.rank, default=None)


def choose(candidates: list[Candidate], name: str) -> tuple[Candidate, list[Notice]]:
    """The matrix to read, and what has to be said about the choice."""
    usable = sorted((c for c in candidates if c.verdict in VERDICTS), key=lambda c: c.rank)
    if not usable:
        refuse_all(candidates, name)
    whole = next((c for c in usable if c.is_parts), None)
    chosen = first_usable(candidates) or whole
    if chosen.verdict == "counts":
        recovered = next((c for c in usable if c.verdict == "recovered" and c is not whole), None)
        if recovered is not None:
            n_genes, n_recovered = chosen.matrix.shape[1], recovered.matrix.shape[1]
            differs = n_genes == n_recovered and not chosen.is_named and not is_same(chosen.sample, recovered.counts())
            if n_recovered >= WORTH_RECOVERING * n_genes or differs:
                chosen = recovered
        refuse_to_guess(chosen, usable, name)
    if whole is None:
        return chosen, []
    return sum_parts(chosen, whole, candidates)


def refuse_to_guess(chosen: Candidate, usable: list[Candidate], name: str) -> None:
    """Ask when several layers of no telling name look like counts, and differ."""
    if chosen.is_named or chosen.recovery:
        return
    others = [
        c
        for c in usable
        if c.verdict == "counts"
        and c is not chosen
        and not c.is_parts
        and c.matrix.shape == chosen.matrix.shape
        and not is_same(c.sample, chosen.sample)
    ]
    if others:
        shown = "; ".join(describe(c) for c in [chosen, *others])
        raise ChoiceError(
            f"Several layers of {name} could be the counts, and they differ: {shown}.",
            "It must be clear which are the raw counts.",
            CHOOSE,
            choices=tuple(c.location for c in [chosen, *others]),
            title="Several matrices could be the counts: choose one",
        )


def choices_in(source: dict, locations: tuple[str, ...]) -> tuple[str, ...]:
    """Matrices as paths that open the file with the counts in one of them; none where there is no file."""
    if "path" not in source:
        return ()
    on_disk, part = split_part(Path(source["path"]))
    places = ("raw" if place == "raw.X" else layer_path(place) for place in locations)
    return tuple("/".join(filter(None, (on_disk.name, part, place))) for place in places)


def layer_path(location: str) -> str:
    """`layers/NAME` of a layer, other locations as they are."""
    return f"layers/{layer_of(location)}" if layer_of(location) else location


def describe(candidate: Candidate) -> str:
    """A candidate in a few words: where it is, its median total, its largest value."""
    totals = np.asarray(candidate.sample.sum(axis=1)).ravel()
    return f"{candidate.location} (median total {np.median(totals):,.0f}, largest value {candidate.sample.max():,.0f})"


def sum_parts(chosen: Candidate, whole: Candidate, candidates: list[Candidate]) -> tuple[Candidate, list[Notice]]:
    """The sum of the parts, where the chosen matrix is only some of them or there is nothing else."""
    parts = whole.location.split(PLUS)
    if chosen is whole:
        if len(parts) == 1:
            text = f"The file holds only {layer_of(parts[0])} counts: some of the molecules, the others are missing."
            return whole, [Notice("warning", text)]
        return whole, [Notice("info", f"The counts are kept in parts; their sum is used: {whole.location}.")]
    if chosen.matrix.shape != whole.matrix.shape:
        return chosen, []
    from scfviz.data import matrix as mx
    from scfviz.data.candidates import sample_cells

    if len(parts) == 1:
        return chosen, []
    samples = [mx.keep_columns(sample_cells(part), chosen.features.is_gene) for part in whole.matrix.parts]
    found = equals_part(chosen.counts(), samples)
    if found is None or not any(samples[i].nnz for i in range(len(samples)) if i not in found):
        return chosen, []
    share = chosen.counts().sum() / max(whole.sample.sum(), 1)
    held = PLUS.join(layer_of(parts[i]) for i in found)
    text = (
        f"{chosen.location} holds only {held}: {share:.0%} of the molecules in tested cells. The parts are added up: "
        f'{whole.location}. To use {chosen.location} alone, choose it (counts="{chosen.location}", or --counts).'
    )
    return whole, [Notice("warning", text)]


def named(candidates: list[Candidate], counts: str) -> Candidate:
    """The candidate at the place that the user named."""
    wanted = "raw.X" if counts == "raw" else counts
    for candidate in candidates:
        if wanted in (candidate.location, layer_of(candidate.location)):
            return candidate
    raise OptionError(
        f"There are no counts at '{counts}'.",
        f"The dataset holds {', '.join(c.location for c in candidates) or 'no matrix'}.",
        "Name one of these.",
    )


def refuse_all(candidates: list[Candidate], name: str) -> None:
    """Say why no matrix can be used."""
    reasons = "; ".join(f"{c.location}: {c.verdict}" for c in candidates) or "There is no matrix in it"
    doubtful = [c.location for c in candidates if c.is_doubtful]
    advice = "Save the raw counts into layers['counts'] or raw before scaling, and open that file."
    if doubtful:
        advice += (
            f' If {doubtful[0]} does hold counts, choose it: counts="{doubtful[0]}" in Python, --counts in commands.'
        )
    said = (
        f"No raw counts were found in {name}. {reasons}.",
        "Raw counts are needed, or values that were only divided by each cell's total and perhaps logged.",
        advice,
    )
    if doubtful:
        raise ChoiceError(*said, choices=tuple(doubtful), title=DatasetError.title)
    raise DatasetError(*said)


def explain(adata: "AnnData", chosen: Candidate, candidates: list[Candidate], report: CountsReport) -> Iterator[Notice]:
    """All decisions as sentences."""
    for note in adata.uns.get("scfviz_source", {}).get("notes", ()):
        yield Notice("info", note)
    if chosen.recovery:
        was = "not logged" if chosen.recovery.scale == "no logarithm" else f"logged ({chosen.recovery.scale})"
        yield Notice(
            "info",
            f"{chosen.location} holds normalised values, {was}. Counts were recovered by taking the smallest non-zero "
            f"value of each cell as one count; {chosen.recovery.whole_share:.1%} of the tested values came out whole.",
        )
    elif report.is_whole:
        yield Notice("info", f"Raw counts were found in {chosen.location}.")
    else:
        yield Notice(
            "warning",
            f"{chosen.location} holds estimated counts with fractions (for example after ambient-RNA correction or "
            "from full-length protocols). They are used as they are.",
        )
    for other in candidates:
        if other is not chosen:
            n_genes = other.matrix.shape[1]
            reason = {
                "counts": f"it holds whole numbers, of {n_genes:,} genes",
                "recovered": "it holds normalised values",
                "fractions": "it holds values with fractions",
                "binary": "it holds only 0 and 1",
            }.get(other.verdict, other.verdict)
            yield Notice("info", f"{other.location} was not used: {reason}.")
    yield from warn(adata, chosen, report)


def warn(adata: "AnnData", chosen: Candidate, report: CountsReport) -> Iterator[Notice]:
    """What a user should know before going on."""
    found = report.scan
    if chosen.is_doubtful:
        yield Notice("warning", f"{chosen.location} was chosen, although {chosen.verdict}.")
    if not chosen.recovery and report.is_whole and report.max_count == 1:
        yield Notice(
            "warning",
            "Every value is 0 or 1: the counts seem to have been reduced to detected or not, and depth has lost its "
            "meaning.",
        )
    if found.n_multiples > 0.5 * max(found.n_judged, 1):
        yield Notice(
            "warning",
            f"In {found.n_multiples:,} cells every value is a multiple of the smallest one, which is above 1: counts "
            "that were multiplied. They are used as they are, and so is the depth.",
        )
    yield from (Notice("warning", note) for note in bulk_note(found.n_expressed))
    if not chosen.recovery:
        yield from doubt(adata, chosen, found)
    repeated = int(adata.obs_names.duplicated().sum())
    if repeated:
        yield Notice("warning", f"{repeated:,} cell names are repeated; a number was added to tell them apart.")
    if report.n_empty:
        names = ", ".join(str(adata.obs_names[i]) for i in found.empty)
        yield Notice(
            "warning",
            f"{report.n_empty:,} of {report.n_obs:,} cells without counts on the genes that are used (for example "
            f"{names}). Without depth the model cannot use them: leave them out with a filter (counts per "
            "cell; --min-counts in commands).",
        )
    if report.n_other_species:
        first = ", ".join(str(adata.obs_names[i]) for i in np.flatnonzero(report.is_other_species)[:3])
        yield Notice(
            "warning",
            f"{report.n_other_species:,} of {report.n_obs:,} cells have most of their counts on mouse genes (for "
            f"example {first}): they are mouse cells. A filter leaves them out.",
        )
    if found.n_failing:
        what = "recovered values were not all whole; they were rounded" if chosen.recovery else "values are not whole"
        yield Notice("warning", f"In {found.n_failing:,} cells the {what}.")
    unlike = np.flatnonzero(found.why == FAR if chosen.verdict == "counts" else found.why)
    if len(unlike) and not chosen.recovery:
        first = ", ".join(str(adata.obs_names[i]) for i in unlike[:3])
        yield Notice(
            "warning",
            f"In {len(unlike):,} cells the values do not look like counts (for example {first}): {WHY[FAR]}.",
        )


def doubt(adata: "AnnData", chosen: Candidate, found: Scan) -> Iterator[Notice]:
    """What speaks against counts without proving anything; the user knows how the file was made."""
    if (between := similar_totals(found.totals)) is not None:
        yield Notice(
            "warning",
            f"The totals of the cells are strangely close: half of them lie between {between[0]:,.0f} and "
            f"{between[1]:,.0f}. That is right where cells were thinned to one depth; otherwise these are "
            "normalised values that were rounded (CPM, TPM, FPKM), and the raw counts are needed.",
        )
    if found.n_bumpy > MAX_FAILING_CELLS * max(found.n_judged, 1):
        yield Notice(
            "warning",
            f"In {found.n_bumpy:,} cells some number of counts is much commoner than those below and above it, which "
            "counting molecules does not leave: estimates or scaled values that were rounded, or reads counted in "
            "pairs. They are used as they are.",
        )
    if not chosen.is_doubtful and (where := unit_said(adata, chosen.location)):
        yield Notice(
            "warning",
            f"The name {where} says {UNIT.search(where)[0].upper()}, but {chosen.location} holds whole numbers and was "
            "taken for counts. If they are rounded, open the raw counts instead.",
        )
