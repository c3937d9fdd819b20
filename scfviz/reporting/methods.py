"""What was really done to a dataset, in words: steps in order, a methods paragraph, citations, caveats."""

import importlib.metadata
import platform
from typing import Any

from scfviz.analysis.differential_expression import NOT_REPLICATES
from scfviz.analysis.labels.labels import Annotation
from scfviz.reporting.record import AnalysisRecord, Compared, Enriched, Pictured

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
    "gene ontology": "Ashburner M, Ball CA, Blake JA, et al. Gene Ontology: tool for the unification of biology. "
    "Nature Genetics 25, 25-29 (2000). doi:10.1038/75556",
    "gene ontology 2021": "The Gene Ontology Consortium. The Gene Ontology resource: enriching a GOld mine. Nucleic "
    "Acids Research 49, D325-D334 (2021). doi:10.1093/nar/gkaa1113",
    "gsea": "Subramanian A, Tamayo P, Mootha VK, et al. Gene set enrichment analysis: a knowledge-based approach for "
    "interpreting genome-wide expression profiles. PNAS 102, 15545-15550 (2005). doi:10.1073/pnas.0506580102",
    "fgsea": "Korotkevich G, Sukhov V, Budin N, et al. Fast gene set enrichment analysis. bioRxiv 060012 (2016). "
    "doi:10.1101/060012",
}
TESTS = {
    "wilcoxon": "the Wilcoxon rank-sum test",
    "t-test": "Welch's t-test",
    "pseudobulk": "DESeq2 on counts added up by donor (pseudobulk)",
}
PICTURES = {"dots": "a dot plot", "violins": "violins", "heatmap": "a heatmap"}
UNIT = "ln(1 + counts per 10,000)"
_PACKAGES = ("scfviz", "torch", "numpy", "scipy", "pandas", "anndata", "scanpy", "umap-learn", "igraph", "scikit-learn")


def methods_paragraph(record: AnalysisRecord) -> str:
    """A methods paragraph in plain scientific English, one sentence for each thing that was done."""
    genes, counts = record.genes, record.counts
    parts = [
        f"The dataset '{record.title}' held {record.n_obs:,} cells and {record.n_vars:,} genes. "
        + _counts_sentence(counts)
        + f" Genes were matched to the {genes['n_model']:,} genes of scFoundation by {_id_type(genes)}; "
        f"{genes['n_measured']:,} of them ({genes['model_coverage']:.1f} %) were measured in this dataset, and "
        f"{genes['n_unknown']:,} rows of the file that are no gene of the model were left out."
    ]
    if record.maps is not None:
        parts.append(record.maps.methods)
    elif record.named or record.current is not None:
        parts.append("Cells were shown on the maps that the file itself holds.")
    parts += [task.methods for task in record.tasks if task.methods]
    for column in record.labels.values():
        parts.append(f"{_labelled(column, record.n_obs)}, by hand; every label and change is listed in this report.")
    if record.named:
        parts.append(
            f"{_count_word(len(record.named))} {'group' if len(record.named) == 1 else 'groups'} of cells "
            f"{'was' if len(record.named) == 1 else 'were'} selected by rules that are listed in full in this report."
        )
    parts += [_comparison_sentences(compared) for compared in record.comparisons]
    if record.enriched is not None:
        parts.append(_enrichment_sentences(record.enriched, record.comparisons[record.enriched.of]))
    if record.pictured is not None:
        parts.append(_picture_sentence(record.pictured))
    if record.composed is not None:
        parts.append(
            f"Cells of each value of {record.composed.parts.title} were counted within each group of "
            f"{record.composed.groups.title} ({record.composed.counts.sum():,} cells)."
        )
    parts.append(f"All steps were done with scfviz {version('scfviz')} (Python {platform.python_version()}).")
    return " ".join(parts)


def steps(record: AnalysisRecord) -> list[tuple[str, str]]:
    """(when, what) of everything that was done, in order; `when` is empty for what carries no time."""
    rows = [
        ("", f"Opened '{record.title}' ({record.format or 'file'}): {record.n_obs:,} cells, {record.n_vars:,} genes")
    ]
    rows += [("", f"Counts: {notice['text']}") for notice in record.counts["notices"]]
    rows.append(("", f"Genes: {record.genes['n_measured']:,} of the model's {record.genes['n_model']:,} were found"))
    timed: list[tuple[str, str]] = []
    if record.maps is not None:
        timed.append((_time(record.maps.finished), record.maps.done))
    timed += [
        (kept.created_at[:19].replace("T", " "), f"Named the selection '{kept.name}': {record.words(kept.rule)}")
        for kept in record.named
    ]
    timed += [(_time(task.finished), task.done) for task in record.tasks]
    timed += [
        (_time(compared.finished), f"Compared {compared.sides} with {TESTS[compared.method]}")
        for compared in record.comparisons
    ]
    if (enriched := record.enriched) is not None:
        what = "the whole ranking" if enriched.is_ranking else f"its {enriched.report['n_list']:,} top genes"
        text = f"Tested {what} for {enriched.report['n_sets']:,} gene sets ({enriched.sets})"
        timed.append((_time(enriched.finished), text))
    timed += [(_last_change(column), _labelled(column, record.n_obs)) for column in record.labels.values()]
    rows += sorted(timed, key=lambda row: row[0])
    if record.current is not None:
        what = f"'{record.current_name}'" if record.current_name else record.words(record.current)
        rows.append(("", f"Selected now: {what} ({record.n_current:,} cells)"))
    if record.colored is not None:
        rows.append(("", f"Coloured the maps by {record.colored.title}"))
    if record.pictured is not None:
        genes = "1 gene" if len(record.pictured.genes) == 1 else f"{len(record.pictured.genes)} genes"
        rows.append(("", f"Drew {PICTURES[record.pictured.kind]} of {genes} by {record.pictured.groups.title}"))
    if record.composed is not None:
        rows.append(("", f"Counted {record.composed.parts.title} within {record.composed.groups.title}"))
    return rows


def _labelled(column: Annotation, n_obs: int) -> str:
    counts = column.counts()
    groups = "1 label" if len(counts) == 1 else f"{len(counts)} labels"
    return f"Labelled {sum(counts.values()):,} of {n_obs:,} cells in '{column.name}' ({groups})"


def _last_change(column: Annotation) -> str:
    changes = column.history()
    return str(changes[-1].get("at", ""))[:19].replace("T", " ") if changes else ""


def citations(record: AnalysisRecord) -> list[str]:
    """What to cite for what was used."""
    used = ["anndata", *(name for task in record.contributions for name in task.cite)]
    if "pseudobulk" in record.methods:
        used += ["pydeseq2", "deseq2", "benjamini"]
    if record.methods - {"pseudobulk"}:
        used += ["scanpy", "benjamini"]
    if record.enriched is not None:
        used += ["gsea", "fgsea"] if record.enriched.is_ranking else ["benjamini"]
        used += [] if record.enriched.digest else ["gene ontology", "gene ontology 2021"]
    found = [text for name, text in CITATIONS.items() if name in used]
    return list(dict.fromkeys([*found, *(text for text in used if text not in CITATIONS)]))


def caveats(record: AnalysisRecord) -> list[str]:
    """What a reader must know before believing the results."""
    texts = [] if record.maps is None else list(record.maps.caveats)
    if record.counts["kind"] == "recovered":
        texts.append("The file held normalised values; counts were recovered from them and may differ from the true.")
    if record.methods - {"pseudobulk"}:
        texts.append(NOT_REPLICATES)
    if record.comparisons:
        texts.append(
            "Groups that were chosen by looking at expression (clusters, lassos, thresholds) differ by construction "
            "in the genes that made them."
        )
    if record.enriched is not None:
        texts.append(
            "Gene sets overlap, so neighbouring results often say the same thing; none of them is proof of a process."
        )
    if record.genes["model_coverage"] < 60:
        texts.append(
            f"Only {record.genes['model_coverage']:.0f} % of the model's genes were measured; the model knows nothing "
            "of the others in these cells."
        )
    return [*texts, *(text for task in record.tasks for text in task.caveats)]


def versions(record: AnalysisRecord) -> dict[str, str]:
    """The versions of Python and of the packages that computed."""
    packages = (*_PACKAGES, "pydeseq2") if "pseudobulk" in record.methods else _PACKAGES
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


def describe_enrichment(enriched: Enriched, compared: Compared) -> str:
    """What was tested for which gene sets, with which settings, as the beginning of a sentence."""
    options, report, sides = enriched.options, enriched.report, compared.report["selections"]
    between = f"the comparison of '{sides['group']}' with '{sides['reference']}'"
    sets = (
        f"{report['n_sets']:,} of the {report['n_sets_given']:,} gene sets of '{enriched.sets}' (those with "
        f"{options['smallest']:,} to {options['largest']:,} tested genes)"
    )
    if enriched.is_ranking:
        return f"All {report['n_genes']:,} tested genes, ranked by the score of {between}, were tested for {sets}"
    n = "The gene" if report["n_list"] == 1 else f"The {report['n_list']:,} genes"
    verb = "is" if report["n_list"] == 1 else "are"
    return (
        f"{n} that {verb} {options['direction']} in the first side of {between} (adjusted p at "
        f"most {options['max_padj']:g}, log2 fold change at least {options['min_change']:g}, at most "
        f"{options['most']:,} genes) {'was' if report['n_list'] == 1 else 'were'} tested for {sets}, with the "
        f"{report['n_genes']:,} tested genes as background"
    )


def _enrichment_sentences(enriched: Enriched, compared: Compared) -> str:
    what = describe_enrichment(enriched, compared)
    if enriched.is_ranking:
        return (
            f"{what}, by gene set enrichment analysis (Subramanian et al. 2005) with weight 1 and "
            f"{enriched.options['n_permutations']:,} permutations of the genes, which sets of one size shared "
            f"(Korotkevich et al. 2016), with random seed {enriched.options['seed']}."
        )
    return (
        f"{what}, by the hypergeometric test; p values were adjusted over the sets after Benjamini and Hochberg (1995)."
    )


def _picture_sentence(pictured: Pictured) -> str:
    genes = ", ".join(pictured.genes[:12]) + (f" and {len(pictured.genes) - 12} more" if pictured.genes[12:] else "")
    what = f"the mean of {UNIT} and the share of cells with any count"
    if pictured.kind == "violins":
        what = f"the distribution of {UNIT}"
    return (
        f"Expression of {genes} was summarised as {what} in {len(pictured.groups.names)} groups of "
        f"{pictured.groups.title} ({sum(pictured.groups.n_cells):,} cells)."
    )


def _time(seconds: float | None) -> str:
    from datetime import UTC, datetime

    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ", timespec="seconds")[:19]


def _count_word(count: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return words[count] if count < len(words) else f"{count:,}"
