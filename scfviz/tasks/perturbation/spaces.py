"""Where genes lie: by the biological processes that they share, and in the model's table of gene embeddings."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from scfviz.errors import CheckpointError

GO, MODEL, COEXPRESSION = "go", "model", "coexpression"


@dataclass(frozen=True)
class GeneSpace:
    """Genes as vectors of length one.

    Attributes
    ----------
    name
        "go", "model" or "coexpression".
    place
        Row of each gene.
    vectors
        (n, D), sparse for processes, dense for embeddings.
    source
        Of embeddings: `name` and `hash` of the model.
    """

    name: str
    place: Mapping[str, int]
    vectors: "sp.csr_matrix | np.ndarray"
    source: Mapping[str, str] = field(default_factory=dict)

    def knows(self, genes: Sequence[str]) -> np.ndarray:
        """bool (n_genes,): genes that have a place."""
        return np.array([gene in self.place for gene in genes], dtype=bool)

    def rows(self, genes: Sequence[str]) -> "sp.csr_matrix | np.ndarray":
        """Vectors (n_genes, D); a gene without a place has zeros."""
        rows = np.array([self.place.get(gene, -1) for gene in genes], dtype=np.int64)
        found = self.vectors[np.maximum(rows, 0)]
        if sp.issparse(found):
            return sp.csr_matrix(sp.diags((rows >= 0).astype(np.float32)) @ found)
        return np.where((rows >= 0)[:, None], found, np.float32(0))

    def similarity(self, genes: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """Cosines, none below zero: float32 (n_genes, n_others); zero for a gene without a place."""
        found = self.rows(genes) @ self.rows(others).T
        dense = np.asarray(found.todense()) if sp.issparse(found) else found
        return np.maximum(dense, 0).astype(np.float32)


@lru_cache(maxsize=1)
def go_space() -> GeneSpace:
    """Genes by the processes of the Gene Ontology that ship with scfviz, rare ones with more weight."""
    from scfviz.places import ASSETS

    place: dict[str, int] = {}
    genes, terms = [], []
    with gzip.open(ASSETS / "gene_sets" / "go_bp.gmt.gz", "rt", encoding="utf-8") as file:
        for term, line in enumerate(file):
            members = line.rstrip("\n").split("\t")[2:]
            genes.extend(place.setdefault(gene, len(place)) for gene in members)
            terms.extend([term] * len(members))
    shape = (len(place), max(terms) + 1)
    table = sp.csr_matrix((np.ones(len(genes), dtype=np.float32), (genes, terms)), shape=shape)
    rarity = np.log(shape[0] / np.asarray(table.sum(axis=0)).ravel())
    weighted = table @ sp.diags(rarity.astype(np.float32))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return GeneSpace(GO, place, sp.csr_matrix(sp.diags((1 / np.maximum(length, 1e-6)).astype(np.float32)) @ weighted))


@lru_cache(maxsize=4)
def model_space(folder: str) -> GeneSpace:
    """Genes by the table of gene embeddings of a checkpoint, read without loading the model.

    Raises
    ------
    CheckpointError
        The folder holds no such table.
    """
    from safetensors import SafetensorError, safe_open

    from scfviz.model.checkpoint import checkpoint_info, read_genes

    info = checkpoint_info(folder)
    try:
        genes = read_genes(Path(folder))
        with safe_open(Path(folder) / "weights.safetensors", "np") as file:
            table = file.get_tensor("gene_embedding.weight")[: len(genes)].astype(np.float32)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"'{folder}' holds no table of gene embeddings.", "A checkpoint folder is needed.", "Choose another."
        ) from error
    table = table - table.mean(axis=0)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-6)
    source = {"name": info.name, "hash": info.hash}
    return GeneSpace(MODEL, {gene: i for i, gene in enumerate(genes)}, table, source)


def spaces_of(checkpoint: str | Path | None = None, *, fitted: Mapping[str, str] | None = None) -> dict[str, GeneSpace]:
    """Both spaces, by name.

    Parameters
    ----------
    checkpoint
        Folder of the model; the default one when left out.
    fitted
        `hash` of the model that a predictor was fitted with: of the default and the shipped checkpoint, that one.
    """
    from scfviz.model.checkpoint import SHIPPED, checkpoint_info, default_checkpoint

    folder = default_checkpoint() if checkpoint is None else Path(checkpoint)
    if checkpoint is None and fitted is not None and checkpoint_info(folder).hash != fitted.get("hash"):
        folder = SHIPPED  # a predictor that ships was fitted with the model that ships, whatever is in use
    return {GO: go_space(), MODEL: model_space(str(folder.resolve()))}


def refuse_other_model(spaces: Mapping[str, GeneSpace], fitted: Mapping[str, str]) -> None:
    """Refuse gene embeddings of a model that is not the one a predictor was fitted with.

    Raises
    ------
    CheckpointError
        It is another one.
    """
    found = spaces[MODEL].source
    if found.get("hash") != fitted.get("hash"):
        raise CheckpointError(
            f"The predictor was fitted with the gene embeddings of '{fitted.get('name')}' ({fitted.get('hash')}), the "
            f"model in use is '{found.get('name')}' ({found.get('hash')}).",
            "Embeddings of different models have nothing in common.",
            f"Use the checkpoint '{fitted.get('name')}', or fit the predictor again with this model.",
        )
