"""The tasks: one line for each. Everything that a layer knows of a task, it knows from here."""

from collections.abc import Iterator

from scfviz.errors import OptionError
from scfviz.tasks.spec import Task, Written

_LOG_UNIT = "ln(1 + counts per 10,000)"

_EMBEDDING = Task(
    name="embedding",
    title="Cell embedding",
    verb="Compare the maps",
    question="The model's map of the cells beside the standard one, coloured by label, gene or quality.",
    options="scfviz.tasks.embedding.options:EmbeddingOptions",
    run="scfviz.tasks.embedding.run:run",
    reads_cell_space=True,
    on_cluster=True,
    version=5,
    writes=(
        Written("obsm", "X_scfoundation", "embedding", "scFoundation embedding"),
        Written("obsm", "X_scfoundation_space", "places", "Cell space of scFoundation"),
        Written("obsm", "X_scfviz_baseline", "baseline", "Principal components of variable genes"),
        Written("obsm", "X_scfviz_joint", "joint", "Joint embedding"),
        Written("obsm", "X_umap_scfoundation", "umap_model", "scFoundation", is_map=True),
        Written("obsm", "X_umap_baseline", "umap_baseline", "Baseline: variable genes + PCA", is_map=True),
        Written("obsm", "X_umap_joint", "umap_joint", "Both together", is_map=True),
        Written("obs", "leiden_scfoundation", "clusters_model", "Clusters of scFoundation's map"),
        Written("obs", "leiden_baseline", "clusters_baseline", "Clusters of the baseline's map"),
        Written("obs", "leiden_joint", "clusters_joint", "Clusters of both together"),
        Written("obs", "", "total_counts", "Counts per cell", "counts"),
        Written("obs", "", "n_genes", "Genes per cell", "genes"),
        Written("obs", "", "pct_counts_mt", "Mitochondrial share", "% of counts"),
    ),
    baseline="log-normalised counts, variable genes, principal components",
    icon=":material/scatter_plot:",
    memory="scfviz.tasks.embedding.run:memory",
    functions=(
        "scfviz.model.infer:embed_cells",
        "scfviz.tasks.embedding.compute:embed_baseline",
        "scfviz.tasks.embedding.compute:join_embeddings",
        "scfviz.tasks.embedding.compute:build_map",
    ),
    command="embed",
    add_command="scfviz.commands.inference:add_embed",
    page="cell_embedding",
    screen="scfviz.ui.tasks.embedding",
    reporting="scfviz.tasks.embedding.reporting",
)

_MAPPING = Task(
    name="mapping",
    title="Mapping to a reference",
    verb="Map the cells",
    question="Where do my cells lie on a reference, which types are they, and what has no counterpart there?",
    options="scfviz.tasks.mapping.options:MappingOptions",
    run="scfviz.tasks.mapping.run:run",
    on_cluster=True,
    version=1,
    writes=(
        Written("obs", "mapped_label", "mapped_label", "Label from the reference"),
        Written("obs", "mapped_nearest", "mapped_nearest", "Nearest label of the reference"),
        Written("obs", "mapped_runner_up", "mapped_runner_up", "Second nearest label"),
        Written("obs", "mapped_probability", "mapped_probability", "Probability of the nearest label"),
        Written("obs", "mapped_distance", "mapped_distance", "Distance to the reference", "times its own"),
        Written("obs", "mapped_p_value", "mapped_p_value", "Share of the reference that lies as far"),
        Written("obs", "mapped_likeness", "mapped_likeness", "Likeness of its cluster to the neighbours", "0 to 1"),
        Written("obs", "mapped_mixing", "mapped_mixing", "Mixing with the reference, or of batches", "0 to 1"),
        Written("obs", "mapped_cluster", "mapped_cluster", "Clusters of the mapped cells"),
        Written("obsm", "X_umap_reference", "umap_mapping", "On the reference's map", is_map=True),
        Written("obsm", "X_mapping", "mapping", "Joint space of query and reference"),
        Written("obsm", "X_umap_integrated", "umap_integrated", "Batches integrated", is_map=True),
        Written("obsm", "X_integrated", "integrated", "Joint space, batches integrated"),
    ),
    baseline="principal components of the reference's variable genes, the cells projected into them",
    icon=":material/add_location_alt:",
    memory="scfviz.tasks.mapping.run:memory",
    functions=(
        "scfviz.tasks.mapping.cells:map_cells",
        "scfviz.tasks.mapping.integrate:integrate_batches",
    ),
    command="map",
    page="mapping",
    screen="scfviz.ui.tasks.mapping.screen",
    reporting="scfviz.tasks.mapping.reporting",
)

_QUICK_MAP = Task(
    name="quick_map",
    title="Quick map",
    verb="Draw a quick map",
    question="A map of any cells in seconds, without a model: what the Explorer shows until there is another.",
    options="scfviz.tasks.spec:TaskOptions",
    run="scfviz.tasks.quick_map.run:run",
    version=2,
    writes=(
        Written("obsm", "X_umap_quick", "umap_quick", "Quick map: variable genes + PCA", is_map=True),
        Written("obs", "leiden_quick", "clusters_quick", "Clusters of the quick map"),
    ),
    baseline="this is the baseline: log-normalised counts, variable genes, principal components",
    needs_model=False,
    lane="quick",
    memory="scfviz.tasks.quick_map.run:memory",
    functions=("scfviz.tasks.quick_map.compute:draw_quick_map",),
)

_ENHANCEMENT = Task(
    name="enhancement",
    title="Enhancement",
    verb="Enhance the read depth",
    question="What would these cells show if they had been sequenced deeper, and how far can that be trusted?",
    options="scfviz.tasks.enhancement.options:EnhancementOptions",
    run="scfviz.tasks.enhancement.run:run",
    version=1,
    writes=(
        Written("layers", "scfoundation_enhanced", "enhanced", "Enhanced expression", _LOG_UNIT),
        Written("layers", "scfoundation_enhanced_low", "low", "Enhanced expression, 5 % end", _LOG_UNIT),
        Written("layers", "scfoundation_enhanced_high", "high", "Enhanced expression, 95 % end", _LOG_UNIT),
        Written("obs", "", "source_depth", "Read depth in the model's genes", "counts per cell"),
        Written("obs", "scfoundation_target_depth", "target_depth", "Target read depth", "counts per cell"),
    ),
    baseline="the counts themselves, gene and cluster means, smoothing over neighbours, low rank",
    icon=":material/auto_fix_high:",
    why_one_machine="A cell's prediction takes its neighbours' counts: each worker would need those of all cells.",
    memory="scfviz.tasks.enhancement.run:memory",
    functions=("scfviz.tasks.enhancement.prediction:enhance_counts",),
    command="enhance",
    page="enhancement",
    screen="scfviz.ui.tasks.enhancement.screen",
    reporting="scfviz.tasks.enhancement.reporting",
)

_ANNOTATION = Task(
    name="annotation",
    title="Annotation",
    verb="Annotate the cells",
    question="What type is each cell? Learned from labelled cells, with how certain that is, and what is like none.",
    options="scfviz.tasks.annotation.options:AnnotationOptions",
    run="scfviz.tasks.annotation.run:run",
    on_cluster=True,
    version=3,
    writes=(
        Written("obs", "cell_type", "annotated_type", "Annotated type"),
        Written(
            "obs", "cell_type_confidence", "annotated_confidence", "Confidence of the annotated type", "probability"
        ),
        Written("obs", "cell_type_set", "annotated_set", "Possible types"),
        Written("obs", "cell_type_certain", "annotated_certain", "What is certain of the type"),
        Written("obs", "cell_type_runner_up", "annotated_runner_up", "Second likeliest type"),
        Written("obs", "cell_type_credibility", "annotated_credibility", "Likeness to the reference", "p-value"),
        Written("obs", "cell_type_cluster", "annotated_cluster", "Clusters of the annotation"),
    ),
    baseline="logistic regression and nearest neighbours on the same cells' variable genes",
    icon=":material/label:",
    memory="scfviz.tasks.annotation.run:memory",
    functions=(
        "scfviz.tasks.annotation.compute:annotate_cells",
        "scfviz.tasks.annotation.compute:fit_classifier",
        "scfviz.tasks.annotation.classifier:read_classifier",
        "scfviz.tasks.annotation.classifier:save_classifier",
    ),
    command="annotate",
    add_command="scfviz.commands.annotation:add_annotate",
    page="annotation",
    screen="scfviz.ui.tasks.annotation.screen",
    reporting="scfviz.tasks.annotation.reporting",
)

_PERTURBATION = Task(
    name="perturbation",
    title="Perturbation",
    verb="Learn what perturbations do",
    question="What happens in these cells when a gene is switched off or on, and how far can a prediction be trusted?",
    options="scfviz.tasks.perturbation.options:PerturbationOptions",
    run="scfviz.tasks.perturbation.run:run",
    version=2,
    writes=(
        Written("obs", "perturbation_condition", "perturbation_condition", "Perturbation"),
        Written("obs", "perturbation_responded", "perturbation_responded", "Responded to it", "probability"),
    ),
    baseline="no change, the mean of the measured perturbations, the sum of single effects, nearest by Gene Ontology",
    icon=":material/switch_access_shortcut:",
    needs_model=False,
    memory="scfviz.tasks.perturbation.run:memory",
    functions=(
        "scfviz.data.perturbations:read_design",
        "scfviz.data.guides:assign_guides",
        "scfviz.tasks.perturbation.compute:fit_perturbations",
        "scfviz.tasks.perturbation.fit:predict_perturbation",
        "scfviz.tasks.perturbation.predictor:read_predictor",
        "scfviz.tasks.perturbation.predictor:save_predictor",
    ),
    command="perturb",
    add_command="scfviz.commands.perturbation:add_perturb",
    page="perturbation",
    screen="scfviz.ui.tasks.perturbation.screen",
    reporting="scfviz.tasks.perturbation.reporting",
)

_GENE_MODULES = Task(
    name="gene_modules",
    title="Gene modules",
    verb="Find gene modules",
    question="Which genes go together in these cells, what do they mean, and which regulators go with them?",
    options="scfviz.tasks.gene_modules.options:GeneModulesOptions",
    run="scfviz.tasks.gene_modules.run:run",
    on_cluster=True,
    version=4,
    writes=(
        Written("obs", "gene_module_group", "gene_module_group", "Groups of the gene modules"),
        *(
            Written(
                "obs", f"gene_module_{number}", f"gene_module_{number}", f"Score of gene module {number}", _LOG_UNIT
            )
            for number in range(1, 13)
        ),
        Written("obsm", "X_gene_modules", "module_scores", "Scores of gene modules"),
        Written("obsm", "X_regulators", "regulator_activity", "Activity of transcription factors"),
    ),
    baseline="co-expression over metacells (Pearson correlation)",
    icon=":material/hub:",
    memory="scfviz.tasks.gene_modules.run:memory",
    functions=(
        "scfviz.tasks.gene_modules.compute:find_gene_modules",
        "scfviz.tasks.gene_modules.compute:infer_network",
        "scfviz.tasks.gene_modules.prior:read_prior",
    ),
    command="modules",
    add_command="scfviz.commands.gene_modules:add_modules",
    page="gene_modules",
    screen="scfviz.ui.tasks.gene_modules.screen",
    reporting="scfviz.tasks.gene_modules.reporting",
)

_IN_SILICO = Task(
    name="in_silico",
    title="In-silico perturbation",
    verb="Change a gene in silico",
    question="What does the model make of my cells when one gene's counts are changed? Exploration, not a prediction.",
    options="scfviz.tasks.perturbation.options:InSilicoOptions",
    run="scfviz.tasks.perturbation.insilico:run",
    version=1,
    writes=(Written("obs", "in_silico_shift", "in_silico_shift", "Shift in silico", "distances to the nearest cell"),),
    baseline="the same cells unchanged",
    memory="scfviz.tasks.perturbation.insilico:memory",
    functions=("scfviz.tasks.perturbation.insilico:perturb_in_silico",),
    screen="scfviz.ui.tasks.perturbation.in_silico",
)

_RESPONSE = Task(
    name="response",
    title="Response of cell types",
    verb="Predict each type's response",
    question="What does a treatment do to a cell type in which it was not measured? Predicted from the other types.",
    options="scfviz.tasks.response.options:ResponseOptions",
    run="scfviz.tasks.response.run:run",
    version=1,
    writes=(Written("obs", "", "response_group", "Cell type and treatment"),),
    baseline="the mean shift of the other cell types, each gene by its own level, the nearest types by expression",
    memory="scfviz.tasks.response.run:memory",
    functions=(
        "scfviz.tasks.response.measure:measure_responses",
        "scfviz.tasks.response.learn:learn_responses",
        "scfviz.tasks.response.learn:predict_response",
    ),
    screen="scfviz.ui.tasks.perturbation.treatment",
    reporting="scfviz.tasks.response.reporting",
)

_DRUG_SENSITIVITY = Task(
    name="drug_sensitivity",
    title="Drug sensitivity of cells",
    verb="Predict the sensitivity of the cells",
    question="Which of these tumour cells would a drug hit, which would survive it, and how far is that known?",
    options="scfviz.tasks.drug_sensitivity.options:SensitivityOptions",
    run="scfviz.tasks.drug_sensitivity.run:run",
    version=1,
    writes=(
        Written("obs", "sensitivity_", "sensitivity_", "Sensitivity:", "probability", is_prefix=True),
        Written("obs", "sensitivity_cluster", "sensitivity_cluster", "Clusters of the drug sensitivity"),
        Written("obs", "sensitivity_mean", "sensitivity_mean", "Mean sensitivity over all drugs", "probability"),
        Written("obs", "", "sensitivity_depth", "Counts on genes that tell sensitivity", "counts"),
        Written("obs", "", "sensitivity_s_phase", "Expression of genes of the S phase", _LOG_UNIT),
        Written("obs", "", "sensitivity_g2m_phase", "Expression of genes of the G2/M phase", _LOG_UNIT),
        Written("obsm", "X_umap_sensitivity", "umap_sensitivity", "Map of the drug sensitivity", is_map=True),
    ),
    baseline="ridge regression of bulk lines on each cell alone; read depth and cell cycle",
    icon=":material/medication:",
    needs_model=False,
    memory="scfviz.tasks.drug_sensitivity.run:memory",
    functions=(
        "scfviz.tasks.drug_sensitivity.compute:predict_sensitivity",
        "scfviz.tasks.drug_sensitivity.predictor:read_predictor",
    ),
    screen="scfviz.ui.tasks.drug_response.cells",
    reporting="scfviz.tasks.drug_sensitivity.reporting",
)

_DRUG_RESPONSE = Task(
    name="drug_response",
    title="Drug response",
    verb="Predict drug responses",
    question="Which drugs act on these tumours, lines or cells, how sure is that, and what is it worth?",
    options="scfviz.tasks.drug_response.options:DrugResponseOptions",
    run="scfviz.tasks.drug_response.run:run",
    version=1,
    writes=(
        Written("obs", "drug_general", "drug_general", "General sensitivity to drugs", "ln(uM)"),
        Written("obs", "", "drug_general_percentile", "General sensitivity among training lines", "percentile"),
        Written("obs", "", "drug_distance_percentile", "Distance from the training lines", "percentile"),
    ),
    baseline="the mean of the drug, and that with the general sensitivity of the line",
    icon=":material/medication:",
    needs_model=False,
    functions=(
        "scfviz.tasks.drug_response.compute:predict_ic50",
        "scfviz.tasks.drug_response.compute:predict_new_drug",
        "scfviz.tasks.drug_response.compute:responses_table",
        "scfviz.tasks.drug_response.fit:fit_drug_response",
        "scfviz.tasks.drug_response.samples:open_samples",
        "scfviz.tasks.drug_response.store:read_drug_predictor",
        "scfviz.tasks.drug_response.store:save_drug_predictor",
    ),
    command="drugs",
    add_command="scfviz.commands.drugs:add_drugs",
    page="drug_response",
    screen="scfviz.ui.tasks.drug_response.screen",
)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _EMBEDDING,
        _QUICK_MAP,
        _ENHANCEMENT,
        _ANNOTATION,
        _MAPPING,
        _GENE_MODULES,
        _PERTURBATION,
        _RESPONSE,
        _IN_SILICO,
        _DRUG_SENSITIVITY,
        _DRUG_RESPONSE,
    )
}


def get_task(name: str) -> Task:
    """The task called `name`.

    Raises
    ------
    OptionError
        There is none.
    """
    if name not in TASKS:
        raise OptionError(f"'{name}' is no task.", f"There are: {', '.join(TASKS)}.", "Choose one of them.")
    return TASKS[name]


def public_functions() -> dict[str, str]:
    """Name of each public function of a task -> its module."""
    paths = [path for task in TASKS.values() for path in task.functions]
    return {name: module for module, _, name in (path.partition(":") for path in paths)}


def written(part: str) -> Iterator[Written]:
    """What all tasks write into `obs`, `obsm` or `layers`."""
    for task in TASKS.values():
        yield from (entry for entry in task.writes if entry.part == part)
