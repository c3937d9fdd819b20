"""What the benchmark of perturbations found, as a table and in sentences, read from its committed results."""

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd

_FOLDER = Path(__file__).resolve().parents[4] / "benchmarks" / "results"
_LINES = {"k562": "K562", "rpe1": "RPE1", "jurkat": "Jurkat"}
_QUESTIONS = {"changed": "is the gene changed?", "direction": "up or down?"}
_VIEWS = {
    "combination": "Combination",
    "nearest_go_reactome": "Ten nearest by GO + Reactome",
    "go": "Nearest by GO, smoothed",
    "go_readout_go": "The same, similar genes pooled by GO",
    "go_readout_model": "The same, pooled by the model's embeddings",
    "model": "Nearest by the model's embeddings",
    "frequency": "Gene frequency",
}


@functools.lru_cache(maxsize=8)
def read_results(name: str = "perturbation") -> dict[str, Any]:
    """The results of `benchmarks/NAME.py`; empty where they are not there."""
    try:
        return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def table_of_lines() -> pd.DataFrame:
    """One row a line and question: AUROC over knock-downs, mean over genes, of each view."""
    rows = []
    for name, found in read_results().get("perturbqa", {}).items():
        line, question = name.split(" ")
        auroc = {title: found["views"].get(view, {}).get("auroc") for view, title in _VIEWS.items()}
        rows.append({"Line": _LINES.get(line, line), "Question": _QUESTIONS.get(question, question), **auroc})
    return pd.DataFrame(rows)


def sentences(model: str | None = None) -> list[str]:
    """How the combination stands against the bar, and what the model's gene embeddings add to it.

    Parameters
    ----------
    model
        Hash of a checkpoint: nothing is said of another one than was measured. None: of the one that was measured.
    """
    results = read_results()
    found = results.get("perturbqa", {})
    if not found or (model is not None and results.get("checkpoint", {}).get("hash") != model):
        return []
    ahead = [row["ahead_of_bar"] for row in found.values()]
    n_clear = sum(one["low"] > 0 for one in ahead)
    least, most = (end(one["difference"] for one in ahead) for end in (min, max))
    said = [
        "On the official test knock-downs of PerturbQA the combination is ahead of the ten nearest knock-downs by "
        f"Gene Ontology and Reactome in {n_clear} of {len(ahead)} questions, by {least:.3f} to {most:.3f} in AUROC "
        "(the 95 % interval over knock-downs leaves out zero)."
    ]
    gains = [row["ahead_of_without_model"] for row in found.values() if "ahead_of_without_model" in row]
    if gains:
        n_gain = sum(one["low"] > 0 for one in gains)
        least, most = (end(one["difference"] for one in gains) for end in (min, max))
        said.append(
            f"The model's gene embeddings add {least:+.3f} to {most:+.3f} in AUROC; that is certain in {n_gain} of "
            f"{len(gains)} questions."
        )
    return said


def transfer_sentences() -> list[str]:
    """What the answers of other lines were worth for a line, beside its own."""
    found = read_results("perturbation_transfer").get("labels", {})
    said = []
    for question, words in (("changed", "Which genes change?"), ("direction", "Up or down?")):
        rows = [one["all"]["views"] for name, one in found.items() if name.endswith(question)]
        if not rows:
            continue
        others, own = [row["others"] for row in rows], [row["own"] for row in rows]
        said.append(
            f"**{words}** Asked about a line in which nothing was measured, the mean of the other two lines had an "
            f"AUROC of {min(others):.2f} to {max(others):.2f} on the official test knock-downs (0.5 is chance); the "
            f"line's own predictor has {min(own):.2f} to {max(own):.2f}."
        )
    return said


def next_sentences() -> list[str]:
    """What following such an order was worth in a screen whose answers are known."""
    found = read_results("perturbation_next")
    if "auroc" not in found:
        return []
    ranked, random = found["auroc"]["ranked"], found["auroc"]["random"]
    gain = found["ahead_of_random"]
    return [
        f"Tried on knock-downs in {found['line']} with known answers, {found['n_start']} of them measured: with "
        f"{found['n_more']} more in such an order the AUROC on unseen ones became {ranked:.3f}, with as many drawn at "
        f"random {random:.3f} (difference {gain['mean']:+.3f}, {gain['low']:+.3f} to {gain['high']:+.3f} over "
        f"{found['n_seeds']} draws)."
    ]


def response_sentences() -> list[str]:
    """What a predicted response was worth on public data, beside simple answers, and what the model adds."""
    found = read_results("response").get("kang_ifnb_2800")
    if found is None:
        return []
    error = {view: row["error_ratio"] for view, row in found["views"].items()}
    gain, model = found["ahead_of_best"], found["ahead_of_without_model"]
    return [
        f"Measured on interferon-beta in blood, each of {found['n_types']} cell types left out: squared error "
        f"{error['combination']:.2f} of that of 'nothing changes', mean shift {error['mean']:.2f}, the best single "
        f"view {error[found['best']]:.2f} (the combination takes {gain['share']:+.1%} off it, 95 % interval "
        f"{gain['low']:+.1%} to {gain['high']:+.1%} over types). The model's views take {model['share']:+.1%} off the "
        f"error of the rest ({model['low']:+.1%} to {model['high']:+.1%})."
    ]


def insilico_sentences() -> list[str]:
    """How in-silico changes agreed with measured ones, beside what knows no model."""
    found = read_results("perturbation_insilico")
    said = []
    for name, title in (
        ("papalexi_thp1_299genes", "knock-outs in THP-1"),
        ("perturb_norman19_mini", "activations in K562"),
        ("perturb_mcfaline23_mini", "knock-downs in glioblastoma lines"),
    ):
        rank = {view: found.get(name, {}).get(view, {}).get("rank", [None])[0] for view in ("model", "coexpression")}
        if None not in rank.values():
            low, high = found[name]["model"]["rank"][1:]
            said.append(
                f"{title} ({found[name]['n']}): Spearman's r {rank['model']:.2f} ({low:.2f} to {high:.2f}), plain "
                f"co-expression with the gene {rank['coexpression']:.2f}"
            )
    if not said:
        return []
    return [f"Against measured changes, without training: {'; '.join(said)}."]
