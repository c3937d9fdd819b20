"""What reports, methods and scripts say of an embedding and its maps."""

from collections.abc import Mapping
from typing import Any

from scfviz.tasks.embedding.sampled import N_KEPT
from scfviz.tasks.fragments import Block, Cell, Pairs, Section, Table, Text
from scfviz.tasks.reporting import Answered, describe_filters

_SPACES = {"model": "embedding", "baseline": "baseline", "joint": "joint"}  # by the name of the map in the result
_TITLES = {"model": "model", "baseline": "variable genes + PCA", "joint": "both together"}


def step(answered: Answered) -> str:
    """What was done, in one line of the record."""
    report, filters = answered.result.report, _filters(answered)
    n_in_file = report["n_obs"] + report["n_removed"]
    kept = f"Kept cells with {filters}: {report['n_removed']:,} of {n_in_file:,} removed. " if filters else ""
    text = f"{kept}Embedded {report['n_obs']:,} cells with {report['checkpoint']['name']}, the baseline, and both"
    return f"{text}; made neighbours, UMAP and clusters of each{_of_sample(answered)}"


def methods(answered: Answered) -> str:
    """Sentences for a methods paragraph."""
    report, filters = answered.result.report, _filters(answered)
    provenance, checkpoint = report["provenance"], report["checkpoint"]
    n_in_file = report["n_obs"] + report["n_removed"]
    kept = f"Cells with {filters} were kept ({report['n_obs']:,} of {n_in_file:,}). " if filters else ""
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
    space = ""
    if provenance.get("cell_space"):
        space = (
            f" For its map, neighbours and clusters, the embedding was brought into the model's cell space (content "
            f"{provenance['cell_space']}): a linear map, fitted without labels on datasets that the model was trained "
            "on, which brings neighbours in a dataset's own principal components together."
        )
    untrained = "" if checkpoint["is_trained"] else "untrained "
    return (
        f"{kept}Cells were embedded with the encoder of the {untrained}scFoundation-type model "
        f"'{checkpoint['name']}' (content {checkpoint['hash']}; Hao et al. 2024) with {depth}; {pooling} "
        f"(precision {provenance['precision']}).{space} As a baseline, counts were normalised to 10,000 per cell and "
        "log-transformed, up to 2,000 highly variable genes were chosen, and up to 50 principal components were "
        "computed with scanpy (Wolf et al. 2018). As a third representation, the embedding was standardised and "
        "reduced to up to 20 principal components, which were given a quarter of the variance of the baseline's and "
        "put beside them. For each representation, 15 nearest neighbours, a UMAP (McInnes et al. 2018) and Leiden "
        f"clusters at resolution 1 (Traag et al. 2019) were computed with random seed 0{_of_sample(answered)}."
    )


def citations(_answered: Answered) -> tuple[str, ...]:
    """What to cite."""
    return ("scfoundation", "scanpy", "umap", "leiden")


def caveats(answered: Answered) -> tuple[str, ...]:
    """What a reader must know of the maps."""
    untrained = (
        "The model is untrained: its weights are random, so its map and clusters say nothing about the cells. "
        "The baseline beside it is a real result."
    )
    umap = (
        "In a UMAP only neighbourhoods mean something: sizes of groups and distances between far groups do not. "
        "Another computer or another version of the packages can draw it differently."
    )
    return (umap,) if answered.result.report["checkpoint"]["is_trained"] else (untrained, umap)


def section(answered: Answered) -> Section:
    """The checkpoint, and how its clusters agree with labels of this dataset."""
    checkpoint, provenance = answered.result.report["checkpoint"], answered.result.report["provenance"]
    rows = {
        "Name": checkpoint["name"],
        "Content": checkpoint["hash"],
        "Trained": "yes" if checkpoint["is_trained"] else "no: its weights are random",
        "Licence of the weights": checkpoint["licence"],
        "Precision, device": f"{provenance['precision']}, {provenance['device']}",
    }
    scores = answered.result.scores
    pictures = _fidelity(scores.get("pictures", {}))
    return Section("Model", [Pairs(rows, "Model"), *pictures, *_agreement(scores.get("agreement", {}))])


def cells(answered: Answered, names: Mapping[str, str]) -> tuple[Cell, ...]:
    """The steps of the script: embeddings, then maps; they leave `model`, `kept`, `cells`, `table` and `maps`."""
    return _embed(answered), _draw(answered, names)


def columns(_answered: Answered, _names: Mapping[str, str]) -> str:
    """The table of all cells, and which of them take part."""
    return """\
obs = counts.obs.join(table[[name for name in table if name not in counts.obs]])
takes_part = np.isin(np.arange(counts.n_obs), kept)
"""


def _embed(answered: Answered) -> Cell:
    from scfviz.model.checkpoint import checkpoint_info, default_checkpoint

    report, options = answered.result.report, answered.result.report["options"]
    provenance, checkpoint = report["provenance"], report["checkpoint"]
    arguments = {
        "target_depth": options.get("target_depth"),
        "depth_fold": options.get("depth_fold"),
        "pooling": options.get("pooling") or "all",
        "precision": provenance["precision"],
        "device": "cpu" if provenance["device"] == "cpu" else "auto",
    }
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if value is not None)
    filters = {name: value for name, value in (options.get("filters") or {}).items() if value is not None}
    limits = "".join(f", {name}={value!r}" for name, value in sorted(filters.items()))
    is_default = checkpoint_info(default_checkpoint()).hash == checkpoint["hash"]
    folder = "default_checkpoint()" if is_default else f"Path({checkpoint['name']!r})  # the folder of this model"
    content = places = ""
    if space := provenance.get("cell_space"):
        content = f'check("content of its cell space", model.cell_space and model.cell_space.hash, {space!r})\n'
        places = 'places = model.arrange(embedding)\nnp.save(RESULTS / "places.npy", places)\n'
    code = f"""\
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint

CHECKPOINT = {folder}
check("content of the model", checkpoint_info(CHECKPOINT).hash, {checkpoint["hash"]!r})
model = scfviz.load_checkpoint(CHECKPOINT)
{content}aligned = opened.align(model.genes)
metrics = qc_metrics(counts)
kept = np.flatnonzero(filter_cells(metrics, model_counts=counts.known_counts{limits}))
check("cells that are kept", len(kept), {int(report["n_obs"])})
cells = aligned.subset(kept)
embedding = scfviz.embed_cells(cells, model, {given}).values
{places}baseline = scfviz.embed_baseline(cells)
joint = scfviz.join_embeddings(baseline, embedding)
np.save(RESULTS / "embedding.npy", embedding)
np.save(RESULTS / "baseline.npy", baseline)
np.save(RESULTS / "joint.npy", joint)"""
    words = describe_filters(filters)
    kept = f"Keep cells with {words}. " if words else ""
    return Cell(f"{kept}Embed the cells with the model, and compute the baseline and both together.", code)


def _draw(answered: Answered, names: Mapping[str, str]) -> Cell:
    arrays = _SPACES | ({"model": "places"} if answered.result.report["provenance"].get("cell_space") else {})
    spaces = ", ".join(
        f"({names[f'umap_{space}']!r}, {names[f'clusters_{space}']!r}, {values})" for space, values in arrays.items()
    )
    code = f"""\
table = metrics.iloc[kept].set_index(cells.obs.index)
maps = {{}}
for name, clusters, values in ({spaces}):
    drawn = scfviz.build_map(values)
    maps[name] = np.full((counts.n_obs, 2), np.nan, dtype=np.float32)
    maps[name][kept] = drawn.umap
    np.save(RESULTS / f"{{name}}.npy", drawn.umap)
    order = sorted(set(drawn.clusters), key=int)
    table[clusters] = pd.Categorical(drawn.clusters, categories=order)"""
    return Cell("Neighbours, UMAP and clusters of each.", code)


def _agreement(agreement: Mapping[str, Any]) -> list[Block]:
    rows = []
    for label, found in agreement.items():
        for space, name in _TITLES.items():
            if space not in found:  # a result of an older version
                continue
            scores = found[space]
            numbers = ["–" if scores.get(k) is None else f"{scores[k]:.2f}" for k in ("ari", "nmi", "silhouette")]
            rows.append((label, name, *numbers, f"{scores['n']:,}"))
    if not rows:
        return []
    head = ("Labels", "Map", "Rand index (ARI)", "Mutual information (NMI)", "Silhouette", "Cells")
    text = Text("Agreement with labels of the file (1 is perfect):")
    return [text, Table(head, rows, "Agreement", range(2, 6))]


def _of_sample(answered: Answered) -> str:
    """What was done with the cells that were not laid out; nothing where all were."""
    pictures = answered.result.scores.get("pictures")
    if not pictures:
        return ""
    found = next(iter(pictures.values()))
    return (
        f" on a random sample of {found['n_laid_out']:,} cells, by which components were found, too; the other "
        f"{found['n_placed']:,} were placed at the weighted mean of their nearest sampled cells, and took the cluster "
        "of most of these"
    )


def _fidelity(pictures: Mapping[str, Any]) -> list[Block]:
    """Share of true neighbours that each picture keeps, of placed cells and of those that were laid out."""
    if not pictures:
        return []
    rows = [(name, *(f"{pictures[space][k]:.2f}" for k in ("placed", "laid_out"))) for space, name in _TITLES.items()]
    found = next(iter(pictures.values()))
    text = (
        f"{found['n_laid_out']:,} cells were laid out, {found['n_placed']:,} placed among them. Share of a cell's "
        f"{N_KEPT} nearest cells in the representation that are among its {N_KEPT} nearest on the picture, for up to "
        f"{found['n_judged']:,} cells of each kind:"
    )
    return [Text(text), Table(("Map", "Placed cells", "Cells laid out"), rows, "Fidelity of the pictures", range(1, 3))]


def _filters(answered: Answered) -> str:
    return describe_filters(answered.result.report["options"].get("filters"))
