"""What the results of `benchmarks/gene_modules.py` say, in sentences.

`sets` are runs with the model, `coexpression` those without: more seeds and datasets, and all knocked-down factors.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

NETWORKS, ARMS = ("CollecTRI", "DoRothEA", "TRRUST"), ("combination", "model", "coexpression", "trees")
NULL, N_RESAMPLES = "target expression", 2_000


def say(results: dict[str, Any]) -> list[str]:
    """The verdict, from the numbers."""
    whole, quick = runs_of(results, "sets"), runs_of(results, "coexpression")
    said, ahead = [], []
    for network in NETWORKS:
        difference, low, high, _ = against_null(results, lambda one, name=network: one["networks"][name])
        ahead.append(low > 0)
        arm = {name: mean(one["networks"][network].get(name, {}).get("auroc") for one in quick) for name in FROM}
        like = {
            name: mean(one["networks"][network].get(name, {}).get("auroc_matched") for one in quick) for name in FROM
        }
        said.append(
            f"{network}: AUROC per factor {arm['coexpression']:.3f} by co-expression; mean expression of the target "
            f"alone, no co-variation at all, {arm[NULL]:.3f} (difference {difference:+.3f}, 95 % interval over factors "
            f"{low:+.3f} to {high:+.3f}); literature degree {arm['literature degree']:.3f}. Among targets of like "
            f"expression {like['coexpression']:.3f}, the null {like[NULL]:.3f}."
        )
    sizes = {len(runs) for runs in results["coexpression"].values()}
    first = "ahead of the expression null on every known network" if all(ahead) else "NOT ahead of the expression null"
    head = (
        f"**Regulators are {first}**: known targets are well-studied, highly expressed genes. Take an edge as a lead. "
        f"(Co-expression, {len(results['coexpression'])} datasets, {min(sizes)} seeds each.)"
    )
    return [head, *said, *_of_knock_downs(results), *_of_model(whole), *_of_the_rest(results, whole, quick)]


FROM = ("coexpression", NULL, "literature degree")


def runs_of(results: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """All runs of a kind."""
    return [one for runs in results.get(kind, {}).values() for one in runs.values()]


def mean(values: Iterable[float | None]) -> float:
    """Of those that are numbers."""
    found = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(found)) if found else float("nan")


def against_null(
    results: dict[str, Any], scores: Callable[[dict[str, Any]], dict[str, Any]], which: int = 0
) -> tuple[float, float, float, int]:
    """Co-expression less the expression null, its interval over factors of datasets, and how many they are.

    Parameters
    ----------
    scores
        Of a run, those of the arms.
    which
        0: AUROC; 1: among targets of like expression.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for name, runs in results["coexpression"].items():
        for one in runs.values():
            own, null = (scores(one).get(arm, {}).get("by_factor", {}) for arm in ("coexpression", NULL))
            for factor, values in own.items():
                if values[which] is not None and null[factor][which] is not None:
                    found.setdefault((name, factor), []).append(values[which] - null[factor][which])
    each = np.array([np.mean(values) for values in found.values()])
    again = np.random.default_rng(0).choice(each, (N_RESAMPLES, len(each))).mean(axis=1)
    return float(each.mean()), *map(float, np.quantile(again, (0.025, 0.975))), len(each)


def _of_knock_downs(results: dict[str, Any]) -> list[str]:
    said = []
    for name, runs in results["coexpression"].items():
        about = next(iter(runs.values()))["causal"]
        scores = [one["causal"]["scores"] for one in runs.values()]
        own, null, other = (
            [mean(one[arm].get(what) for one in scores) for what in ("auroc", "auroc_matched")]
            for arm in ("coexpression", NULL, "changes in other knock-downs")
        )
        right = mean(one["causal"]["sign"].get("right") for one in runs.values())
        plus = mean(one["causal"]["sign"].get("always_plus") for one in runs.values())
        n = mean(one["coexpression"]["n_factors"] for one in scores)
        said.append(
            f"Knock-downs in {about['line'].upper() if about['line'] != 'jurkat' else 'Jurkat'}, cells of {name} "
            f"({about['fits']}), {n:.0f} factors: AUROC per factor {own[0]:.3f} by co-expression, mean expression of "
            f"the target {null[0]:.3f}, how often it changes in other knock-downs {other[0]:.3f}; among targets of "
            f"like expression {own[1]:.3f}, {null[1]:.3f} and {other[1]:.3f}. Sign right for {right:.0%}, always + for "
            f"{plus:.0%}."
        )
    difference, low, high, n = against_null(results, lambda one: one["causal"]["scores"], 1)
    said.append(
        f"All knock-downs together, among targets of like expression: co-expression {difference:+.3f} against mean "
        f"expression (95 % interval over {n} factors {low:+.3f} to {high:+.3f})."
    )
    return said


def _of_model(whole: list[dict[str, Any]]) -> list[str]:
    if not whole:
        return []
    parts = []
    for network in NETWORKS:
        found = {arm: mean(one["networks"][network].get(arm, {}).get("auroc") for one in whole) for arm in ARMS}
        numbers = ", ".join(f"{arm.replace('coexpression', 'co-expression')} {found[arm]:.3f}" for arm in ARMS)
        both = [tuple(one["networks"][network].get(arm, {}).get("auroc") for arm in ARMS) for one in whole]
        ahead = sum(combined > without for combined, _, without, _ in both)
        parts.append(f"{network} {numbers} (combination ahead of co-expression in {ahead} runs)")
    weight = mean(one["weights"].get("model") for one in whole)
    return [
        f"With the model ({len(whole)} runs over datasets and seeds, {whole[0]['n_context_cells']} cells read; its "
        f"mean weight {weight:.2f}): {'; '.join(parts)}."
    ]


def _of_the_rest(results: dict[str, Any], whole: list[dict[str, Any]], quick: list[dict[str, Any]]) -> list[str]:
    early = {arm: mean(one["early_precision_ratio"]["CollecTRI"].get(arm) for one in quick) for arm in FROM}
    right = mean(one["sign"]["CollecTRI"].get("right") for one in quick)
    plus = mean(one["sign"]["CollecTRI"].get("always_plus") for one in quick)
    said = [
        f"Of the 1,000 strongest edges {early['coexpression']:.1f} times as many are in CollecTRI as of all pairs "
        f"(mean expression of the target {early[NULL]:.1f}).",
        f"Sign: right for {right:.0%} of CollecTRI's signed edges; always saying + is right for {plus:.0%}.",
    ]
    once = {arm: mean(one["stability"].get(f"one_percent_{arm}") for one in whole) for arm in ARMS}
    many = [one["stability"]["one_percent_coexpression"] for one in quick]
    halves = mean(one["stability"].get("donor_halves_coexpression") for one in quick)
    said.append(
        f"Stability: after 1 % of the cells are removed, the 1,000 strongest edges overlap by {np.mean(many):.2f} "
        f"(Jaccard, {min(many):.2f} to {max(many):.2f}), with the model by {once['combination']:.2f} (model alone "
        f"{once['model']:.2f}, trees {once['trees']:.2f}; {len(whole)} runs); between two halves of 13 donors by "
        f"{halves:.2f}."
    )
    for name, runs in results["coexpression"].items():
        found = [one["modules"] for one in runs.values()]
        together, random = (mean(one[key] for one in found) for key in ("together", "together_random"))
        said.append(
            f"Modules of {name}: genes that share a set of the Gene Ontology are in one module {together:.2f} times as "
            f"often as all pairs, genes exchanged for others of like expression {random:.2f} times; modules in halves "
            f"of the cells agree by {mean(one['module_stability'] for one in runs.values()):.2f} (adjusted Rand index)."
        )
    return said
