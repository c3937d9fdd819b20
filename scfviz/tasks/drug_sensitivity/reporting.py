"""What reports say of the sensitivity of cells beyond its line: what to cite, and what a reader must know first."""

from scfviz.tasks import reporting
from scfviz.tasks.drug_sensitivity.card import CAVEAT
from scfviz.tasks.reporting import Answered

_GDSC = (
    "Iorio F, Knijnenburg TA, Vis DJ, et al. (2016). A landscape of pharmacogenomic interactions in cancer. Cell 166, "
    "740-754. doi:10.1016/j.cell.2016.06.017"
)
_RIDGE = (
    "Geeleher P, Cox NJ, Huang RS (2014). Clinical drug response can be predicted using baseline gene expression "
    "levels and in vitro drug sensitivity in cell lines. Genome Biology 15, R47. doi:10.1186/gb-2014-15-3-r47"
)
_CYCLE = (
    "Tirosh I, Izar B, Prakadan SM, et al. (2016). Dissecting the multicellular ecosystem of metastatic melanoma by "
    "single-cell RNA-seq. Science 352, 189-196. doi:10.1126/science.aad0501 (genes of the cell cycle)"
)


def citations(answered: Answered) -> tuple[str, ...]:
    """The responses, ridge regression on bulk lines, genes of the cell cycle."""
    return (_GDSC, _RIDGE, _CYCLE)


def methods(answered: Answered) -> str:
    """Sentences for a methods paragraph."""
    about = answered.result.report["provenance"]
    smoothed = ", averaged over each cell and its 15 nearest cells" if about["is_smoothed"] else ""
    return (
        f"Sensitivity of {answered.result.report['n_obs']:,} cells to drugs was predicted by ridge regression learned "
        f"from ln(IC50) and expression of {about['n_lines']:,} cell lines of GDSC2{smoothed} ({about['n_measured']:,} "
        f"of {about['n_genes']:,} genes measured); probabilities are calibrated on pseudo-cells of held-out lines."
    )


def caveats(answered: Answered) -> tuple[str, ...]:
    """Research use, cells that are no growing tumour cells, drugs of little trust."""
    found, about = [*reporting.caveats(answered), CAVEAT], answered.result.report["provenance"]
    if about["domain"] != "growing":
        found.append(
            "Drug sensitivity: the cells divide less than cell lines do; of healthy cells the predictions say nothing."
        )
    trust = answered.result.tables["drugs"].set_index("drug")["trust"]
    weak = [name for name in about["drugs"] if trust.get(name) in ("none", "not measured")]
    if weak:
        found.append(f"Drug sensitivity: on held-out lines nothing was shown for {', '.join(weak)}.")
    return tuple(found)
