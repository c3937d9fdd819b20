"""The model card of a trained checkpoint: what it saw, what it cost, how it scores, what it is not."""

from typing import Any

from scfviz.model.config import ModelConfig


def write_card(name: str, config: ModelConfig, training: dict[str, Any], manifest: dict[str, Any], licence: str) -> str:
    """Model card in Markdown.

    Parameters
    ----------
    training
        As stored in the checkpoint's configuration.
    manifest
        Of the corpus.
    licence
        Of the weights.
    """
    scores = training["scores"]
    lines = [
        f"# {name}",
        "",
        "An scFoundation-type encoder-decoder (Hao et al. 2024, doi:10.1038/s41592-024-02305-7), trained with scfviz "
        "on public human single-cell data. It is small and saw few cells: read its scores before using it.",
        "",
        f"Weights: {licence}. The datasets keep their own licences (table below).",
        "",
        "## Scores",
        "",
        *_score_table(scores),
        "",
        "Mean squared error of ln(1 + counts per 10,000) on masked entries; lower is better. The gene's mean is taken "
        "over the training cells. The best constant per gene knows, in addition, that masked entries are more often "
        "expressed: a model that only learned which genes are high stands there. Half of the scored cells are thinned, "
        f"as in training. Scored after {int(scores.get('step', 0)):,} of {training['steps']:,} steps.",
        "",
        "## Training",
        "",
        f"- {training['steps']:,} steps, {training['cells_seen']:,} cells seen ({training['tokens_seen']:,} tokens), "
        f"{training['flops']:.2e} floating-point operations, {training['seconds'] / 60:.0f} minutes",
        f"- Hardware: {training['hardware']}",
        f"- Sizes: encoder {config.encoder_layers} layers of width {config.encoder_width}, decoder "
        f"{config.decoder_layers} layers of width {config.decoder_width}, {config.n_genes:,} genes",
        f"- Batch of {training['batches']['batch_size']} cells; at most {training['batches']['max_genes'] or 'all'} "
        f"visible genes per cell and {training['batches']['decoder_rows'] or 'all'} decoder rows in training",
        f"- Learning rate {training['optimiser']['learning_rate']:g}, precision {training['optimiser']['precision']}; "
        f"the weights are a running average (decay {training['optimiser']['average']:g})",
        *([f"- Started from the checkpoint {training['start_from']}"] if training["start_from"] else []),
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


def _joined(words: list[str]) -> str:
    shown = ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
    return _cell(shown or "not stated")


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
