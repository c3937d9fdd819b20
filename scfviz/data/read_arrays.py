"""Bare matrices, `.npy` and `.npz`, with a list of their genes: what the official program takes beside tables."""

from pathlib import Path

from scfviz.errors import DatasetError, OptionError

SUFFIXES = (".npy", ".npz")
PUBLISHED = "published"
TOTAL = "total_count"


def write_array_as_h5ad(path: Path, gene_list: str, out: Path, *, last_is_total: bool = False) -> None:
    """Make an .h5ad of a bare matrix, so that everything else can read it.

    Parameters
    ----------
    path
        `.npy`: numbers, cells x genes. `.npz`: a sparse matrix of scipy.
    gene_list
        A file with one gene a line (or its first column, with or without a heading), or `published`: the 19,264 genes
        of the published model in its order.
    out
        The new file. Its cells are called by their number, from 0.
    last_is_total
        One column more than genes follows: the total count of each cell.

    Raises
    ------
    DatasetError
        The matrix cannot be read, or has another number of columns than there are genes.
    OptionError
        The gene list cannot be read.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    try:
        loaded = sp.load_npz(path) if path.suffix == ".npz" else np.load(path, allow_pickle=False)
        matrix = sp.csr_matrix(loaded)
        if matrix.dtype.kind not in "uifb":
            raise ValueError(f"it holds {matrix.dtype}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"'{path.name}' cannot be read ({error}).",
            "A .npy file of numbers, cells x genes, or a .npz file of a sparse matrix of scipy is needed.",
            "Save it again with numpy.save or scipy.sparse.save_npz.",
        ) from error
    genes = read_gene_list(gene_list, matrix.shape[1] - last_is_total)
    names = [*genes, TOTAL] if last_is_total else genes
    obs = pd.DataFrame(index=[str(number) for number in range(matrix.shape[0])])
    ad.AnnData(matrix.astype(np.float32), obs, pd.DataFrame(index=names)).write_h5ad(out)


def read_gene_list(gene_list: str, n_genes: int) -> list[str]:
    """The genes of a list, which must be as many as the matrix has columns."""
    if gene_list == PUBLISHED:
        from scfviz.data.vocabulary import load_vocabulary

        genes = list(load_vocabulary().symbols)
    else:
        try:
            lines = Path(gene_list).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise OptionError(
                f"The gene list '{gene_list}' cannot be read ({error}).", "A text file, one gene a line.", "Correct it."
            ) from error
        genes = [line.replace(",", "\t").split("\t")[0].strip().strip('"') for line in lines if line.strip()]
        if len(genes) == n_genes + 1:  # a heading
            genes = genes[1:]
    if len(genes) != n_genes:
        raise DatasetError(
            f"The matrix has {n_genes:,} columns of genes, the list {len(genes):,} genes.",
            "Each column needs its gene: columns without names cannot be told apart.",
            "Give the list that belongs to this matrix.",
        )
    return genes
