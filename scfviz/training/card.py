"""The model card of a trained checkpoint: what it saw, what it cost, how it scores, what it is not."""

from typing import Any

from scfviz.model.cell_space import CellSpace
from scfviz.model.config import ModelConfig
from scfviz.training.options import MaskingOptions

# What people want of a model, and the score and metric of `scfviz benchmark` that say how well it does it.
USES = (
    ("Guess expression that was hidden", "masked recovery", "MSE, masked expressed entries"),
    ("Make a shallow cell deep: error over all genes", "read-depth recovery", "MAE"),
    ("... relative error of expressed genes", "read-depth recovery", "MRE of expressed genes"),
    ("... correlation with the deep cell", "read-depth recovery", "Pearson of a cell"),
    ("Put cells of a type next to each other", "cell representation", "kNN macro-F1"),
    ("Find cell types as clusters", "cell representation", "Leiden ARI"),
    ("Name types by cells of another dataset: its nearest cells", "across datasets", "kNN macro-F1"),
    ("... a linear classifier", "across datasets", "linear-probe macro-F1"),
)
SPACE_HEAD = "## Cell space"
_WITH_DATASET = ", with the dataset"
_ABOUT = (
    "An scFoundation-type encoder-decoder (Hao et al. 2024, doi:10.1038/s41592-024-02305-7), trained with scfviz on "
    "public human single-cell data. It is small and saw few cells: read its scores before using it."
)


def describe_space(space: CellSpace) -> list[str]:
    """Lines of the card about a cell space that was fitted by `fit_cell_space`."""
    about = space.about
    low, high = about["shares"]
    return [
        "",
        SPACE_HEAD,
        "",
        f"`cell_space.safetensors` ({space.hash}) is a linear map of the frozen embedding, from {len(space.mean)} to "
        f"{space.dims} numbers, not in the published model. The model's own map, its neighbours and clusters are made "
        "in it; the embedding itself, and what else is computed from it, stay as they are.",
        "",
        f"- Fitted on {about['n_cells']:,} cells of {len(about['datasets'])} datasets of the corpus (at most "
        f"{about['cells_per_dataset']} of each), as they are and thinned to {low:.0%} to {high:.0%} of their counts",
        f"- No labels: positives are the {about['neighbors']} nearest cells in the principal components of the cell's "
        f"own dataset; contrast against its other cells, cosine at temperature {about['temperature']:g}, "
        f"{about['steps']:,} steps",
    ]


def write_card(
    name: str,
    config: ModelConfig,
    training: dict[str, Any],
    manifest: dict[str, Any],
    licence: str,
    *,
    scores: dict[str, Any] | None = None,
) -> str:
    """Model card in Markdown.

    Parameters
    ----------
    training
        As stored in the checkpoint's configuration.
    manifest
        Of the corpus.
    licence
        Of the weights.
    scores
        What `scfviz benchmark` found for these weights; the card begins with it.
    """
    learned = training["scores"]
    lines = [
        *introduce(name, scores),
        f"Weights: {licence}. The datasets keep their own licences (table below).",
        "",
        "## Scores",
        "",
        *_score_table(learned),
        "",
        "Mean squared error of ln(1 + counts per 10,000) on masked entries; lower is better. The gene's mean is taken "
        "over the training cells. The best constant per gene knows, in addition, that masked entries are more often "
        "expressed: a model that only learned which genes are high stands there. The scored cells are thinned as in "
        f"training. Scored after {int(learned.get('step', 0)):,} of {training['steps']:,} steps.",
        "",
        "## Training",
        "",
        f"- {training['steps']:,} steps, {training['cells_seen']:,} cells seen ({training['tokens_seen']:,} tokens), "
        f"{training['flops']:.2e} floating-point operations, {training['seconds'] / 60:.0f} minutes",
        f"- Hardware: {training['hardware']}",
        f"- Sizes: encoder {config.encoder_layers} layers of width {config.encoder_width}, decoder "
        f"{config.decoder_layers} layers of width {config.decoder_width}, {config.n_genes:,} genes",
        f"- Batch of {training['batches']['batch_size']} cells; at most {training['batches']['max_genes'] or 'all'} "
        f"visible genes per cell and {training['batches']['decoder_rows'] or 'all'} decoder rows in training"
        + _describe_batches(training["batches"]),
        *_describe_depths(training.get("depths")),
        f"- Objective: {_describe_objective(training['objective'])}",
        f"- Learning rate {training['optimiser']['learning_rate']:g}, precision {training['optimiser']['precision']}; "
        f"the weights are a running average (decay {training['optimiser']['average']:g})",
        *_describe_start(training["start_from"]),
        "",
        "The loss curve is in `log.csv`.",
        "",
        "## Data",
        "",
        f"{manifest['n_cells']:,} cells; {manifest['n_held_out_cells']:,} cells and "
        f"{manifest['n_held_out_dataset_cells']:,} cells of whole datasets were held out.",
        "",
        "| dataset | cells for training | held out | tissue | platform | licence of the source |",
        "|---|---|---|---|---|---|",
        *(
            f"| {s['name']} | {s['n_train']:,} | {s['n_kept'] - s['n_train']:,} | {_joined(s['tissue'])} | "
            f"{_joined(s['platform'])} | {_cell(s['licence'])} |"
            for s in manifest["sources"]
        ),
        "",
        "## Limits",
        "",
        "- Tissues and platforms that the table lacks are unknown to the model.",
        "- It is no substitute for the published 100M model, which saw 50 million cells.",
        "- Compare every result with its simple baseline; the app shows both.",
        "",
    ]
    return "\n".join(lines)


def _score_table(scores: dict[str, float]) -> list[str]:
    if "validation_expressed" not in scores:
        return ["Not validated: the corpus holds no cell for it."]
    rows = [
        "| masked entries | model | gene's mean | best constant per gene |",
        "|---|---|---|---|",
        f"| expressed, held-out cells | {scores['validation_expressed']:.4f} | {scores['baseline_expressed']:.4f} | "
        f"{scores['baseline_expressed_masked']:.4f} |",
    ]
    if "datasets_expressed" in scores:
        rows.append(
            f"| expressed, held-out datasets | {scores['datasets_expressed']:.4f} | "
            f"{scores['datasets_baseline_expressed']:.4f} | {scores['datasets_baseline_expressed_masked']:.4f} |"
        )
    return rows


def introduce(name: str, scores: dict[str, Any] | None) -> list[str]:
    """First lines of a card: where the weights win and lose against the best simple method, and what they are."""
    return [f"# {name}", "", *_describe_benchmark(scores), _ABOUT, ""]


def _describe_benchmark(report: dict[str, Any] | None) -> list[str]:
    """A line for each thing that weights are used for."""
    if report is None:
        return []
    found = {(entry["score"], entry["metric"]): entry for entry in report["summary"]}
    rows = []
    for words, score, metric in USES:
        if alone := found.get((score, metric)):
            both = found.get((score + _WITH_DATASET, metric), {})
            rows.append(f"| {words} | {_count(alone)} | {_count(both)} | {_count(both.get('model_adds'))} |")
    return [
        "| on datasets that it never saw | the model alone | with the dataset | ... beside without the model |",
        "|---|---|---|---|",
        *rows,
        "",
        "Counted is where a score is clearly ahead of, or behind, the best of several simple methods, which see the "
        "whole dataset where the model sees one cell. With the dataset, as the app uses it, the model's guess joins "
        "what those see, by weights learned there. Every number is in `scores.md`.",
        "",
    ]


def _count(entry: dict[str, int] | None) -> str:
    if not entry:
        return ""
    n = entry["ahead"] + entry["behind"] + entry["no clear difference"]
    return f"ahead {entry['ahead']}, behind {entry['behind']} of {n}"


def _describe_depths(depths: dict[str, Any] | None) -> list[str]:
    if not depths:
        return []
    return [f"- Read depth: 98 % of the training cells have {depths['low']:,.0f} to {depths['high']:,.0f} counts"]


def _describe_batches(batches: dict[str, Any]) -> str:
    text = ""
    if batches.get("long_cells"):
        text += f"; {100 * batches['long_cells']:g} % of the cells with up to {batches['long_genes']:,} visible genes"
    if batches.get("balance", 1.0) != 1:
        text += f"; datasets drawn as their number of cells to the power {batches['balance']:g}"
    return text


def _describe_objective(objective: dict[str, Any]) -> str:
    published = MaskingOptions()
    text = (
        f"{100 * objective['down_sampling']:g} % of the cells thinned to a share from Beta({objective['beta_a']:g}, "
        f"{objective['beta_b']:g}); of the masked entries {100 * objective['mask_token']:g} % hidden and "
        f"{100 * objective['random_value']:g} % replaced by a random value"
    )
    names = ("down_sampling", "beta_a", "beta_b", "mask_token", "random_value")
    if any(objective[name] != getattr(published, name) for name in names):
        text += (
            f" (published: {100 * published.down_sampling:g} %, Beta({published.beta_a:g}, {published.beta_b:g}), "
            f"{100 * published.mask_token:g} % and {100 * published.random_value:g} %)"
        )
    return text


def _describe_start(before: dict[str, Any] | None) -> list[str]:
    if not before:
        return []
    return [
        f"- Started from the checkpoint {before['name']} ({before['hash']}), which had taken {before['steps']:,} steps "
        f"with {before['cells_seen']:,} cells and {before['flops']:.2e} operations in {before['seconds'] / 60:.0f} "
        "minutes; the figures above are without them"
    ]


def _joined(words: list[str]) -> str:
    shown = ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
    return _cell(shown or "not stated")


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
