"""Put a matrix together from chunks of entries: in memory while small, on disk as soon as it is not."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import scipy.sparse as sp
from anndata.abc import CSRDataset

from scfviz.data import matrix as mx
from scfviz.data.sidecar import Chunk, write_sidecar


def assemble(chunks: Iterable[Chunk], shape: tuple[int, int], notes: list[str]) -> sp.csr_matrix | CSRDataset:
    """A cells x genes matrix from (rows, columns, values) chunks in any order; repeated entries are added.

    Returns
    -------
    scipy CSR in memory when all entries fit in the limit, else an anndata CSRDataset in a temporary file.
    """
    iterator: Iterator[Chunk] = iter(chunks)
    held, size = [], 0
    for chunk in iterator:
        held.append(chunk)
        size += sum(part.nbytes for part in chunk)
        # While it is put together in memory a matrix needs about twice its entries.
        if size > mx.IN_MEMORY_BYTES // 2:
            notes.append("The matrix is large; it is kept in a temporary file on disk while the dataset is open.")
            return write_sidecar(chain(held, iterator), shape)
    if not held:
        return sp.csr_matrix(shape, dtype=np.float32)
    rows, columns, values = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return sp.csr_matrix((values, (rows, columns)), shape=shape)
