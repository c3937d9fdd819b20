"""What is said of a predictor: verdicts in a sentence, and its card."""

from collections.abc import Mapping
from typing import Any

from scfviz.tasks.perturbation import answers, methods
from scfviz.tasks.perturbation.fit import KIND_TITLES, KINDS, PerturbationModel


def in_sentence(title: str) -> str:
    """A title as it stands within a sentence: names keep their capitals."""
    return f"{title[:1].lower()}{title[1:]}"


def say_weights(weights: Mapping[str, float], titles: Mapping[str, str]) -> str:
    """Which views an answer rests on, the heaviest first."""
    used = sorted(((w, name) for name, w in weights.items() if w >= 0.005), reverse=True)
    return ", ".join(f"{in_sentence(titles[name])} {w:.0%}" for w, name in used)


def say_gain(gain: Mapping[str, Any], what: str, of: str = "gene") -> str:
    """What the model's embeddings add, in a sentence with a number and its interval."""
    share, low, high = (gain.get(name) for name in ("share", "low", "high"))
    if share is None or low is None or high is None:
        return f"Too few were held out to say what the model's {of} embeddings add."
    found = f"with them the error on held-out {what} is {_less(share)} (95 % interval: {_less(low)} to {_less(high)})."
    if low > 0:
        return f"The model's {of} embeddings help: {found}"
    if high < 0:
        return f"The model's {of} embeddings harm: {found}"
    return f"The model's {of} embeddings add nothing that is certain: {found}"


def _less(share: float) -> str:
    """How much of an error is taken away, in words."""
    return f"{abs(100 * share):.1f} % {'lower' if share >= 0 else 'higher'}"


def verdict(model: PerturbationModel, kind: str) -> str:
    """What a prediction of one kind of question rests on, and what it was worth on held-out conditions."""
    rests = f"It rests on: {say_weights(model.weights[kind], methods.TITLES)}."
    found = model.scores.get(kind)
    if found is None:
        return f"{rests} No condition of this kind could be held out in this screen: what it is worth was not measured."
    views, best = found["views"], found["best"]
    said, mean = views["combination"], views[best]
    ratio = said["error_ratio"]
    error = f" On {found['n']} held-out conditions of this kind the changes hardly exceed their sampling noise."
    if ratio is not None:
        other = "no number" if mean["error_ratio"] is None else f"{mean['error_ratio']:.2f}"
        error = (
            f" On {found['n']} held-out conditions of this kind the squared error is {ratio:.2f} of that of 'nothing "
            f"changes'; the best single view ({in_sentence(methods.TITLES[best])}) has {other}."
        )
    covered = f" 90 % intervals held {found['coverage']['measured']:.0%} of the held-out changes."
    weak = ""
    if ratio is not None and ratio > 0.95:
        weak = " **So close to 1, a prediction of this kind is hardly better than saying that nothing changes.**"
    return f"{rests}{error}{weak}{covered} {say_gain(found['gain_of_model'], 'conditions')}"


def view_verdict(model: PerturbationModel, kind: str, view: str) -> str:
    """What a view alone was worth on held-out conditions, beside the combination."""
    alone = f"{methods.TITLES[view]}, alone, as a baseline. No interval was learned for a view alone."
    found = model.scores.get(kind)
    ratios = [] if found is None else [found["views"].get(one, {}).get("error_ratio") for one in (view, "combination")]
    if None in ratios or not ratios:
        return f"{alone} What it is worth for this kind of question was not measured."
    return (
        f"{alone} On {found['n']} held-out conditions of this kind its squared error is {ratios[0]:.2f} of that of "
        f"'nothing changes'; the combination has {ratios[1]:.2f}."
    )


def answers_verdict(found: answers.Answers, question: str) -> str:
    """The same for an answer from labels."""
    scores = found.scores
    auroc = scores.get("auroc")
    measured = ""
    if auroc is not None:
        measured = (
            " On the official test knock-downs its AUROC over knock-downs, averaged over genes, is "
            f"{auroc['combination']:.3f} (0.5 is chance; nearest by Gene Ontology alone: {auroc['go']:.3f})."
        )
    return (
        f"**{question}** It rests on: {say_weights(found.weights, answers.TITLES)}.{measured} "
        f"{say_gain(scores['gain_of_model'], 'knock-downs')}"
    )


def write_card(model: PerturbationModel, name: str, *, source: str, licence: str = "", more: str = "") -> str:
    """The README.md of a predictor that was fitted to a screen, in Markdown."""
    effects = model.effects
    lines = [
        f"# {name}",
        "",
        f"Predicts the mean change of {len(effects.genes):,} genes, in ln(1 + counts per 10,000), learned from "
        f"{len(effects.conditions):,} conditions and {effects.n_controls:,} control cells. It holds means and "
        "weights, no cells.",
        "",
        f"Learned from: {source}.",
        "",
        *([f"Licence: {licence}", ""] if licence else []),
        f"Gene embeddings: checkpoint `{model.checkpoint.get('name')}` ({model.checkpoint.get('hash')}).",
        "",
        "| question | held out | error of the combination | best single view | its error | weights |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        found, weights = model.scores.get(kind), say_weights(model.weights[kind], methods.TITLES)
        if found is None:
            lines.append(f"| {KIND_TITLES[kind]} | 0 | not measured | | | {weights} |")
            continue
        errors = [found["views"][view]["error_ratio"] for view in ("combination", found["best"])]
        said = ["" if error is None else f"{error:.2f}" for error in errors]
        lines.append(
            f"| {KIND_TITLES[kind]} | {found['n']} | {said[0]} | {methods.TITLES[found['best']]} | {said[1]} "
            f"| {weights} |"
        )
    lines += [
        "",
        "Error: squared error over that of 'nothing changes', sampling noise taken off (0 is perfect, 1 is no better).",
        "",
        *([more, ""] if more else []),
        "It speaks of population means of this line under this kind of perturbation, not of cells, other lines, or "
        "other kinds (activation and knock-down are different experiments).",
        "",
    ]
    return "\n".join(lines)
