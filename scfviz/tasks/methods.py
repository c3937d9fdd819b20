"""What was really done to a dataset, in words: the order of work, a methods paragraph, citations, caveats."""

import importlib.metadata
import platform
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scfviz.tasks.differential_expression import NOT_REPLICATES
from scfviz.tasks.selection import Rule
from scfviz.tasks.selection_history import NamedSelection

CITATIONS = {
    "scfoundation": "Hao M, Gong J, Zeng X, et al. Large-scale foundation model on single-cell transcriptomics. "
    "Nature Methods 21, 1481-1491 (2024). doi:10.1038/s41592-024-02305-7",
    "scanpy": "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. Genome "
    "Biology 19, 15 (2018). doi:10.1186/s13059-017-1382-0",
    "anndata": "Virshup I, Rybakov S, Theis FJ, Angerer P, Wolf FA. anndata: Access and store annotated data "
    "matrices. Journal of Open Source Software 9, 4371 (2024). doi:10.21105/joss.04371",
    "umap": "McInnes L, Healy J, Melville J. UMAP: Uniform Manifold Approximation and Projection for Dimension "
    "Reduction. arXiv:1802.03426 (2018)",
    "leiden": "Traag VA, Waltman L, van Eck NJ. From Louvain to Leiden: guaranteeing well-connected communities. "
    "Scientific Reports 9, 5233 (2019). doi:10.1038/s41598-019-41695-z",
    "pydeseq2": "Muzellec B, Telenczuk M, Cabeli V, Andreux M. PyDESeq2: a python package for bulk RNA-seq "
    "differential expression analysis. Bioinformatics 39, btad547 (2023). doi:10.1093/bioinformatics/btad547",
    "deseq2": "Love MI, Huber W, Anders S. Moderated estimation of fold change and dispersion for RNA-seq data with "
    "DESeq2. Genome Biology 15, 550 (2014). doi:10.1186/s13059-014-0550-8",
    "benjamini": "Benjamini Y, Hochberg Y. Controlling the false discovery rate. Journal of the Royal Statistical "
    "Society B 57, 289-300 (1995). doi:10.1111/j.2517-6161.1995.tb02031.x",
}
TESTS = {
    "wilcoxon": "the Wilcoxon rank-sum test",
    "t-test": "Welch's t-test",
    "pseudobulk": "DESeq2 on counts added up by donor (pseudobulk)",
}
_PACKAGES = ("scfviz", "torch", "numpy", "scipy", "pandas", "anndata", "scanpy", "umap-learn", "igraph", "scikit-learn")


@dataclass(frozen=True)
class Compared:
    """A finished comparison: the options and the `report.json` of its computation, and when it was done."""

    options: dict[str, Any]
    report: dict[str, Any]
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
class Work:
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
        Labels of one's own that rules speak of, by column: the labels, and int (n_obs,) their numbers, -1 for none.
    embed_options, embed_report
        Of the finished embedding; `None` where none is shown.
    named, n_now
        The named selections, and how many cells each holds now (`None`: it cannot be evaluated).
    current, n_current
        The rule in force and its number of cells.
    comparisons
        The last comparison of cells, and the same one of donors where it was computed.
    embedded_at
        When the embedding was done, in seconds since 1970.
    """

    title: str
    dataset: str
    format: str
    demo: str | None
    n_obs: int
    n_vars: int
    median_depth: float
    median_genes: float
    counts: dict[str, Any]
    genes: dict[str, Any]
    gene_column: str | None = None
    labels: dict[str, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)
    embed_options: dict[str, Any] | None = None
    embed_report: dict[str, Any] | None = None
    named: tuple[NamedSelection, ...] = ()
    n_now: tuple[int | None, ...] = ()
    current: Rule | None = None
    n_current: int = 0
    comparisons: tuple[Compared, ...] = ()
    embedded_at: float | None = None

    @property
    def n_shown(self) -> int:
        """Cells that take part: those of the file without the filtered ones."""
        return self.n_obs if self.embed_report is None else int(self.embed_report["n_obs"])

    @property
    def is_trained(self) -> bool:
        """Whether the model behind the maps is trained; True where there is none."""
        return self.embed_report is None or bool(self.embed_report["checkpoint"]["is_trained"])

    @property
    def current_name(self) -> str:
        """The name of the selection in force, where it has one."""
        return next((kept.name for kept in self.named if kept.rule == self.current), "")

    @property
    def methods(self) -> set[str]:
        """The tests that were used."""
        return {compared.method for compared in self.comparisons}


def describe_filters(filters: dict[str, float] | None) -> str:
    """The filters in words; empty where there are none."""
    filters = filters or {}
    texts = {
        "min_counts": "at least {:g} counts",
        "min_genes": "at least {:g} genes with counts",
        "max_pct_mt": "at most {:g} % mitochondrial counts",
    }
    return ", ".join(text.format(filters[name]) for name, text in texts.items() if filters.get(name) is not None)


def methods_paragraph(work: Work) -> str:
    """A methods paragraph in plain scientific English, one sentence for each thing that was done."""
    genes, counts = work.genes, work.counts
    parts = [
        f"The dataset '{work.title}' held {work.n_obs:,} cells and {work.n_vars:,} genes. "
        + _counts_sentence(counts)
        + f" Genes were matched to the {genes['n_model']:,} genes of scFoundation by {_id_type(genes)}; "
        f"{genes['n_measured']:,} of them ({genes['model_coverage']:.1f} %) were measured in this dataset, and "
        f"{genes['n_unknown']:,} rows of the file that are no gene of the model were left out."
    ]
    if work.embed_report is not None:
        parts.append(_embedding_sentences(work))
    elif work.named or work.current is not None:
        parts.append("Cells were shown on the maps that the file itself holds.")
    if work.named:
        parts.append(
            f"{_count_word(len(work.named))} {'group' if len(work.named) == 1 else 'groups'} of cells "
            f"{'was' if len(work.named) == 1 else 'were'} selected by rules that are listed in full in this report."
        )
    parts += [_comparison_sentences(compared) for compared in work.comparisons]
    parts.append(f"All steps were done with scfviz {version('scfviz')} (Python {platform.python_version()}).")
    return " ".join(parts)


def steps(work: Work) -> list[tuple[str, str]]:
    """(when, what) of everything that was done, in order; `when` is empty for what carries no time."""
    rows = [("", f"Opened '{work.title}' ({work.format or 'file'}): {work.n_obs:,} cells, {work.n_vars:,} genes")]
    rows += [("", f"Counts: {notice['text']}") for notice in work.counts["notices"]]
    rows.append(("", f"Genes: {work.genes['n_measured']:,} of the model's {work.genes['n_model']:,} were found"))
    timed: list[tuple[str, str]] = []
    if work.embed_report is not None:
        report, filters = work.embed_report, describe_filters((work.embed_options or {}).get("filters"))
        kept = f"Kept cells with {filters}: {report['n_removed']:,} of {work.n_obs:,} removed. " if filters else ""
        text = f"{kept}Embedded {report['n_obs']:,} cells with {report['checkpoint']['name']} and with the baseline"
        timed.append((_time(work.embedded_at), f"{text}; made neighbours, UMAP and clusters of both"))
    timed += [
        (kept.created_at[:19].replace("T", " "), f"Named the selection '{kept.name}': {kept.rule.describe()}")
        for kept in work.named
    ]
    timed += [
        (_time(compared.finished), f"Compared {compared.sides} with {TESTS[compared.method]}")
        for compared in work.comparisons
    ]
    rows += sorted(timed, key=lambda row: row[0])
    if work.current is not None:
        what = f"'{work.current_name}'" if work.current_name else work.current.describe()
        rows.append(("", f"Selected now: {what} ({work.n_current:,} cells)"))
    return rows


def citations(work: Work) -> list[str]:
    """What to cite for what was used."""
    used = ["anndata"]
    if work.embed_report is not None:
        used += ["scfoundation", "scanpy", "umap", "leiden"]
    if "pseudobulk" in work.methods:
        used += ["pydeseq2", "deseq2", "benjamini"]
    if work.methods - {"pseudobulk"}:
        used += ["scanpy", "benjamini"]
    return [text for name, text in CITATIONS.items() if name in used]


def caveats(work: Work) -> list[str]:
    """What a reader must know before believing the results."""
    texts = []
    if not work.is_trained:
        texts.append(
            "The model is untrained: its weights are random, so its map and clusters say nothing about the cells. "
            "The baseline beside it is a real result."
        )
    if work.counts["kind"] == "recovered":
        texts.append("The file held normalised values; counts were recovered from them and may differ from the true.")
    if work.methods - {"pseudobulk"}:
        texts.append(NOT_REPLICATES)
    if work.comparisons:
        texts.append(
            "Groups that were chosen by looking at expression (clusters, lassos, thresholds) differ by construction "
            "in the genes that made them."
        )
    if work.embed_report is not None:
        texts.append(
            "In a UMAP only neighbourhoods mean something: sizes of groups and distances between far groups do not. "
            "Another computer or another version of the packages can draw it differently."
        )
    if work.genes["model_coverage"] < 60:
        texts.append(
            f"Only {work.genes['model_coverage']:.0f} % of the model's genes were measured; the model knows nothing of "
            "the others in these cells."
        )
    return texts


def versions(work: Work) -> dict[str, str]:
    """The versions of Python and of the packages that computed."""
    packages = (*_PACKAGES, "pydeseq2") if "pseudobulk" in work.methods else _PACKAGES
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def version(package: str) -> str:
    """The installed version of a package; of scfviz also where it runs from a folder."""
    if package == "scfviz":
        import scfviz

        return scfviz.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _counts_sentence(counts: dict[str, Any]) -> str:
    place = counts["location"]
    if counts["kind"] == "recovered":
        return f"Raw counts were recovered from the normalised values in {place}."
    return f"Raw counts were taken from {place}."


def _id_type(genes: dict[str, Any]) -> str:
    by = "Ensembl ID" if genes["id_type"] == "ensembl" else "symbol"
    return f"mouse {by} through one-to-one orthologs" if genes["organism"] == "mouse" else f"{by} and alias"


def _embedding_sentences(work: Work) -> str:
    report, options = work.embed_report or {}, work.embed_options or {}
    provenance, checkpoint = report["provenance"], report["checkpoint"]
    filters = describe_filters(options.get("filters"))
    kept = f"Cells with {filters} were kept ({report['n_obs']:,} of {work.n_obs:,}). " if filters else ""
    depth = "the read depth of each cell left as it was"
    if provenance.get("target_depth") is not None:
        depth = f"a target depth of {provenance['target_depth']:,.0f} counts per cell"
    elif provenance.get("depth_fold") is not None:
        depth = f"a target depth of {provenance['depth_fold']:g} times each cell's own"
    pooling = (
        "the two depth tokens and the maximum and mean over gene tokens were concatenated"
        if provenance.get("pooling", "all") == "all"
        else "the maximum over gene tokens was taken"
    )
    untrained = "" if work.is_trained else "untrained "
    return (
        f"{kept}Cells were embedded with the encoder of the {untrained}scFoundation-type model "
        f"'{checkpoint['name']}' (content {checkpoint['hash']}; Hao et al. 2024) with {depth}; {pooling} "
        f"(precision {provenance['precision']}). As a baseline, counts were normalised to 10,000 per cell and "
        "log-transformed, up to 2,000 highly variable genes were chosen, and up to 50 principal components were "
        "computed with scanpy (Wolf et al. 2018). For both representations, 15 nearest neighbours, a UMAP (McInnes et "
        "al. 2018) and Leiden clusters at resolution 1 (Traag et al. 2019) were computed with random seed 0."
    )


def _comparison_sentences(compared: Compared) -> str:
    report = compared.report
    text = (
        f"Expression of {report['n_genes']:,} genes was compared between {report['n_group']:,} cells "
        f"({report['selections']['group']}) and {report['n_reference']:,} cells "
        f"({report['selections']['reference']}) with {TESTS[compared.method]}"
    )
    if compared.method == "pseudobulk":
        donors = compared.options["donor_column"]
        return f"{text}, with donors taken from '{donors}' (Love et al. 2014; Muzellec et al. 2023)."
    ties = ", corrected for ties," if report.get("tie_correct") else ""
    return f"{text}{ties} on ln(1 + counts per 10,000); p values were adjusted after Benjamini and Hochberg (1995)."


def _time(seconds: float | None) -> str:
    from datetime import UTC, datetime

    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ", timespec="seconds")[:19]


def _count_word(count: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return words[count] if count < len(words) else f"{count:,}"
