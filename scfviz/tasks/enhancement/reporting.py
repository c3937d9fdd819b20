"""What reports say of an enhancement: how it was made, what it is worth here, what it must not serve for."""

from scfviz.tasks.enhancement.options import (
    COMBINATION,
    DEFAULT_FOLD,
    LOW_RANK,
    NEIGHBORS,
    POSTERIOR,
    WITH_INTERVALS,
)
from scfviz.tasks.reporting import Answered

_BATSON = (
    "Batson J, Royer L, Webber J. Molecular cross-validation for single-cell RNA-seq. bioRxiv 786269 (2019). "
    "doi:10.1101/786269"
)
_SAVER = (
    "Huang M, Wang J, Torre E, et al. SAVER: gene expression recovery for single-cell RNA sequencing. Nature Methods "
    "15, 539-542 (2018). doi:10.1038/s41592-018-0033-z"
)
_ANDREWS = (
    "Andrews TS, Hemberg M. False signals induced by single-cell imputation. F1000Research 7, 1740 (2019). "
    "doi:10.12688/f1000research.16613.2"
)


def methods(answered: Answered) -> str:
    """Sentences for a methods paragraph."""
    report, options = answered.result.report, answered.result.report["options"]
    method, about = options["method"], report["provenance"]
    depth = f"{options['depth_fold'] or DEFAULT_FOLD:g} times the depth of each cell"
    if options["target_depth"] is not None:
        depth = f"{options['target_depth']:,.0f} counts per cell, deeper cells as they are"
    how = f"the method '{method}'"
    if method in WITH_INTERVALS:
        model = f", the model '{report['checkpoint']['name']}' (content {report['checkpoint']['hash']})"
        how = (
            "a gamma-Poisson posterior (after Huang et al. 2018) whose prior is a product of the dataset's mean, the "
            f"neighbours' mean{model if method == COMBINATION else ''}, with weights learned on split counts"
        )
        if method != POSTERIOR:
            parts = ", ".join(f"{name} {weight:.2f}" for name, weight in about["mixture"]["weights"].items() if weight)
            how = f"a weighted mean, learned on a tenth of the counts ({parts}), of simple methods and {how}"
    elif method == NEIGHBORS:
        how = f"the mean of each cell and its {about['n_neighbors']} nearest neighbours"
    elif method == LOW_RANK:
        how = f"the leading {about['rank']} principal components"
    n_genes = len(answered.result.tables["genes"])
    return (
        f"Expression of {n_genes:,} genes in {report['n_obs']:,} cells was predicted for {depth} by {how}. It was "
        "judged by molecular cross-validation (Batson et al. 2019): a tenth of the counts was held back."
        f"{_worth(answered)}"
    )


def _worth(answered: Answered) -> str:
    scores = answered.result.scores
    if "effective_fold" not in scores:
        return " Too few counts could be held back for a verdict."
    text = (
        f" The median correlation per gene with these counts ({scores['genes_compared']:,} genes, "
        f"{scores['cells_compared']:,} cells) was {scores['correlation_per_gene']:.3f}, of the counts themselves "
        f"{scores['correlation_per_gene_of_input']:.3f}, which is that of counts {scores['effective_fold']:.2f} times "
        f"as deep (90 % interval {scores['effective_fold_low']:.2f} to {scores['effective_fold_high']:.2f})."
    )
    if "gain_by_the_model" in scores:
        text += (
            f" The model changed it by {scores['gain_by_the_model']:+.4f} against the dataset alone "
            f"({scores['gain_by_the_model_low']:+.4f} to {scores['gain_by_the_model_high']:+.4f})."
        )
    return text


def citations(answered: Answered) -> tuple[str, ...]:
    """What to cite."""
    method = answered.result.report["options"]["method"]
    own = ("scfoundation",) if method == COMBINATION else ()
    return (*own, *([_SAVER] if method in WITH_INTERVALS else []), _BATSON, _ANDREWS)


def caveats(answered: Answered) -> tuple[str, ...]:
    """What a reader must know before believing the values."""
    result = answered.result
    method, table = result.report["options"]["method"], result.tables["methods"]
    text = "Enhanced values are predictions: they must not be tested for differential expression."
    if "false_positives" in table and method in table["method"].tolist():
        wrong = table.set_index("method").loc[method, "false_positives"]
        if wrong == wrong:
            text += f" On these cells {wrong:.0f} % of genes without any difference came out as different at p < 0.05."
    untrained = method == COMBINATION and not result.report["checkpoint"]["is_trained"]
    return (text, *(("Enhancement: the model is untrained and says nothing about the cells.",) if untrained else ()))
