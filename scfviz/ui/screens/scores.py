"""What a checkpoint is good for, on screen: the scores that lie in its folder, beside simple methods."""

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from scfviz.errors import CheckpointError
from scfviz.ui.frame.text import plain, plural

if TYPE_CHECKING:
    from scfviz.model.checkpoint import CheckpointInfo

# The benchmark's questions in a biologist's words; one that is missing here is shown under its own name.
_QUESTIONS = {
    "masked recovery": "predicting hidden genes",
    "read-depth recovery": "restoring cells of low read depth",
    "cell representation": "telling cell types apart",
    "across datasets": "finding cell types again in another dataset",
    "across datasets, from cells seen in pretraining": "finding cell types again, from datasets seen in pretraining",
}
_COMBINED = ", with the dataset"
_MAX_LINES = 8
_COUNTED = ("ahead", "no clear difference", "behind")
# Of the summary, in pixels: the last column is the one that tells most, and has to be in sight.
_WIDTHS = {"Question": 330, "Measure": 190, "Ahead": 60, "No clear difference": 130, "Behind": 60, "Adds": 70}
_COMMAND = "scfviz benchmark --checkpoint DIR --data FOLDER --out DIR"


def show_verdict(info: "CheckpointInfo") -> None:
    """One sentence about what the checkpoint is good for, and a line per question."""
    report = read_scores(info)
    if report is None:
        first = "Nobody has measured yet what it is good for, so compare every result with its baseline."
        if not info.is_trained:
            first = "It says nothing about biology: its weights are random."
        st.markdown(
            f"**{first}** This command scores a checkpoint on datasets that it was not trained on, and the result "
            f"shows here: `{_COMMAND}` (DIR: the folder of the checkpoint)."
        )
        return
    _warn_of_other_weights(info, report)
    answers = pool_questions(report["summary"])
    st.markdown(f"**{verdict_of(answers)}**")
    st.table(
        {
            "What was asked": [plain(_upper(_QUESTIONS.get(question, question))) for question in answers],
            "Model with your dataset": [_describe_counts(of.get("combined")) for of in answers.values()],
            "Model alone": [_describe_counts(of.get("alone")) for of in answers.values()],
        },
        border="horizontal",
        hide_index=True,
    )
    n_datasets = len({row["dataset"] for row in report["rows"]})
    st.caption(
        f"Measured on {plural(n_datasets, 'dataset or pair of datasets', 'datasets and pairs of datasets')} that were "
        "not used for training, always against the best of several simple methods on the same cells. Better and worse: "
        "in more than half of the comparisons the 95 % interval of the difference excludes zero on that side."
    )


def show_details(info: "CheckpointInfo") -> None:
    """Every measure and every comparison behind the verdict; nothing where there are none, or they cannot be read."""
    try:
        report = read_scores(info)
    except CheckpointError:  # the verdict has said so
        return
    if report is None:
        return
    rows, summary = report["rows"], report["summary"]
    with st.expander("Scores by measure", icon=":material/leaderboard:"):
        st.markdown(
            "**Ahead** and **behind** of the best simple method mean that the 95 % interval of the difference leaves "
            "out zero. **With the dataset**, the model's guess is combined with what these methods see; **Adds** says "
            "how often that is better (+) or worse (−) than without the model."
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


def pool_questions(summary: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """Comparisons of all measures of a question together.

    Returns
    -------
    dict
        By question, at most eight: `alone` and `combined`, each with the numbers of comparisons `ahead`, `behind` and
        with `no clear difference`; one is missing where it was not measured.
    """
    pooled: dict[str, dict[str, dict[str, int]]] = {}
    for entry in summary:
        question, is_combined = entry["score"].removesuffix(_COMBINED), entry["score"].endswith(_COMBINED)
        of = pooled.setdefault(question, {}).setdefault(
            "combined" if is_combined else "alone", dict.fromkeys(_COUNTED, 0)
        )
        for name in _COUNTED:
            of[name] += entry[name]
    return dict(list(pooled.items())[:_MAX_LINES])


def verdict_of(answers: dict[str, dict[str, dict[str, int]]]) -> str:
    """What the checkpoint is good for, in one or two sentences made of the counted comparisons alone."""
    asked = {question: of for question, of in answers.items() if "seen in pretraining" not in question} or answers
    best = {question: of.get("combined") or of["alone"] for question, of in asked.items()}
    groups: dict[str, list[str]] = {"better": [], "no clear difference": [], "worse": []}
    for question, of in best.items():
        groups[_judge(of)].append(_QUESTIONS.get(question, question))
    are_combined = any("combined" in of for of in asked.values())
    who = "Combined with your own dataset, this checkpoint is " if are_combined else "This checkpoint is "
    words = {
        "better": "better than simple methods at ",
        "no clear difference": "about as good as simple methods at ",
        "worse": "worse than a simple method at ",
    }
    parts = [words[name] + _listed(questions) for name, questions in groups.items() if questions]
    sentence = who + "; ".join(parts) + "."
    alone = [_judge(of["alone"]) for of in asked.values() if "combined" in of and "alone" in of]
    if "worse" in alone:
        sentence += (
            f" Used alone, it is worse than a simple method in {alone.count('worse')} of {len(alone)} questions."
        )
    return sentence


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
        whole &= all({"score", "metric", *_COUNTED} <= set(e) for e in report["summary"])
        if not whole:
            raise ValueError("fields are missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{path.name}' of the checkpoint cannot be read ({error}).",
            "It must be the file that `scfviz benchmark` wrote.",
            "Run the benchmark again.",
        ) from error
    return report


def _warn_of_other_weights(info: "CheckpointInfo", report: dict[str, Any]) -> None:
    from scfviz.model.checkpoint import cell_space_of

    if report["checkpoint"]["hash"] != info.hash:
        st.warning(
            f"These scores belong to other weights (fingerprint {plain(report['checkpoint']['hash'])}). "
            "Run the benchmark again.",
            icon=":material/sync_problem:",
        )
    elif report["checkpoint"].get("cell_space") != ((space := cell_space_of(info)) and space.hash):
        st.warning(
            "What is said of cell types, alone, was scored in another cell space than the one beside the weights now. "
            "Run the benchmark again.",
            icon=":material/sync_problem:",
        )


def _judge(of: dict[str, int]) -> str:
    half = sum(of.values()) / 2
    return "better" if of["ahead"] > half else "worse" if of["behind"] > half else "no clear difference"


def _describe_counts(of: dict[str, int] | None) -> str:
    if of is None:
        return "not measured"
    return f"**{_judge(of)}** ({of['ahead']} better, {of['behind']} worse of {sum(of.values())})"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _adds(counts: dict[str, int] | None) -> str:
    """Where a method can be run with and without the model: how often the model made it better, and worse."""
    return "" if counts is None else f"+{counts['ahead']} −{counts['behind']}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
