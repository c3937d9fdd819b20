"""Which drugs, for which samples: what Python, the command and the page ask."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.drug_response.predictor import GRID, DrugPredictor, DrugResponses, predict_samples, share_below
from scfviz.tasks.drug_response.samples import Samples, open_samples, read_samples
from scfviz.tasks.drug_response.store import read_drug_predictor
from scfviz.tasks.drug_response.tables import MOST_LN_IC50, harmonise

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scfviz.tasks.drug_response.chemistry import Structure
    from scfviz.tasks.drug_response.unseen import UnseenRule

COLUMNS = {
    "sample": "Sample",
    "drug": "Drug",
    "pathway": "Pathway",
    "targets": "Targets",
    "ln_ic50": "ln IC50",
    "low": "5 %",
    "high": "95 %",
    "ic50_um": "IC50, uM",
    "percentile": "Percentile",
    "percentile_low": "Percentile, 5 %",
    "percentile_high": "Percentile, 95 %",
    "potency": "Potency",
    "general": "General",
    "specific": "Specific",
    "unseen_line_r": "r on unseen lines",
    "is_measured": "Measured",
}


@dataclass(frozen=True)
class NewDrug:
    """A drug that was not measured, predicted for samples from drugs of like structure.

    Attributes
    ----------
    structure
        What was asked for.
    nearest
        Names of the most similar drugs and their similarities, the nearest first.
    ln_ic50, low, high
        float64 (n_samples,): ln(IC50 in uM) and its 90 % interval as it held for left-out drugs.
    specific
        float64 (n_samples,): what the structure says beside the sample's general sensitivity.
    notes
        In sentences, what this is worth.
    """

    structure: "Structure"
    nearest: tuple[tuple[str, float], ...]
    ln_ic50: np.ndarray
    low: np.ndarray
    high: np.ndarray
    specific: np.ndarray
    notes: tuple[str, ...]


def predict_ic50(
    table: "Samples | AnnData | Path | str",
    *,
    predictor: DrugPredictor | Path | str | None = None,
    drugs: Sequence[str] | None = None,
    measured: "Mapping[tuple[str, str], float] | None" = None,
    scale: str | None = None,
    column: str | None = None,
    by: str | None = None,
) -> DrugResponses:
    """Predict ln(IC50 in uM) of drugs in samples from their expression.

    Parameters
    ----------
    table
        Samples: a file, an AnnData (`X` holds counts, TPM, FPKM or their logarithms), or `Samples`. Not changed.
    predictor
        Or its folder; the one that ships when left out.
    drugs
        Names; all when left out.
    measured
        ln(IC50) that was measured on the samples, by (sample, drug): other drugs follow.
    scale
        How samples are compared with the training lines: "lines", "rnaseq" or "table", see `scale_samples`; found when
        left out.
    column
        Column of the gene table that holds names; None chooses by content.
    by
        The file holds counts of single cells: they are added up by this column of theirs, see `open_samples`.

    Raises
    ------
    DatasetError, GeneError
        The table cannot be used; see `read_samples`.
    OptionError
        A drug is not known; the nearest names are offered.
    """
    model = predictor if isinstance(predictor, DrugPredictor) else read_drug_predictor(predictor)
    if isinstance(table, Samples):
        samples = table
    elif isinstance(table, str | Path):
        samples = open_samples(table, column=column, by=by)
    else:
        samples = read_samples(table, column=column)
    chosen = None if drugs is None else find_drugs(model, drugs)
    own = None if not measured else _measured(model, samples, measured)
    found = predict_samples(model, samples, own, scale)
    return found if chosen is None else take_drugs(found, chosen)


def find_drugs(predictor: DrugPredictor, names: Sequence[str]) -> np.ndarray:
    """Places of drugs by their names or synonyms, int (n,).

    Raises
    ------
    OptionError
        A name is not known; the nearest are offered.
    """
    place = {harmonise(synonym): i for i, drug in enumerate(predictor.drugs) for synonym in drug.synonyms}
    place |= {harmonise(drug.name): i for i, drug in enumerate(predictor.drugs)}
    found = []
    for name in names:
        if harmonise(name) not in place:
            near = difflib.get_close_matches(harmonise(name), place, n=3, cutoff=0.5)
            meant = ", ".join(dict.fromkeys(predictor.drugs[place[one]].name for one in near))
            raise OptionError(
                f"'{name}' is no drug of this predictor.",
                f"The nearest names are: {meant}." if meant else f"It knows {len(predictor.drugs):,} drugs.",
                "`scfviz drugs list` names all of them; any other drug can be given as SMILES.",
            )
        found.append(place[harmonise(name)])
    return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def take_drugs(found: DrugResponses, chosen: np.ndarray) -> DrugResponses:
    """The same samples, some drugs; the general part stays that of all drugs."""
    names = ("ln_ic50", "low", "high", "percentile", "percentile_low", "percentile_high", "specific", "is_measured")
    parts = {name: getattr(found, name)[:, chosen] for name in names}
    return replace(found, drugs=tuple(found.drugs[i] for i in chosen), potency=found.potency[chosen], **parts)


def responses_table(found: DrugResponses, predictor: DrugPredictor) -> "pd.DataFrame":
    """One row a sample and drug, the lowest percentile of each sample first: the columns of `COLUMNS`."""
    import pandas as pd

    about = {drug.name: drug for drug in predictor.drugs}
    worth = dict(zip(predictor.names, predictor.scores["drugs"], strict=True))
    n_samples, n_drugs = found.ln_ic50.shape
    names = np.tile(np.array(found.drugs, dtype=object), n_samples)
    rows = {
        "sample": np.repeat(np.array(found.samples, dtype=object), n_drugs),
        "drug": names,
        "pathway": [about[name].pathway for name in names],
        "targets": [about[name].targets for name in names],
        "ln_ic50": found.ln_ic50.ravel(),
        "low": found.low.ravel(),
        "high": found.high.ravel(),
        "ic50_um": np.exp(found.ln_ic50.ravel()),
        "percentile": found.percentile.ravel(),
        "percentile_low": found.percentile_low.ravel(),
        "percentile_high": found.percentile_high.ravel(),
        "potency": np.tile(found.potency, n_samples),
        "general": np.repeat(found.general, n_drugs),
        "specific": found.specific.ravel(),
        "unseen_line_r": [worth[name] for name in names],
        "is_measured": found.is_measured.ravel(),
    }
    table = pd.DataFrame(rows)
    order = np.lexsort((table["percentile"], np.repeat(np.arange(n_samples), n_drugs)))
    return table.iloc[order].reset_index(drop=True)


def samples_table(found: DrugResponses) -> "pd.DataFrame":
    """One row a sample: general sensitivity and likeness to the training lines."""
    import pandas as pd

    return pd.DataFrame(
        {
            "sample": found.samples,
            "general": found.general,
            "general_percentile": found.general_percentile,
            "distance": found.distance,
            "distance_percentile": found.distance_percentile,
            "is_far": found.is_far,
        }
    )


def predict_new_drug(found: DrugResponses, predictor: DrugPredictor, smiles: str, *, n_nearest: int = 5) -> NewDrug:
    """Predict a drug that was not measured, for samples whose known drugs were predicted (all of them).

    Raises
    ------
    OptionError
        The structure cannot be read or is outside of what was learned, or the predictor knows no structures.
    """
    from scfviz.tasks.drug_response.chemistry import fingerprints, read_structure, similarity
    from scfviz.tasks.drug_response.unseen import potency_of, similarities

    structure, rule = read_structure(smiles), predictor.unseen
    if rule is None:
        raise OptionError("This predictor knows no structures.", "Drugs with SMILES are needed.", "Use another one.")
    rows, known = similarities(predictor.drugs)
    bits = fingerprints([predictor.drugs[i].smiles for i in rows])
    near = similarity(structure.fingerprint, bits)
    order = np.argsort(-near, kind="stable")[:n_nearest]
    nearest = tuple((predictor.drugs[rows[i]].name, float(near[i])) for i in order)
    place = {name: i for i, name in enumerate(found.drugs)}
    specific = found.specific[:, [place[predictor.drugs[i].name] for i in rows]] @ rule.weights(near)
    means = predictor.regression.drug_mean[rows]
    level = float(potency_of(near[None], known, means, rule.penalty)[0])
    expected = level + found.general + specific
    low, high = np.interp([0.05, 0.95], GRID, rule.interval(nearest[0][1]))
    notes = [*structure.notes]
    if nearest[0][1] > 0.99:
        notes.append(f"This structure was measured as {nearest[0][0]}: choose it among the drugs instead.")
    notes.append(_worth(rule, *nearest[0]))
    return NewDrug(structure, nearest, expected, expected + low, expected + high, specific, tuple(notes))


def new_drug_table(found: DrugResponses, new: NewDrug) -> "pd.DataFrame":
    """One row a sample, with the columns of `responses_table` that make sense for a drug that was not measured."""
    import pandas as pd

    return pd.DataFrame(
        {
            "sample": found.samples,
            "drug": new.structure.smiles,
            "ln_ic50": new.ln_ic50,
            "low": new.low,
            "high": new.high,
            "ic50_um": np.exp(new.ln_ic50),
            "general": found.general,
            "specific": new.specific,
            "is_measured": False,
        }
    )


def _worth(rule: "UnseenRule", name: str, near: float) -> str:
    """What a prediction from structure is worth, at the similarity of the nearest drug."""
    alike = rule.of_bin(near)
    all_drugs = (
        f"{rule.scores['partial_r']:.2f} ({rule.scores['partial_low']:.2f} to {rule.scores['partial_high']:.2f})"
    )
    here = "" if alike is None else f"; {alike[1]:.2f} for the {alike[0]} drugs whose nearest was about as similar"
    return (
        f"The nearest measured drug is {name}, similarity {near:.2f}. Beyond a sample's general sensitivity, what a "
        f"structure says of differences between lines had, for drugs left out of training, a median r of {all_drugs}"
        f"{here}: the order of samples is mostly that of their general sensitivity."
    )


def percentile_among_lines(predictor: DrugPredictor, drug: int, values: np.ndarray) -> np.ndarray:
    """Share of the training lines (0 to 100) with a lower ln(IC50) of a drug."""
    return 100 * share_below(predictor.measured[drug], values)


def _measured(predictor: DrugPredictor, samples: Samples, measured: "Mapping[tuple[str, str], float]") -> np.ndarray:
    own = np.full((samples.n_samples, len(predictor.drugs)), np.nan)
    place = {name: i for i, name in enumerate(samples.names)}
    for (sample, drug), value in measured.items():
        if sample not in place:
            raise OptionError(
                f"A response was given for the sample '{sample}'.", "The table has no such sample.", "Correct the name."
            )
        if not abs(value) <= MOST_LN_IC50:
            raise OptionError(
                f"The response of '{sample}' to '{drug}' is {value}.",
                f"ln(IC50 in uM) lies between {-MOST_LN_IC50:g} and {MOST_LN_IC50:g}.",
                "Take the logarithm of IC50 in uM.",
            )
        own[place[sample], find_drugs(predictor, [drug])[0]] = value
    return own
