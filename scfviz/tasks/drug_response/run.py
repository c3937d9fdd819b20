"""The task: bulk samples in, their predicted responses out.

Columns of `cells` (one row a sample): drug_general, drug_general_percentile, drug_distance_percentile. Tables:
`predictions`, one row a sample and drug.
"""

import numpy as np

from scfviz.tasks.drug_response.card import CAVEATS, say_domain
from scfviz.tasks.drug_response.compute import predict_ic50, responses_table
from scfviz.tasks.drug_response.options import DrugResponseOptions
from scfviz.tasks.drug_response.samples import open_samples
from scfviz.tasks.drug_response.store import read_drug_predictor
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps


def run(cells: OpenedCells, options: DrugResponseOptions, steps: Steps) -> Result:
    """Predict the response of bulk samples to the drugs of the predictor that ships."""
    with steps.step(0.1, "Reading the samples"):
        samples = open_samples(options.dataset, column=options.gene_column)
    with steps.step(0.5, "Predicting"):
        predictor = read_drug_predictor()
        found = predict_ic50(samples, predictor=predictor, drugs=options.drugs)
    table = cells.aligned.obs[[]].copy()
    for name, values in (
        ("drug_general", found.general),
        ("drug_general_percentile", found.general_percentile),
        ("drug_distance_percentile", found.distance_percentile),
    ):
        table[name] = values[cells.kept].astype(np.float32)
    predictions = responses_table(found, predictor)
    kept = {found.samples[i] for i in cells.kept}
    predictions = predictions[predictions["sample"].isin(kept)].reset_index(drop=True)
    notes = (*found.notes, say_domain(found), *CAVEATS)
    return Result(cells.kept, table, tables={"predictions": predictions}, notes=notes, scores={})
