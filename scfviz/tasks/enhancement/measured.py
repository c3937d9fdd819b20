"""What `benchmarks/enhancement.py` measured on public datasets, in sentences and as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scfviz.places import RESULTS

FILE = RESULTS / "enhancement.json"
_DATASET, _MODEL = "dataset", "mcv"  # kinds of runs: without the model, with it
_LEFT = ("1", "5", "10", "20", "50")  # % of the counts
_ALIKE = 5e-5  # of a correlation: what is smaller is nothing


def read_measured(path: Path = FILE) -> dict[str, Any] | None:
    """The recorded results; None where they are not at hand."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if _runs(found, _DATASET) else None


def describe_measured(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences."""
    rows = [_summarise(runs) for runs in _runs(found, _DATASET).values()]
    by_verdict = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("ahead", "alike", "behind")}
    said = [
        f"Without the model, the combination was ahead of the best simple method in the correlation per gene on "
        f"{by_verdict['ahead']} of {len(rows)} datasets, behind on {by_verdict['behind']}; its effective fold (median "
        f"of the seeds) was the higher one on {sum(row['fold'] > row['fold_of_best'] for row in rows)}."
    ]
    gains = [_mean(runs, "gain_by_the_model") for runs in _runs(found, _MODEL).values()]
    if gains:
        said.append(
            f"The model changed the correlation per gene by {min(gains):+.4f} to {max(gains):+.4f} ({len(gains)} of "
            "the datasets, on which it was asked)."
        )
    return [*said, *_thinned(found), *_mixed(found)]


def _thinned(found: Mapping[str, Any]) -> list[str]:
    """How the combination did where a part of the counts was left, by that part."""
    parts = []
    for percent in _LEFT:
        rows = [
            _verdict(runs)
            for runs in _runs(found, f"thinning {percent} %", "gain_over_best_simple_method_low").values()
        ]
        if rows:
            parts.append(
                f"{percent} %: ahead on {rows.count('ahead')}, behind on {rows.count('behind')} of {len(rows)}"
            )
    return (
        [f"Against the best simple method where so much of the counts was left: {'; '.join(parts)}."] if parts else []
    )


def _mixed(found: Mapping[str, Any]) -> list[str]:
    """Agreement of wells with little RNA with the deep wells of the same mixture."""
    runs = [run["methods"] for key, run in (found.get("runs") or {}).items() if key.startswith("mixtures/")]
    if not runs:
        return []
    names = {name for run in runs for name in run}
    of = {name: median(run[name]["median_correlation"] for run in runs if name in run) for name in sorted(names)}
    simple = {name: value for name, value in of.items() if name not in ("dataset alone", "combination", "input")}
    best = max(simple, key=simple.get)
    with_model = f", with the model {of['combination']:.2f}" if "combination" in of else ""
    return [
        "Mixtures of RNA, 3.75 and 7.5 pg compared with 30 pg (correlation per gene, median of the seeds): counts "
        f"{of['input']:.2f}, {best} {simple[best]:.2f}, combination {of['dataset alone']:.2f}{with_model}."
    ]


def measured_table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a dataset: medians over seeds; the verdict by the mean gain and its interval."""
    rows = []
    for name, runs in _runs(found, _DATASET).items():
        row = _summarise(runs)
        rows.append(
            {
                "Data": name.replace("_", " "),
                "Effective fold": f"{row['fold']:.2f} ({row['fold_low']:.2f} to {row['fold_high']:.2f})",
                "Posterior alone": f"{row['posterior']:.2f}",
                "Best simple method": f"{row['best']}, {row['fold_of_best']:.2f}",
                "Combination is": row["verdict"],
                "Invented per 1,000": f"{row['invented']:.0f}, posterior {row['invented_posterior']:.0f}, "
                f"low rank {row['invented_low_rank']:.0f}",
                "Seeds": len(runs),
            }
        )
    return rows


def _runs(found: Mapping[str, Any], kind: str, score: str = "effective_fold") -> dict[str, list[dict[str, Any]]]:
    """Runs of a kind by dataset; those in which a score could be told."""
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for key, run in (found.get("runs") or {}).items():
        what, name, _ = key.split("/")
        if what == kind and score in run.get("scores", {}):
            by_dataset.setdefault(name, []).append(run)
    return by_dataset


def _summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    best = [run["scores"]["best_simple_method"] for run in runs]
    methods = [{method["method"]: method for method in run["methods"]} for run in runs]

    def of_method(name: str, score: str) -> float:
        return median(table[name][score] or 0.0 for table in methods)

    # medians, for a fold has no upper end where counts are few
    folds = {end: median(run["scores"][f"effective_fold{end}"] for run in runs) for end in ("", "_low", "_high")}
    return {f"fold{end}": fold for end, fold in folds.items()} | {
        "best": max(sorted(set(best)), key=best.count),
        "fold_of_best": median(run["scores"]["effective_fold_of_best_simple_method"] for run in runs),
        "verdict": _verdict(runs),
        "posterior": of_method("posterior", "fold"),
        "invented": of_method("dataset alone", "invented_per_1000"),
        "invented_posterior": of_method("posterior", "invented_per_1000"),
        "invented_low_rank": of_method("low rank", "invented_per_1000"),
    }


def _verdict(runs: Sequence[Mapping[str, Any]]) -> str:
    low, high = (_mean(runs, f"gain_over_best_simple_method{end}") for end in ("_low", "_high"))
    return "ahead" if low > _ALIKE else "behind" if high < -_ALIKE else "alike"


def _mean(runs: Sequence[Mapping[str, Any]], score: str) -> float:
    return sum(run["scores"].get(score, 0.0) for run in runs) / len(runs)
