"""A small screen with known effects, for tests: genes act in two families, doubles add up."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

SINGLES = ("KLF1", "GATA1", "TAL1", "MAPK1", "MAP2K1", "RAF1", "TP53", "CDKN1A")
DOUBLES = ("GATA1+KLF1", "KLF1+MAPK1", "MAP2K1+TP53", "CDKN1A+RAF1", "GATA1+TAL1", "MAPK1+TP53")
FAMILIES = {gene: i // 3 for i, gene in enumerate(SINGLES)}


def make_screen(
    n_cells: int = 40, *, n_genes: int = 60, escaped: float = 0.0, doubles: tuple[str, ...] = DOUBLES, seed: int = 0
) -> ad.AnnData:
    """Cells of each condition and of the control; a family of genes lifts its own ten genes fourfold."""
    from scfviz.data.vocabulary import load_vocabulary

    rng = np.random.default_rng(seed)
    others = [gene for gene in load_vocabulary().symbols[::250] if gene not in SINGLES][: n_genes - len(SINGLES)]
    genes = [*SINGLES, *others]
    level = rng.gamma(2.0, size=len(genes)) + 1
    conditions = ["ctrl", *SINGLES, *doubles]
    names = np.repeat(conditions, n_cells)
    factor = np.ones((len(names), len(genes)))
    for row, name in enumerate(names):
        if name == "ctrl" or rng.random() < escaped:
            continue
        for gene in name.split("+"):
            start = len(SINGLES) + 10 * FAMILIES[gene]
            factor[row, start : start + 10] *= 4
            factor[row, genes.index(gene)] *= 0.1  # the target itself goes down
    counts = rng.poisson(8 * level * factor).astype(np.float32)
    obs = pd.DataFrame(
        {"condition": pd.Categorical(names), "sample": "one", "age": 1.0}, index=[f"cell{i}" for i in range(len(names))]
    )
    obs["sample"] = pd.Categorical(np.where(np.arange(len(names)) % 2, "one", "two"))
    return ad.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=genes))
