"""What is said of a classifier: its verdict in one sentence, and its card."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scfviz.tasks.annotation.options import METHODS

if TYPE_CHECKING:
    from scfviz.tasks.annotation.classifier import Classifier


def verdict(scores: Mapping[str, Any], where: str = "your reference") -> str:
    """What the combination and the model add on held-out cells of the reference, which `where` names, in words."""
    methods, against = scores["methods"], scores.get("against_logistic")
    best = methods["combination"]
    if against is None or "genes_logistic" not in methods:
        return f"On held-out cells of {where} the labels have a macro-F1 of {best['macro_f1']:.2f}."
    if dict(scores["weights"]) == {"genes_logistic": 1.0}:
        return (
            f"The labels come from logistic regression on genes, with a macro-F1 of {best['macro_f1']:.3f} on held-out "
            f"cells of {where}; the model's views take no part."
        )
    used = [name for name, weight in scores["weights"].items() if weight > 0]
    what = "The combination" if len(used) > 1 else METHODS[used[0]]
    interval = f"{against['low']:+.3f} to {against['high']:+.3f}"
    change = f"{methods['genes_logistic']['macro_f1']:.3f} to {best['macro_f1']:.3f}"
    if against["low"] > 0:
        words = f"{what} is better than logistic regression alone on {where}: macro-F1 from {change}"
    elif against["high"] < 0:
        words = f"{what} is worse than logistic regression alone on {where}: macro-F1 from {change}"
    else:
        words = f"{what} is as good as logistic regression alone on {where}: macro-F1 from {change}"
    return f"{words} (95 % interval of the difference {interval})." + _of_model(scores)


def _of_model(scores: Mapping[str, Any]) -> str:
    gain = scores.get("gain_of_model")
    if gain is None:
        return ""
    if gain["low"] > 0:
        return f" The model's part of it: {100 * gain['share']:.0f} % less log loss than without the model."
    return " The model adds nothing that is certain here."


def coverage_sentence(scores: Mapping[str, Any], unit: str | None = None) -> str:
    """How often sets held the right type where that was measured, beside what was asked for."""
    found = scores["coverage"]
    worst = "" if found["worst_class"] is None else f", {found['worst_class']:.1%} of the worst type's"
    held = f"held-out parts of '{unit}'" if unit else "held-out cells"
    return (
        f"On {held} of the reference the set held the right type for {found['marginal']:.1%} of the cells{worst} "
        f"({found['nominal']:.0%} asked for); a set has {found['mean_size']:.2g} types on average, "
        f"{found['empty']:.1%} are empty."
    )


def write_card(
    classifier: "Classifier", name: str, *, source: str, column: str | None = None, licence: str = "", more: str = ""
) -> str:
    """The README.md of a classifier's folder, in Markdown.

    Parameters
    ----------
    source
        What it was learned from.
    column
        Where its types were read.
    licence
        Of the data and the parameters.
    more
        Paragraphs on what it knows and does not know.
    """
    scores, best = classifier.scores, classifier.scores["methods"]["combination"]
    rows = [
        f"| {label} | {classifier.ontology.get(label, '')} | {int(n):,} |"
        for label, n in zip(classifier.labels, classifier.n_cells, strict=True)
    ]
    unit = classifier.about.get("unit")
    methods = [
        f"| {method} | {found['macro_f1']:.3f} | {found['accuracy']:.3f} | {found['ece']:.3f} | "
        f"{classifier.learned.weights.get(method, 0):.2f} |"
        for method, found in scores["methods"].items()
        if method != "combination"
    ]
    reads = "which reads genes alone and needs no model"
    if classifier.needs_model:
        reads = f"for embeddings of the checkpoint `{classifier.checkpoint['name']}` ({classifier.checkpoint['hash']})"
    if len(classifier.tuned):
        reads += (
            f" with the encoder's last layer as it was fine-tuned ({len(classifier.tuned):,} parameters, kept here)"
        )
    lines = [
        f"# {name}",
        "",
        f"A classifier of {len(classifier.labels)} types of cells, {reads}. It holds parameters only, no row of data.",
        "",
        f"Learned from: {source}" + (f", column `{column}`." if column else "."),
        "",
        *([f"Licence: {licence}", ""] if licence else []),
        "| type | Cell Ontology | cells |",
        "|---|---|---|",
        *rows,
        "",
        f"Measured on {f'held-out parts of `{unit}`' if unit else 'held-out cells'}, five parts:",
        "",
        "| method | macro-F1 | accuracy | ECE | weight |",
        "|---|---|---|---|---|",
        f"| **combination** | {best['macro_f1']:.3f} | {best['accuracy']:.3f} | {best['ece']:.3f} | |",
        *methods,
        "",
        coverage_sentence(scores, unit),
        "",
        *([more, ""] if more else []),
        "It knows these types and no others. A cell of another type should be called unknown, but some will get the "
        "label of the most similar type; cells of another technique are less certain than the scores say.",
        "",
    ]
    return "\n".join(lines)
