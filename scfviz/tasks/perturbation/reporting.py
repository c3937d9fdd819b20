"""What reports say of a perturbation screen beyond its line: what to cite, and what a reader must know first."""

from scfviz.tasks import reporting
from scfviz.tasks.perturbation.fit import KIND_TITLES
from scfviz.tasks.reporting import Answered

_LINEAR = (
    "Ahlmann-Eltze C, Huber W, Anders S (2025). Deep-learning-based gene perturbation effect prediction does not yet "
    "outperform simple linear baselines. Nature Methods 22, 1657-1661. doi:10.1038/s41592-025-02772-6"
)
_MIXSCAPE = (
    "Papalexi E, Mimitou EP, Butler AW, et al. (2021). Characterizing the molecular regulation of inhibitory immune "
    "checkpoints with multimodal single-cell screens. Nature Genetics 53, 322-331. doi:10.1038/s41588-021-00778-2 "
    "(cells that escaped)"
)
_GO = (
    "Gene Ontology Consortium (2021). The Gene Ontology resource: enriching a GOld mine. Nucleic Acids Research 49, "
    "D325-D334. doi:10.1093/nar/gkaa1113"
)
_GRAPH = (
    "Roohani Y, Huang K, Leskovec J (2024). Predicting transcriptional outcomes of novel multigene perturbations with "
    "GEARS. Nature Biotechnology 42, 927-935. doi:10.1038/s41587-023-01905-6 (the network over the graph of genes is "
    "made after it)"
)
_WEAK = 0.95


def citations(answered: Answered) -> tuple[str, ...]:
    """The model's gene embeddings, the linear views, the graph, escaped cells and the Gene Ontology."""
    return ("scfoundation", _LINEAR, _GRAPH, _MIXSCAPE, _GO)


def caveats(answered: Answered) -> tuple[str, ...]:
    """Predictions that are hardly better than saying that nothing changes, and those that were not measured."""
    found = list(reporting.caveats(answered))
    for kind, scores in answered.result.scores.items():
        ratio = scores["views"]["combination"]["error_ratio"]
        if ratio is not None and ratio > _WEAK:
            found.append(
                f"Perturbation: predictions of '{KIND_TITLES[kind]}' have {ratio:.0%} of the squared error of saying "
                "that nothing changes."
            )
    if answered.result.report.get("predictor") is not None:
        found.append(
            "Perturbation: predictions are changes of population means in the screen's own line, not of cells."
        )
    return tuple(found)
