"""Map cells onto a reference, from counts to labels."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.mapping.compute import (
    CellMapping,
    draw_picture,
    fit_reference,
    map_points,
    pair_cells,
    spread_mapping,
)
from scfviz.tasks.mapping.labels import read_labels
from scfviz.tasks.mapping.novelty import find_novel
from scfviz.tasks.mapping.scores import cluster_query

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation


def map_cells(
    query: "AlignedCounts",
    reference: "AlignedCounts",
    model: "ScFoundation",
    *,
    column: str | None = None,
    picture: np.ndarray | None = None,
    space: str = "combination",
    n_neighbors: int = 15,
    false_rate: float = 0.05,
    correction: str = "shift",
    precision: str = "auto",
    device: str = "auto",
    seed: int = 0,
) -> CellMapping:
    """Map cells onto a reference; neither dataset is changed.

    Parameters
    ----------
    query, reference
        Counts in the model's gene order. Only genes that both measured are compared.
    column
        Column of the reference's table whose labels are transferred; found when left out.
    picture
        float (n_reference, 2): the reference's map. None draws it from its variable genes.
    space
        "pca", "model", "both", or "combination": each with the weight it earned on the reference.
    n_neighbors
        Cells of the reference that are asked, per cell.
    false_rate
        Share of cells like the reference that may be called without counterpart.
    correction
        "shift" subtracts one overall shift of the query, "clusters" one per soft cluster of the reference, "none" none.

    Returns
    -------
    CellMapping
        Rows in the order of `query`; cells without counts on the common genes have NaN and "no counterpart".

    Raises
    ------
    DatasetError, GeneError, OptionError
        The two cannot be compared; the message says why.

    Source: label transfer by neighbours, Stuart et al. 2019, doi:10.1016/j.cell.2019.05.031; one shift from mutual
    nearest neighbours, Haghverdi et al. 2018, doi:10.1038/nbt.4091.
    """
    from scfviz.model.infer import embed_cells

    pair = pair_cells(query, reference, read_labels(reference.obs, column))
    embedded = [
        embed_cells(counts, model, precision=precision, device=device).values for counts in (pair.reference, pair.query)
    ]
    fitted = fit_reference(pair, embedded[0], space=space, n_neighbors=n_neighbors, seed=seed)
    picture = draw_picture(reference, seed=seed) if picture is None else np.asarray(picture, dtype=np.float32)
    points = fitted.spaces.project(pair.query, embedded[1])
    found = map_points(fitted, points, picture[pair.reference_rows], false_rate=false_rate, correction=correction)
    clusters = cluster_query(found.points[fitted.main], seed=seed)
    found = find_novel(pair, fitted, found, clusters, false_rate=false_rate)
    return spread_mapping(found, pair.query_rows, query.n_obs)
