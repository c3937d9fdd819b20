"""Scenarios: predictions that were kept by name, as a section of a report, as a command and as a step of a script."""

import pprint
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scfviz.tasks.fragments import Block, Cell, Contribution, File, Section, Table, Text

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.tasks.perturbation.fit import PerturbationModel
    from scfviz.tasks.perturbation.predictor import LineAnswers

COLUMNS = ("gene", "change", "low", "high")
CHANGE, PROBABILITY = "change", "probability of a change, with its side"
_MOST_ROWS = 10
_CAVEAT = "Scenarios: predictions are changes of population means in the predictor's own line, not of cells."


@dataclass(frozen=True)
class Scenario:
    """One kept prediction.

    Attributes
    ----------
    name
        As its owner calls it.
    asked, source, unit
        What was asked, the title of the predictor, and what the numbers are.
    columns
        Lists of one length: `gene`, `change`, `low`, `high`, the largest change first.
    kept_at
        Seconds since 1970.
    predictor
        Which predictor said it: the name of one that ships, or that of a computation; empty where it is not known.
    """

    name: str
    asked: str
    source: str
    unit: str
    columns: dict[str, list[Any]] = field(repr=False)
    kept_at: float = 0.0
    predictor: str = ""


def predict_scenario(model: "PerturbationModel | LineAnswers", asked: str) -> "pd.DataFrame":
    """What a predictor says of one condition: gene, change, low, high, the largest change first.

    Changes are in ln(1 + counts per 10,000) with 90 % intervals; of a predictor of answers they are probabilities of a
    change, below zero where it is down, with 95 % intervals. The perturbed genes themselves are left out.

    Raises
    ------
    GeneError
        More than two genes are combined.
    """
    import numpy as np
    import pandas as pd

    from scfviz.tasks.perturbation.answers import predict_answers
    from scfviz.tasks.perturbation.fit import PerturbationModel, predict_perturbation
    from scfviz.tasks.perturbation.spaces import spaces_of

    if isinstance(model, PerturbationModel):
        found = predict_perturbation(model, [asked])
        parts = found.genes, found.change[0], found.low[0], found.high[0]
    else:
        spaces = spaces_of(fitted=model.changed.checkpoint)
        changed, side = (predict_answers(one, [asked], spaces) for one in (model.changed, model.direction))
        sign = np.where(side.estimate[0] > 0.5, 1.0, -1.0)
        ends = np.sort(np.stack([sign * changed.low[0], sign * changed.high[0]]), axis=0)
        parts = changed.genes, sign * changed.estimate[0], *ends
    table = pd.DataFrame(dict(zip(COLUMNS, parts, strict=True)))
    table = table[~table["gene"].isin(asked.split("+"))]
    return table.sort_values("change", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def command(scenarios: Sequence[Scenario], predictor: str, out: str = "scenarios.csv") -> str:
    """The command that gives the numbers of the scenarios; `predictor` as `find_predictor` takes it."""
    asked = dict.fromkeys(one.asked for one in scenarios)
    return shlex.join(["scfviz", "perturb", "predict", predictor, *asked, "--out", out])


def contribute(scenarios: Sequence[Scenario], predictor: str, code: str) -> Contribution:
    """What reports and scripts say of the scenarios of one predictor.

    Parameters
    ----------
    predictor
        As `find_predictor` takes it: the name of one that ships, or a folder.
    code
        Python that reads or makes the predictor and calls it `predictor`.
    """
    names = ", ".join(f"'{one.name}'" for one in scenarios)
    return Contribution(
        "Scenarios",
        f"Kept scenarios: {names}",
        max(one.kept_at for one in scenarios),
        sections=(section(scenarios, predictor),),
        cells=(script(scenarios, predictor, code),),
        caveats=(_CAVEAT,),
    )


def section(scenarios: Sequence[Scenario], predictor: str) -> Section:
    """The strongest changes of each with their intervals, and every gene as a file."""
    import pandas as pd

    blocks: list[Block] = [Text(f"From the command line: {command(scenarios, predictor)}", "note")]
    for one in scenarios:
        title = f"{one.name}: {one.asked}, {one.source}"
        share = "90 %" if one.unit == CHANGE else "95 %"
        head = ("Gene", one.unit.capitalize(), f"{share} interval")
        table = pd.DataFrame(one.columns).head(_MOST_ROWS)
        rows = [(str(row.gene), f"{row.change:.3f}", f"{row.low:.3f} to {row.high:.3f}") for row in table.itertuples()]
        blocks += [Text(title), Table(head, rows, title, (1, 2))]
    tables = [pd.DataFrame({"scenario": one.name, "condition": one.asked} | one.columns) for one in scenarios]
    blocks.append(File(pd.concat(tables), "scenarios", "every gene of the scenarios"))
    return Section("Scenarios", blocks)


def script(scenarios: Sequence[Scenario], predictor: str, code: str) -> Cell:
    """The same predictions, compared with what was kept; expects `check_close` and `RESULTS`."""
    kept = [(one.name, one.asked, *(one.columns[column][:_MOST_ROWS] for column in COLUMNS)) for one in scenarios]
    literal = pprint.pformat(kept, width=110, compact=True, sort_dicts=False)
    text = "Scenarios: (name, condition, genes of the largest changes, changes, both ends). All go into scenarios.csv."
    lines = f"""\
from scfviz.tasks.perturbation.scenarios import predict_scenario

{code}
print("The same from the command line:", {command(scenarios, predictor)!r})
SCENARIOS = {literal}
found = {{}}
for name, asked, genes, *numbers in SCENARIOS:
    found[name] = predict_scenario(predictor, asked)
    check_close(name, found[name].set_index("gene").loc[genes].to_numpy().T, numbers)
pd.concat(found, names=["scenario", None]).to_csv(RESULTS / "scenarios.csv")"""
    return Cell(text, lines)
