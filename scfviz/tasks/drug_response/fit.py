"""Learn a predictor of drug response from lines: folds that hold lines out say how far it can be trusted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scfviz.errors import DatasetError
from scfviz.tasks.drug_response.factors import N_FACTORS, Factors, fit_factors
from scfviz.tasks.drug_response.predictor import GRID, DrugPredictor, KnownLines
from scfviz.tasks.drug_response.ridge import Regression, fit_regression
from scfviz.tasks.drug_response.samples import Samples, read_samples
from scfviz.tasks.drug_response.scale import RNASEQ, TABLE, fit_calibration, scale_samples
from scfviz.tasks.drug_response.sharing import learn_sharing
from scfviz.tasks.drug_response.tables import Drug, LineExpression, Responses
from scfviz.tasks.drug_response.unseen import fit_unseen

N_FOLDS, MIN_LINES, MIN_MEASURED = 5, 60, 30
_GENE_COUNTS = (100, 200, 500, 1_000, 2_000)


def fit_drug_response(
    expression: LineExpression,
    responses: Responses,
    drugs: Sequence[Drug] | None = None,
    *,
    paired: LineExpression | None = None,
    n_factors: int = N_FACTORS,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    keep_lines: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DrugPredictor:
    """Learn a predictor from expression and responses of lines.

    Parameters
    ----------
    expression
        Of lines, see `read_line_expression`; any unit that keeps the order of genes within a line.
    responses
        ln(IC50 in uM) of the same lines and others, see `read_responses`.
    drugs
        What is known of the drugs of `responses`, in their order.
    paired
        RNA-seq of some of the same lines: tables of RNA-seq are then read by its genes.
    seed
        Of what is held out.
    keep_lines
        Whether the predictor holds the lines and what was measured on them, so that the nearest can be shown.

    Raises
    ------
    DatasetError
        Too few lines have both, or no drug was measured on enough of them.
    """
    values, responses, genes = _shared_lines(expression, responses)
    enough = np.isfinite(responses.ln_ic50).sum(axis=0) >= MIN_MEASURED
    if not enough.any():
        raise DatasetError(
            "No drug was measured on enough lines.", f"At least {MIN_MEASURED} are needed.", "Use a larger table."
        )
    truth = responses.ln_ic50[:, enough].astype(np.float64)
    known = tuple(Drug(name) for name in responses.drugs) if drugs is None else tuple(drugs)
    known = tuple(drug for drug, keep in zip(known, enough, strict=True) if keep)
    both = None if paired is None else pair(paired, responses.lines)
    held_out = hold_out(values, truth, genes, both, n_factors=n_factors, seed=seed, progress=progress)
    factors, scores = fit_factors(values, n_factors)
    regression = fit_regression(scores, truth, len(genes))
    error = truth - held_out["expected"]
    calibration = None
    if both is not None:
        calibration = fit_calibration(both.samples, genes, factors, values[both.rows])
        distances = np.nanquantile(held_out["distance_rnaseq"], GRID)
        calibration = replace(calibration, wider=held_out["wider_by_scale"], distances=distances)
    shared, own = learn_sharing(error, seed)
    return DrugPredictor(
        genes,
        factors,
        regression,
        known,
        np.isfinite(truth).sum(axis=0),
        np.nanquantile(truth, GRID, axis=0).T,
        np.nanquantile(error, GRID, axis=0).T,
        shared,
        own,
        np.quantile(held_out["general"], GRID),
        np.quantile(held_out["distance"], GRID),
        np.stack([[*_GENE_COUNTS, len(genes)], [*held_out["wider"], 1.0]]),
        fit_unseen(known, np.nanmean(truth, axis=0), held_out["expected"], truth),
        calibration,
        describe_scores(truth, held_out["expected"], held_out["baseline"]),
        dict(about or {}) | {"n_lines": len(values)},
        KnownLines(responses.line_names, scores.astype(np.float32), truth.astype(np.float32)) if keep_lines else None,
    )


@dataclass(frozen=True)
class Paired:
    """Lines that were measured by RNA-seq, too: their samples, and their rows among the lines."""

    samples: Samples
    rows: np.ndarray

    def take(self, lines: np.ndarray) -> "Paired":
        """Those among some lines, by their rows."""
        chosen = np.flatnonzero(np.isin(self.rows, lines))
        samples = replace(
            self.samples, names=tuple(self.samples.names[i] for i in chosen), values=self.samples.values[chosen]
        )
        return Paired(samples, self.rows[chosen])


def pair(paired: LineExpression, lines: Sequence[str]) -> Paired:
    """RNA-seq of the lines that a predictor is learned from.

    Raises
    ------
    DatasetError
        Fewer than 60 lines were measured both ways.
    """
    import anndata as ad
    import pandas as pd

    place = {line: i for i, line in enumerate(lines)}
    chosen = [i for i, line in enumerate(paired.lines) if line in place]
    if len(chosen) < MIN_LINES:
        raise DatasetError(
            f"{len(chosen):,} lines were measured both ways.", f"At least {MIN_LINES} are needed.", "Check their names."
        )
    names = [paired.lines[i] for i in chosen]
    table = ad.AnnData(paired.values[chosen], obs=pd.DataFrame(index=names), var=pd.DataFrame(index=list(paired.genes)))
    return Paired(read_samples(table), np.array([place[name] for name in names]))


def hold_out(
    values: np.ndarray,
    truth: np.ndarray,
    genes: tuple[str, ...] = (),
    both: Paired | None = None,
    *,
    n_factors: int = N_FACTORS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Predict each line from the others.

    Returns
    -------
    dict
        `expected`, `baseline` (mean of the drug) (n_lines, n_drugs); `general`, `distance` (n_lines,); `wider`: by how
        much errors grow where a table holds few genes; with `both`, predictions from RNA-seq by scale (`by_scale`, NaN
        for other lines), and by how much their errors are larger (`wider_by_scale`).
    """
    n = len(values)
    found = {name: np.empty(truth.shape) for name in ("expected", "baseline")}
    found |= {name: np.empty(n) for name in ("general", "distance")}
    few = {count: np.empty(truth.shape) for count in _GENE_COUNTS}
    found["distance_rnaseq"] = np.full(n, np.nan)
    by_scale = {} if both is None else {scale: np.full(truth.shape, np.nan) for scale in (RNASEQ, TABLE)}
    rng = np.random.default_rng(seed)
    folds = np.array_split(rng.permutation(n), N_FOLDS)
    for number, held in enumerate(folds):
        rest = np.setdiff1d(np.arange(n), held)
        factors, scores = fit_factors(values[rest], n_factors)
        regression = fit_regression(scores, truth[rest], values.shape[1])
        standard = factors.standardise(values[held])
        found["expected"][held] = regression.predict(factors.scores(standard))
        found["baseline"][held] = np.nanmean(truth[rest], axis=0)
        found["general"][held] = factors.scores(standard) @ regression.general
        found["distance"][held] = factors.distance(standard)
        for count in _GENE_COUNTS:
            few[count][held] = _with_few(factors, regression, standard, count, rng)
        for scale, said in by_scale.items():
            known, new = both.take(rest), both.take(held)
            calibration = fit_calibration(known.samples, genes, factors, values[known.rows])
            scaled = scale_samples(new.samples, genes, factors, calibration, scale)
            said[new.rows] = regression.predict(factors.scores(scaled.values))
            if scale == RNASEQ:
                found["distance_rnaseq"][new.rows] = factors.distance(scaled.values)
        progress(number + 1, N_FOLDS)
    whole = _spread(truth - found["expected"])
    wider = [max(_spread(truth - few[count]) / whole, 1.0) for count in _GENE_COUNTS]
    found |= {"wider": np.maximum.accumulate(wider[::-1])[::-1], "by_scale": by_scale}
    same = {scale: np.isfinite(said) & np.isfinite(truth) for scale, said in by_scale.items()}
    return found | {
        "wider_by_scale": {
            scale: max(_spread((truth - said)[same[scale]]) / _spread((truth - found["expected"])[same[scale]]), 1.0)
            for scale, said in by_scale.items()
        }
    }


def describe_scores(truth: np.ndarray, expected: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
    """How predictions of held-out lines agree with what was measured, see `scores`."""
    from scfviz.tasks.drug_response import scores

    return scores.unseen_lines(truth, expected, baseline) | {
        "drugs": [round(r, 4) for r in scores.per_drug(truth, expected)]
    }


def _shared_lines(expression: LineExpression, responses: Responses) -> tuple[np.ndarray, Responses, tuple[str, ...]]:
    """Expression of the model's genes of the lines that have responses, each line once."""
    import pandas as pd

    from scfviz.data.genes import match_genes

    with_responses = set(responses.lines)
    rows = [i for i, line in enumerate(expression.lines) if line in with_responses]
    if len(rows) < MIN_LINES:
        raise DatasetError(
            f"{len(rows):,} lines have expression and responses.",
            f"At least {MIN_LINES} are needed.",
            "Check that both tables name the lines alike.",
        )
    match = match_genes(pd.DataFrame(index=list(expression.genes)), accept_few=True)
    place = {gene: i for i, gene in reversed(list(enumerate(match.target))) if gene >= 0}
    targets = sorted(place)
    genes = tuple(match.genes[i] for i in targets)
    values = expression.values[np.ix_(rows, [place[i] for i in targets])]
    return values, responses.take([expression.lines[i] for i in rows]), genes


def _with_few(
    factors: Factors, regression: Regression, standard: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    hidden = standard.astype(np.float64).copy()
    kept = rng.choice(standard.shape[1], min(count, standard.shape[1]), replace=False)
    hidden[:, np.setdiff1d(np.arange(standard.shape[1]), kept)] = np.nan
    return regression.predict(factors.scores(hidden))


def _spread(errors: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(errors**2)))
