"""The response of one cell type as a table."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.response.learn import ResponseModel, predict_response

if TYPE_CHECKING:
    import pandas as pd


def type_table(model: ResponseModel, row: int) -> "pd.DataFrame":
    """One row a gene, the largest change first: predicted with interval, measured, each view."""
    import pandas as pd

    responses = model.responses
    if responses.is_measured[row]:
        change, views = model.held_out[row], {name: said[row] for name, said in model.views_held_out.items()}
    else:
        said = predict_response(model)
        change, views = said.change[row], {name: one[row] for name, one in said.views.items()}
    table = pd.DataFrame(
        {
            "gene": responses.genes,
            "predicted": change,
            "low": change - model.spread,
            "high": change + model.spread,
            "measured": responses.change[row],
            "control": responses.basal[row],
            **views,
        }
    )
    return table.sort_values("predicted", key=np.abs, ascending=False, kind="stable", ignore_index=True)
