"""What a checkpoint is good for, on screen: the scores that lie in its folder, beside simple methods."""

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from scfviz.errors import CheckpointError
from scfviz.ui.frame.text import plain, plural

if TYPE_CHECKING:
    from scfviz.model.checkpoint import CheckpointInfo

# Of the summary, in pixels: the last column is the one that tells most, and has to be in sight.
_WIDTHS = {"Question": 330, "Measure": 190, "Ahead": 60, "No clear difference": 130, "Behind": 60, "Adds": 70}
_COMMAND = "scfviz benchmark --checkpoint DIR --data FOLDER --out DIR"


def show_scores(info: "CheckpointInfo") -> None:
    """Ahead of or behind the best simple method, per question, and all numbers below."""
    report = read_scores(info)
    if report is None:
        st.markdown(
            "Nobody has measured it yet, so nothing is promised. This command scores it on datasets that it was not "
            f"trained on, and the result shows here: `{_COMMAND}` (DIR: the folder of the checkpoint)."
        )
        return
    if report["checkpoint"]["hash"] != info.hash:
        st.warning(
            f"These scores belong to other weights (fingerprint {plain(report['checkpoint']['hash'])}). "
            "Run the benchmark again.",
            icon=":material/sync_problem:",
        )
    rows, summary = report["rows"], report["summary"]
    n_datasets = len({row["dataset"] for row in rows})
    st.markdown(
        f"Measured on {plural(n_datasets, 'dataset or pair of datasets', 'datasets and pairs of datasets')}, each "
        "number beside the best of several simple methods that got the same cells. **Ahead** and **behind** mean that "
        "the 95 % interval of the difference leaves out zero. **With the dataset**, the model's guess is combined with "
        "what these methods see; **Adds** says how often that is better (+) or worse (−) than without the model."
    )
    st.dataframe(
        {
            "Question": [_upper(entry["score"]) for entry in summary],
            "Measure": [entry["metric"] for entry in summary],
            "Ahead": [entry["ahead"] for entry in summary],
            "No clear difference": [entry["no clear difference"] for entry in summary],
            "Behind": [entry["behind"] for entry in summary],
            "Adds": [_adds(entry.get("model_adds")) for entry in summary],
        },
        hide_index=True,
        column_config={name: st.column_config.Column(width=width) for name, width in _WIDTHS.items()},
        key="scores_summary",
    )
    with st.expander(f"All {len(rows):,} comparisons", icon=":material/table_rows:"):
        st.dataframe(
            {
                "Question": [_upper(row["score"]) for row in rows],
                "Dataset": [row["dataset"] for row in rows],
                "Measure": [row["metric"] for row in rows],
                "Better": ["higher" if row["higher_is_better"] else "lower" for row in rows],
                "Model": [row["model"] for row in rows],
                "±": [row["spread"] for row in rows],
                "Best simple method": [row["best_baseline"] for row in rows],
                "Its value": [row["baselines"][row["best_baseline"]] for row in rows],
                "The model is": [row["verdict"] for row in rows],
                "Cells scored": [row["n_cells"] for row in rows],
            },
            hide_index=True,
            column_config={name: st.column_config.NumberColumn(format="%.3f") for name in ("Model", "±", "Its value")},
            key="scores_rows",
        )
        st.caption("± is the standard deviation over resampled cells.")


def read_scores(info: "CheckpointInfo") -> dict[str, Any] | None:
    """The benchmark's report in a checkpoint's folder, or `None`.

    Raises
    ------
    CheckpointError
        The file is no report of this version of the benchmark.
    """
    path = info.folder / "scores.json"
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["format"] != 1 or not isinstance(report["checkpoint"]["hash"], str):
            raise ValueError(f"format {report['format']}")
        needed = {"score", "dataset", "metric", "model", "spread", "baselines", "best_baseline", "verdict", "n_cells"}
        whole = all(needed <= set(row) and row["best_baseline"] in row["baselines"] for row in report["rows"])
        whole &= all({"score", "metric", "ahead", "behind", "no clear difference"} <= set(e) for e in report["summary"])
        if not whole:
            raise ValueError("fields are missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{path.name}' of the checkpoint cannot be read ({error}).",
            "It must be the file that `scfviz benchmark` wrote.",
            "Run the benchmark again.",
        ) from error
    return report


def _adds(counts: dict[str, int] | None) -> str:
    """Where a method can be run with and without the model: how often the model made it better, and worse."""
    return "" if counts is None else f"+{counts['ahead']} −{counts['behind']}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
