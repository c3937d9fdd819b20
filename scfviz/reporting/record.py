"""The analysis record: what was done to a dataset, as found in results and rules; for reports and scripts."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.analysis.labels.labels import Annotation
from scfviz.analysis.selection.history import NamedSelection
from scfviz.analysis.selection.rules import Rule
from scfviz.tasks.fragments import Contribution
from scfviz.tasks.names import describe, public_names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes
    ----------
    options, report
        Of its computation: what was asked for, and `report.json`.
    table
        One row per gene, see `scfviz.analysis.differential_expression.Comparison.table`.
    finished
        When it was done, in seconds since 1970.
    """

    options: dict[str, Any]
    report: dict[str, Any]
    table: "pd.DataFrame"
    finished: float | None = None

    @property
    def method(self) -> str:
        """The test: a name in `TESTS`."""
        return str(self.options["method"])

    @property
    def sides(self) -> str:
        """Both selections in words."""
        return f"{self.report['selections']['group']} against {self.report['selections']['reference']}"


@dataclass(frozen=True)
class Enriched:
    """Gene sets that one of the comparisons is rich in.

    Attributes
    ----------
    options, report, finished
        As of `Compared`; see `scfviz.jobs.kinds.enrichment`.
    table
        One row per set, see `enrich_list` and `enrich_ranking` in `scfviz.analysis.enrichment`.
    of
        Which comparison was asked: its place in `AnalysisRecord.comparisons`.
    sets
        What the sets are called: the name of their file, or of the ontology that ships with scfviz.
    digest
        SHA-256 of their file; empty for the ontology.
    """

    options: dict[str, Any]
    report: dict[str, Any]
    table: "pd.DataFrame"
    of: int
    sets: str
    digest: str = ""
    finished: float | None = None

    @property
    def is_ranking(self) -> bool:
        """Whether the whole ranking was tested, not a list of top genes."""
        return self.report["way"] == "ranking"

    @property
    def judged_by(self) -> str:
        """The column that says which sets are beyond chance."""
        return "fdr" if self.is_ranking else "pvals_adj"

    @property
    def n_clear(self) -> int:
        """Sets beyond chance: adjusted p or false discovery rate below 0.05."""
        return int((self.table[self.judged_by] < 0.05).sum())


@dataclass(frozen=True)
class Colored:
    """How the maps were coloured.

    Attributes
    ----------
    kind
        "label", "value", "gene", "genes" or "set".
    title
        As the legend says it.
    column, genes
        The column of the table of cells, or the genes (of a set: all that it names).
    summary
        Numbers to check a repetition with: cells of each group of a label, by name; else the `mean` over cells with a
        value, and how many those are (`n_cells`); empty for a mix of genes.
    """

    kind: str
    title: str
    column: str = ""
    genes: tuple[str, ...] = ()
    summary: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Groups:
    """Groups of cells as a picture showed them: what they are, name and rule of each, and their numbers of cells."""

    title: str
    rules: tuple[tuple[str, Rule], ...]
    n_cells: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(name for name, _ in self.rules)


@dataclass(frozen=True)
class Pictured:
    """Genes in groups of cells, as a panel drew them.

    Attributes
    ----------
    kind
        "dots", "violins" or "heatmap".
    colors
        What the colours stand for, in words; empty for violins.
    table
        One row per group and gene: `group`, `gene`, `n_cells`, `mean`, `fraction`; of violins gene by gene, with
        quantiles; see `GroupSummary.as_table` and `violin_table` in `scfviz.analysis.groups`.
    """

    kind: str
    genes: tuple[str, ...]
    groups: Groups
    colors: str
    table: "pd.DataFrame"


@dataclass(frozen=True)
class Composed:
    """What groups are made of, as a panel drew it.

    Attributes
    ----------
    counts
        int (n_groups, n_parts), cells.
    table
        The same, one row per group and part.
    """

    groups: Groups
    parts: Groups
    counts: np.ndarray
    table: "pd.DataFrame"


@dataclass(frozen=True)
class AnalysisRecord:
    """What was done to a dataset, as found in results and rules, never as planned.

    Attributes
    ----------
    title, dataset, format
        Name of the file, identity of its content, what kind of file it is.
    demo
        Name of the demo that it is; `None` for other files.
    n_obs, n_vars
        Cells and genes of the file.
    median_depth, median_genes
        Per cell: counts in the model's genes, genes with counts.
    counts, genes
        Reports of the checks, see `CountsReport.as_dict` and `GeneReport.as_dict`.
    gene_column
        The column of gene names, where a person chose it.
    labels
        User-defined labels, by column, with their history.
    maps
        What the task has to say whose maps are shown and whose filters chose the cells; `None` where the file's own
        maps are shown.
    n_shown, filters
        Cells that take part, and the filters that chose them.
    named, n_now
        The named selections, and how many cells each holds now (`None`: it cannot be evaluated).
    current, n_current
        The rule in force and its number of cells.
    comparisons
        The last comparison of cells, and the same one of donors where it was computed.
    enriched, pictured, composed
        What else was shown: gene sets of a comparison, genes in groups, parts of groups; `None` where it was not.
    colored
        The colours of the maps.
    tasks
        What the other tasks with a finished result on these cells have to say.
    names
        What the tasks' maps and columns are called here, by the names in their results; see
        `scfviz.tasks.names.public_names`.
    """

    title: str
    dataset: str
    format: str
    demo: str | None
    n_obs: int
    n_shown: int
    n_vars: int
    median_depth: float
    median_genes: float
    counts: dict[str, Any]
    genes: dict[str, Any]
    gene_column: str | None = None
    labels: dict[str, Annotation] = field(default_factory=dict)
    maps: Contribution | None = None
    filters: dict[str, float] | None = None
    named: tuple[NamedSelection, ...] = ()
    n_now: tuple[int | None, ...] = ()
    current: Rule | None = None
    n_current: int = 0
    comparisons: tuple[Compared, ...] = ()
    enriched: Enriched | None = None
    pictured: Pictured | None = None
    composed: Composed | None = None
    colored: Colored | None = None
    tasks: tuple[Contribution, ...] = ()
    names: dict[str, str] = field(default_factory=public_names)

    def words(self, rule: Rule) -> str:
        """A rule in words."""
        return describe(rule, self.names)

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """What all tasks have to say, that of the maps first."""
        return self.tasks if self.maps is None else (self.maps, *self.tasks)

    @property
    def current_name(self) -> str:
        """The name of the selection in force, where it has one."""
        return next((kept.name for kept in self.named if kept.rule == self.current), "")

    @property
    def methods(self) -> set[str]:
        """The tests that were used."""
        return {compared.method for compared in self.comparisons}
