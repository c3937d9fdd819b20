"""A corpus of generated cells on few genes, in which genes go together, for tests of training."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from scfviz.data.corpus_reader import GENES, SOURCES, Corpus
from scfviz.data.corpus_writer import CorpusOptions, SourceRecord, SourceWriter, write_manifest, write_text

OPTIONS = CorpusOptions(more_than_genes=5, held_out_cells=0.1)


def make_counts(n_cells: int, n_genes: int, seed: int) -> csr_matrix:
    """Cells of four kinds, each with a quarter of the genes ten times higher; some above 1,000 counts, some below."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.7, size=n_genes) + 0.02
    kinds = np.where(np.arange(n_genes) % 4 == rng.integers(4, size=n_cells)[:, None], 10 * level, level)
    depths = rng.uniform(500, 3000, n_cells)[:, None]
    return csr_matrix(rng.poisson(depths * kinds / kinds.sum(axis=1, keepdims=True)).astype(np.float32))


def make_corpus(folder: Path, genes: list[str], sizes: tuple[int, ...] = (150, 90, 40)) -> Corpus:
    """Several datasets; the last is held out whole, the second does not report the last eight genes."""
    (folder / SOURCES).mkdir(parents=True)
    write_text(folder / GENES, "symbol\n" + "".join(f"{gene}\n" for gene in genes))
    for i, n_cells in enumerate(sizes):
        is_measured = np.ones(len(genes), dtype=bool)
        counts = make_counts(n_cells, len(genes), seed=i)
        if i == 1:
            is_measured[-8:] = False
            counts = csr_matrix(counts.toarray() * is_measured)
        record = SourceRecord(f"set{i}", f"set{i}.h5ad", f"{i:064d}", is_held_out=i == len(sizes) - 1)
        with SourceWriter(folder, record, OPTIONS, is_measured) as writer:
            for start in range(0, n_cells, 64):
                writer.add(counts[start : start + 64])
    write_manifest(folder, OPTIONS, {})
    return Corpus(folder)
