"""Cells of several types, half of them treated, with a response that is known, for tests."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

TYPES = ("T1", "T2", "M1", "M2", "B1", "B2")
FAMILY = {"T1": 0, "T2": 0, "M1": 1, "M2": 1, "B1": 2, "B2": 2}


def make_treated(n_cells: int = 40, *, untreated: tuple[str, ...] = ("B2",), seed: int = 0) -> ad.AnnData:
    """All types lift five genes threefold, each family five of its own fivefold; some types have control cells only."""
    from scfviz.data.vocabulary import load_vocabulary

    rng = np.random.default_rng(seed)
    genes = list(load_vocabulary().symbols[::70])[:260]
    level = rng.gamma(2.0, size=len(genes)) + 1
    own = {name: rng.lognormal(0, 0.15, len(genes)) for name in TYPES}
    of_family = [rng.lognormal(0, 0.8, len(genes)) for _ in range(3)]
    names, treated = [], []
    for name in TYPES:
        for is_treated in (False,) if name in untreated else (False, True):
            names += [name] * n_cells
            treated += [is_treated] * n_cells
    factor = np.ones((len(names), len(genes)))
    for row, (name, is_treated) in enumerate(zip(names, treated, strict=True)):
        factor[row] *= own[name] * of_family[FAMILY[name]]
        if is_treated:
            factor[row, :5] *= 3
            start = 5 + 5 * FAMILY[name]
            factor[row, start : start + 5] *= 5
    counts = rng.poisson(6 * level * factor).astype(np.float32)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(names),
            "stim": pd.Categorical(np.where(treated, "IFN-beta", "ctrl")),
        },
        index=[f"cell{i}" for i in range(len(names))],
    )
    order = rng.permutation(len(names))
    return ad.AnnData(sparse.csr_matrix(counts[order]), obs.iloc[order], pd.DataFrame(index=genes))
