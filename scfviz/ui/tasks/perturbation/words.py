"""What the benchmark of perturbations found, as a table and in sentences, read from its committed results."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scfviz.places import RESULTS
from scfviz.tasks.perturbation.card import in_sentence
from scfviz.tasks.perturbation.fit import KIND_TITLES
from scfviz.tasks.perturbation.methods import TITLES as VIEW_TITLES
from scfviz.ui.frame.text import plural

_LINES = {"k562": "K562", "rpe1": "RPE1", "jurkat": "Jurkat"}
_QUESTIONS = {"changed": "is the gene changed?", "direction": "up or down?"}
_SCREENS = {
    "perturb_norman19_mini": "activations in K562",
    "papalexi_thp1_299genes": "knock-outs in THP-1",
    "perturb_mcfaline23_mini": "knock-downs in glioblastoma lines",
}
_STAND_INS = {
    "kang_ifnb_2800": "interferon-beta in blood, where genes of its pathway switched on stand in for it",
    "kang_ifnb_labelled_1975": "the same in another excerpt",
    "pc9_erlotinib_day11": "erlotinib in lung cancer cells, where its target switched off stands in for it",
}
_STUDIES = {
    "adamson_2016_upr_perturb_seq_curated": "Knock-downs in K562 (Adamson 2016)",
    "datlinger_2017_curated": "Knock-outs in Jurkat (Datlinger 2017)",
}
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
        return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
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
    return [*said, *best_view_sentences(), *catalogue_sentences()]


def best_view_sentences() -> list[str]:
    """Whether the combination is anywhere clearly behind the single view that is the best on what is scored."""
    said = []
    runs = [
        (f"{_LINES.get(line, line)} {question}", run)
        for name, found in read_results().get("perturbqa", {}).items()
        for line, question in [name.split(" ")]
        for run in found.get("ahead_of_best_by_seed", [])
    ]
    if runs:
        said.append(
            "Beside the single view that turned out to be the best on the same test knock-downs: "
            + _say_behind(runs, "difference", "{:+.3f} in AUROC ({:+.3f} to {:+.3f})")
        )
    runs = [
        (f"{_SCREENS.get(name, name)}, {KIND_TITLES[kind]}", run[kind]["gain_over_best"])
        for name, found in read_results().get("screens", {}).items()
        for run in found["by_seed"]
        for kind in run
    ]
    if runs:
        said.append(
            "On small screens, beside the view with the least error on held-out conditions: "
            + _say_behind(runs, "share", "gain {:+.1%} of the squared error ({:+.1%} to {:+.1%})")
        )
    return said


def catalogue_sentences() -> list[str]:
    """What could be foretold of two screens of which only significant changes are published."""
    results = read_results("perturbation_catalogue")
    said = []
    for study, title in _STUDIES.items():
        listed, change = (results.get(f"{study} {question}") for question in ("listed", "change"))
        if listed is None or change is None:
            continue
        auroc = {view: row["auroc"]["mean"] for view, row in listed["views"].items()}
        error = {view: row["error_ratio"]["mean"] for view, row in change["views"].items()}
        best = listed["ahead_of_best_by_seed"][0]["best"]
        said.append(
            f"{title}, {listed['n_perturbations']} perturbations, of which only significant changes are published: "
            f"which of a gene's pairs are listed has an AUROC of {auroc['combination']:.3f} "
            f"({in_sentence(VIEW_TITLES[best])}: {auroc[best]:.3f}). Size of listed changes: squared error "
            f"{error['combination']:.2f} of that of 'nothing changes', the gene's mean over other perturbations "
            f"{error['mean']:.2f}."
        )
    return said


def _say_behind(runs: Sequence[tuple[str, Mapping[str, Any]]], name: str, words: str) -> str:
    """In how many runs it is behind by more than the interval, and the worst of these, or else of all."""
    behind = [(title, run) for title, run in runs if run["high"] < 0]
    title, worst = min(behind or runs, key=lambda one: one[1][name])
    return (
        f"the combination is behind by more than its 95 % interval in {len(behind)} of {len(runs)} runs over five "
        f"seeds. The worst {'of these' if behind else 'of all'}, {title}: "
        f"{words.format(*(worst[k] for k in (name, 'low', 'high')))}."
    )


def transfer_sentences() -> list[str]:
    """What the answers of other lines were worth for a line, beside its own."""
    results = read_results("perturbation_transfer")
    found, ranks = results.get("labels", {}), results.get("ranks", {})
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
    runs = {lines: one["by_seed"] for lines, one in ranks.items() if "by_seed" in one}
    for lines, seeds in runs.items():
        auroc = {view: sum(run["views"][view] for run in seeds) / len(seeds) for view in seeds[0]["views"]}
        gain, n = seeds[0]["both_ahead_of_best"], seeds[0]["n_knock_downs"]
        said.append(
            f"**{lines}, the {n:,} knock-downs measured in both.** Is a gene among the thousand that rise most? The "
            f"other line's list of the same knock-down had an AUROC of {auroc['copy_of_other_line']:.2f}, the line's "
            f"other knock-downs {auroc['own']:.2f}, both together {auroc['mean_of_own_and_copy']:.2f} "
            f"({gain['difference']:+.3f} beside the best view, {gain['low']:+.3f} to {gain['high']:+.3f})."
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
    results = read_results("perturbation_insilico")
    said = []
    for name, title in (_SCREENS | _STAND_INS).items():
        found = results.get(name, {"n": 0})
        if not found["n"]:
            continue
        rank, low, high = found["model"]["rank"]
        interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
        drawn = found.get("random", {"n": 0})
        others = f", genes drawn at random {drawn['model']['rank'][0]:.2f}" if drawn["n"] else ""
        said.append(
            f"{title} ({plural(found['n'], 'gene')}): Spearman's r {rank:.2f}{interval}{others}, plain co-expression "
            f"with the gene {found['coexpression']['rank'][0]:.2f}"
        )
    return [f"Against measured changes, without training: {'; '.join(said)}."] if said else []
