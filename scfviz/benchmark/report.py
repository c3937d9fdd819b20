"""A benchmark's result as one flat JSON and one Markdown table, and what it means in plain words."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.benchmark.comparison import AHEAD, BEHIND, UNCLEAR, Comparison
from scfviz.benchmark.recovery import DEPTH, INPUT, MASKED, WITH_DATASET
from scfviz.benchmark.representation import ACROSS, ACROSS_SEEN, WITHIN
from scfviz.benchmark.run import BenchmarkResult
from scfviz.model.checkpoint import cell_space_of

FORMAT = 1
FILE_NAMES = ("scores.json", "scores.md")
_QUESTIONS = {
    MASKED: "Filling in hidden expression (the model sees one cell; the baselines see the whole dataset)",
    MASKED + WITH_DATASET: "The same, with the model's guess and means over the dataset summed by what each is worth",
    DEPTH: "Making a shallow cell deep (the model sees one cell; smoothing sees the whole dataset)",
    f"{DEPTH}{WITH_DATASET}": "The same, with the model as one of several views of a cell beside its counts and the "
    "dataset",
    WITHIN: "Telling cell types apart within a dataset",
    WITHIN + WITH_DATASET: "The same, with the model's embedding beside the dataset's own components",
    ACROSS: "Telling cell types apart in another dataset",
    ACROSS + WITH_DATASET: "The same, with the model's embedding beside the components of the dataset learned from",
    ACROSS_SEEN: "The same, learned from datasets whose cells (not labels) were in the pretraining corpus",
    ACROSS_SEEN + WITH_DATASET: "The same, with the model's embedding beside the components of that dataset",
}
_ADDS = {AHEAD: "so it helps", BEHIND: "so it harms", UNCLEAR: "no clear difference"}


def as_report(result: BenchmarkResult) -> dict[str, Any]:
    """The result as plain values that JSON can hold.

    Returns
    -------
    dict
        `checkpoint`; `summary`: one entry per score and metric with a sentence in `text`; `rows`: one flat entry per
        score, dataset and metric (see `Comparison.row`); `compare`: the second checkpoint beside the first, or `None`;
        `skipped`; `settings`.
    """
    first, *others = result.checkpoints
    rows = [comparison.row(first) for comparison in result.comparisons]
    return {
        "format": FORMAT,
        "checkpoint": _describe(result, first),
        "summary": summarise(rows),
        "rows": rows,
        "compare": _side_by_side(result, first, others[0]) if others else None,
        "skipped": list(result.skipped),
        "settings": result.settings,
    }


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ahead of or behind the baselines, per score and metric, with a sentence on each."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["score"], row["metric"].split(", thinned")[0]), []).append(row)
    summary = []
    for (score, metric), members in groups.items():
        counts = _count([row["verdict"] for row in members])
        by_baseline = {
            name: _count([row["verdicts"][name] for row in members if name in row["verdicts"]])
            for name in dict.fromkeys(name for row in members for name in row["verdicts"])
        }
        n = len(members)
        text = (
            f"{score}, {metric}: {_word(counts, n)} "
            f"({counts[AHEAD]} ahead, {counts[BEHIND]} behind, {counts[UNCLEAR]} not clearly different, of {n})"
        )
        if score.startswith(DEPTH) and not members[0]["higher_is_better"]:
            ratio = np.exp(np.mean([np.log(max(row["model"], 1e-12) / row["baselines"][INPUT]) for row in members]))
            text += f"; on average {ratio:.2f} times the error of the thinned input"
            text += " (published for the large model: about 0.5)"
        adds = [row["model_adds"] for row in members if row["model_adds"] is not None]
        entry = {"score": score, "metric": metric, "n": n, **counts, "by_baseline": by_baseline, "model_adds": None}
        if adds:
            entry["model_adds"] = _count(adds)
            text += f"; better than the same without the model in {adds.count(AHEAD)}, worse in {adds.count(BEHIND)}"
        summary.append({**entry, "text": f"{_upper(text)}."})
    return summary


def as_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: the sentences first, then a table per score."""
    checkpoint, settings = report["checkpoint"], report["settings"]
    lines = [
        f"# What `{_cell(checkpoint['name'])}` is good for",
        "",
        f"Checkpoint {checkpoint['hash']}, {checkpoint['n_parameters']:,} parameters"
        f"{'' if checkpoint['is_trained'] else ', **untrained**'}; budget '{settings['budget']}', "
        f"seed {settings['seed']}, {settings['seconds']:,.0f} s. Values ± standard deviation over resampled cells. "
        "'Ahead' and 'behind': the 95 % interval of the difference to the best baseline leaves out zero. "
        "'k of n': cells scored, of those in the file.",
        "",
        *(f"- {entry['text']}" for entry in report["summary"]),
    ]
    for score in dict.fromkeys(row["score"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["score"] == score]
        without = ["without the model"] * any(row["without_model"] is not None for row in rows)
        lines += ["", f"## {_upper(score)}", "", f"{_QUESTIONS.get(score, '')}.", ""]
        lines += _table(
            ["dataset", "metric", "better", "model", "verdict", "best baseline", "other baselines", *without, "cells"],
            [
                [
                    row["dataset"],
                    row["metric"],
                    "higher" if row["higher_is_better"] else "lower",
                    f"{row['model']:.3f} ± {row['spread']:.3f}",
                    row["verdict"],
                    f"{row['best_baseline']} {row['baselines'][row['best_baseline']]:.3f}",
                    "; ".join(f"{n} {v:.3f}" for n, v in row["baselines"].items() if n != row["best_baseline"]),
                    *([f"{row['without_model']:.3f}, {_ADDS[row['model_adds']]}"] if without else []),
                    f"{row['n_cells']:,} of {row['n_available']:,}",
                ]
                for row in rows
            ],
        )
    if report["compare"]:
        lines += _compare_lines(report)
    if report["skipped"]:
        lines += ["", "## Not computed", ""]
        lines += [f"- {_cell(s['dataset'])}, {s['score']}: {_cell(s['reason'])}" for s in report["skipped"]]
    return "\n".join(lines) + "\n"


def write_report(report: dict[str, Any], folder: Path | str, names: tuple[str, str] = FILE_NAMES) -> list[Path]:
    """Write the JSON and the Markdown into a folder, which is made; each file whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in zip(names, (json.dumps(report, indent=1) + "\n", as_markdown(report)), strict=True):
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, folder / name)
        written.append(folder / name)
    return written


def _side_by_side(result: BenchmarkResult, one: str, other: str) -> dict[str, Any]:
    rows = [_both(comparison, one, other) for comparison in result.comparisons]
    wins = {name: sum(row["better"] == name for row in rows) for name in (one, other)}
    text = (
        f"Of {len(rows)} comparisons, '{one}' is better in {wins[one]}, '{other}' in {wins[other]}, and "
        f"{len(rows) - sum(wins.values())} show no clear difference."
    )
    return {"checkpoint": _describe(result, other), "rows": rows, "text": text}


def _both(comparison: Comparison, one: str, other: str) -> dict[str, Any]:
    row, low_high = comparison.row(one), comparison.difference(one, other)
    verdict = comparison.verdict(one, other)
    return {
        **{name: row[name] for name in ("score", "dataset", "metric", "n_cells", "higher_is_better")},
        "first": row["model"],
        "second": comparison.row(other)["model"],
        "best_baseline_value": row["baselines"][row["best_baseline"]],
        "difference_low": float(f"{low_high[0]:.5g}"),
        "difference_high": float(f"{low_high[1]:.5g}"),
        "better": {AHEAD: one, BEHIND: other}.get(verdict, UNCLEAR),
    }


def _describe(result: BenchmarkResult, name: str) -> dict[str, Any]:
    info = result.checkpoints[name]
    return {
        "name": name,
        "hash": info.hash,
        "cell_space": None if (space := cell_space_of(info)) is None else space.hash,
        "n_parameters": info.n_parameters,
        "is_trained": info.is_trained,
        "licence": info.licence,
    }


def _compare_lines(report: dict[str, Any]) -> list[str]:
    one, other = report["checkpoint"]["name"], report["compare"]["checkpoint"]["name"]
    return [
        "",
        f"## Beside `{_cell(other)}`",
        "",
        _cell(report["compare"]["text"]),
        "",
        *_table(
            ["score", "dataset", "metric", one, other, "best baseline", "better"],
            [
                [
                    row["score"],
                    row["dataset"],
                    row["metric"],
                    *(f"{row[name]:.3f}" for name in ("first", "second", "best_baseline_value")),
                    row["better"],
                ]
                for row in report["compare"]["rows"]
            ],
        ),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(value) for value in line) + " |" for line in lines]


def _cell(text: object) -> str:
    """Names of datasets come from files: one line, and no character that ends a cell or starts markup."""
    line = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "|`*[]<>" else c for c in line)


def _count(verdicts: Sequence[str]) -> dict[str, int]:
    return {verdict: sum(v == verdict for v in verdicts) for verdict in (AHEAD, BEHIND, UNCLEAR)}


def _word(counts: dict[str, int], n: int) -> str:
    if counts[AHEAD] == n:
        return "ahead of the best baseline everywhere"
    if counts[BEHIND] == n:
        return "behind the best baseline everywhere"
    if 2 * counts[AHEAD] > n:
        return "mostly ahead of the best baseline"
    if 2 * counts[BEHIND] > n:
        return "mostly behind the best baseline"
    return "neither clearly ahead of nor behind the best baseline"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
