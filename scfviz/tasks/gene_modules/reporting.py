"""What reports say of gene modules beyond their line: the steps in words, what to cite, and what to doubt."""

from scfviz.tasks import reporting
from scfviz.tasks.fragments import Cell, Section, Text
from scfviz.tasks.reporting import Answered

_METACELLS = (
    "Morabito S, Reese F, Rahimzadeh N, Miyoshi E, Swarup V (2023). hdWGCNA identifies co-expression networks in "
    "high-dimensional transcriptomics data. Cell Reports Methods 3, 100498. doi:10.1016/j.crmeth.2023.100498"
)
_LEIDEN = (
    "Traag VA, Waltman L, van Eck NJ (2019). From Louvain to Leiden: guaranteeing well-connected communities. "
    "Scientific Reports 9, 5233. doi:10.1038/s41598-019-41695-z"
)
_TREES = (
    "Moerman T, Aibar Santos S, Bravo González-Blas C, et al. (2019). GRNBoost2 and Arboreto: efficient and scalable "
    "inference of gene regulatory networks. Bioinformatics 35, 2159-2161. doi:10.1093/bioinformatics/bty916"
)
_ACTIVITY = (
    "Badia-i-Mompel P, Vélez Santiago J, Braunger J, et al. (2022). decoupleR: ensemble of computational methods to "
    "infer biological activities from omics data. Bioinformatics Advances 2, vbac016. doi:10.1093/bioadv/vbac016"
)
_SCORES = (
    "Satija R, Farrell JA, Gennert D, Schier AF, Regev A (2015). Spatial reconstruction of single-cell gene expression "
    "data. Nature Biotechnology 33, 495-502. doi:10.1038/nbt.3192"
)
_GO = (
    "Gene Ontology Consortium (2021). The Gene Ontology resource: enriching a GOld mine. Nucleic Acids Research 49, "
    "D325-D334. doi:10.1093/nar/gkaa1113"
)
_AUCELL = (
    "Aibar S, González-Blas CB, Moerman T, et al. (2017). SCENIC: single-cell regulatory network inference and "
    "clustering. Nature Methods 14, 1083-1086. doi:10.1038/nmeth.4463"
)
_ACTIVITIES = {
    "ulm": ("the t value of a univariate linear model over", _ACTIVITY),
    "aucell": (
        "the area under the curve (AUCell) that recovers, among the cell's 5 % most expressed genes,",
        _AUCELL,
    ),
}
_LOW = 0.5


def _activity_of(answered: Answered) -> str:
    return answered.result.report["options"].get("activity", "ulm")


def methods(answered: Answered) -> str:
    """How genes were linked, what a module and an edge are; with the numbers of this result."""
    result, scores = answered.result, answered.result.scores
    report, curve = result.report, result.tables["resolutions"]
    resolution = float(curve.loc[curve["is_chosen"], "resolution"].iloc[0])
    by_expression = "correlation over metacells (each cell with its nearest in principal components)"
    if report["checkpoint"] is None:
        links = f"Links between genes are their {by_expression}; no model was used."
    else:
        weights = {name[len("weight_") :]: value for name, value in scores.items() if name.startswith("weight_")}
        said = ", ".join(f"{name} {value:.2f}" for name, value in weights.items())
        links = (
            f"Links between genes combine their {by_expression} with how the context embeddings of the model "
            f"'{report['checkpoint']['name']}' (content {report['checkpoint']['hash']}) change together from cell to "
            f"cell" + (f", with weights learned on held-out cells ({said})." if said else ".")
        )
    text = (
        f"Gene modules were looked for among {scores['n_genes']:,.0f} genes, {scores['n_factors']:,.0f} of them "
        f"transcription factors (GO:0003700), in {report['n_obs']:,} cells. {links} Modules are communities of each "
        f"gene's 10 strongest links (Leiden method, resolution {resolution:g}); {scores['n_modules']:,.0f} were found, "
        f"which halves of the cells repeat with an adjusted Rand index of {scores['module_stability']:.2f}. Names are "
        "gene sets of the Gene Ontology that are over-represented and beat 95 % of 40 random sets of as many genes of "
        "like expression. A cell's score of a module is the mean of ln(1 + counts per 10,000) of its genes less that "
        "of control genes of like expression."
    )
    if "regulators" in result.tables:
        text += (
            " Each transcription factor has its 50 most closely linked genes as likely targets; its activity in a cell "
            f"is {_ACTIVITIES[_activity_of(answered)][0]} the targets that beat 95 % of a null of equally "
            "expressed genes and repeat in half of the halves of the cells."
        )
    return text


def citations(answered: Answered) -> tuple[str, ...]:
    """The model where it was used, metacells, Leiden, trees, activity, scores, and the Gene Ontology."""
    options, result = answered.result.report["options"], answered.result
    found = [] if result.report["checkpoint"] is None else ["scfoundation"]
    found += [_METACELLS, _LEIDEN, _SCORES, _GO]
    if len(result.tables["network"]) and options.get("trees", True):
        found.append(_TREES)
    if "regulators" in result.tables:
        found.append(_ACTIVITIES[_activity_of(answered)][1])
    return tuple(found)


def caveats(answered: Answered) -> tuple[str, ...]:
    """An untrained model; what edges are; modules that do not repeat; a model that adds nothing."""
    scores, found = answered.result.scores, list(reporting.caveats(answered))
    if len(answered.result.tables["network"]):
        found.append(
            "Gene modules: an edge from a transcription factor to a gene is a correlation, a lead for an experiment. "
            "On known networks edges were not ahead of the targets' mean expression alone."
        )
    if scores["n_modules"] and scores["module_stability"] < _LOW:
        found.append(
            f"Gene modules: in halves of the cells the modules repeat with an adjusted Rand index of "
            f"{scores['module_stability']:.2f}; which genes share one may differ in other cells."
        )
    if "model_gain_low" in scores and scores["model_gain_low"] <= 0:
        found.append("Gene modules: on these cells the model does not clearly add to co-expression.")
    return tuple(found)


def section(answered: Answered) -> Section:
    """What every task shows, begun with the methods above."""
    whole = reporting.section(answered)
    return Section(whole.title, [Text(methods(answered)), *list(whole.blocks)[1:]])


def script(answered: Answered) -> Cell:
    """The same computation, with its numbers compared; modules as gene sets and the network as a table."""
    whole, scores = reporting.script(answered), answered.result.scores
    lines = [
        f"check('modules', int(gene_modules.scores['n_modules']), {int(scores['n_modules'])})",
        'for table in ("genes", "modules", "links", "network"):',
        '    gene_modules.tables[table].to_csv(RESULTS / f"gene_modules_{table}.csv", index=False)',
    ]
    text = f"{whole.text} Genes with their modules, links, and targets of transcription factors go into tables."
    return Cell(text, "\n".join([whole.code, *lines]))
