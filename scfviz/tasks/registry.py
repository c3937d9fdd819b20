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
    version=4,
    writes=(
        Written("obsm", "X_scfoundation", "embedding", "scFoundation embedding"),
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
    version=1,
    writes=(
        Written("obs", "mapped_label", "mapped_label", "Label from the reference"),
        Written("obs", "mapped_nearest", "mapped_nearest", "Nearest label of the reference"),
        Written("obs", "mapped_runner_up", "mapped_runner_up", "Second nearest label"),
        Written("obs", "mapped_probability", "mapped_probability", "Probability of the nearest label"),
        Written("obs", "mapped_distance", "mapped_distance", "Distance to the reference", "times its own"),
        Written("obs", "mapped_p_value", "mapped_p_value", "Share of the reference that lies as far"),
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
        "scfviz.tasks.mapping.compute:map_cells",
        "scfviz.tasks.mapping.integrate:integrate_batches",
    ),
    command="map",
    page="mapping",
    screen="scfviz.ui.tasks.mapping",
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
    memory="scfviz.tasks.enhancement.run:memory",
    functions=("scfviz.tasks.enhancement.compute:enhance_counts",),
    command="enhance",
    page="enhancement",
    screen="scfviz.ui.tasks.enhancement",
    reporting="scfviz.tasks.enhancement.reporting",
)

_ANNOTATION = Task(
    name="annotation",
    title="Annotation",
    verb="Annotate the cells",
    question="What type is each cell? Learned from labelled cells, with how certain that is, and what is like none.",
    options="scfviz.tasks.annotation.options:AnnotationOptions",
    run="scfviz.tasks.annotation.run:run",
    version=1,
    writes=(
        Written("obs", "cell_type", "annotated_type", "Annotated type"),
        Written(
            "obs", "cell_type_confidence", "annotated_confidence", "Confidence of the annotated type", "probability"
        ),
        Written("obs", "cell_type_set", "annotated_set", "Possible types"),
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
    screen="scfviz.ui.tasks.annotation",
)

TASKS: dict[str, Task] = {task.name: task for task in (_EMBEDDING, _QUICK_MAP, _ENHANCEMENT, _ANNOTATION, _MAPPING)}


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
