"""A start from the data: gene statistics of a corpus, and a gene table that already knows which genes vary together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from scfviz.data.corpus_reader import Corpus, Split, shuffled
from scfviz.data.normalise import log_normalise
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.batches import TrainingBatch
from scfviz.training.objective import Objective
from scfviz.training.options import MaskingOptions


@dataclass(frozen=True)
class GeneMeans:
    """Constant predictions, the baselines of every score.

    Attributes
    ----------
    plain
        float32 (n_genes,): mean of ln(1 + counts per 10,000) over the cells that report the gene.
    masked
        The best constant per gene for the loss: expressed entries count as often as they are masked.
    """

    plain: np.ndarray
    masked: np.ndarray


def sample_cells(corpus: Corpus, n_cells: int, seed: int = 0, split: Split = "train") -> tuple[csr_matrix, np.ndarray]:
    """A random sample of a corpus, normalised.

    Returns
    -------
    tuple
        Sparse ln(1 + counts per 10,000), (cells, genes), and the dataset number of each cell.
    """
    total = corpus.n_cells(split)
    cells = [corpus.cell(int(p), split) for p in np.sort(shuffled(np.arange(min(n_cells, total)), total, seed))]
    indptr = np.cumsum([0, *(len(cell.genes) for cell in cells)])
    counts = csr_matrix(
        (np.concatenate([c.counts for c in cells]), np.concatenate([c.genes for c in cells]), indptr),
        shape=(len(cells), len(corpus.genes)),
    )
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    return log_normalise(counts, totals), np.array([cell.source for cell in cells])


def trained_depths(corpus: Corpus, n_cells: int, start: dict[str, Any] | None = None, seed: int = 0) -> dict[str, Any]:
    """Read depths that a model meets in training: 1st and 99th percentile of the counts per cell, of a random sample.

    Parameters
    ----------
    start
        The same of the checkpoint that training goes on from, whose range is kept.
    """
    total = corpus.n_cells("train")
    sample = shuffled(np.arange(min(n_cells, total)), total, seed)
    depths = [float(np.sum(corpus.cell(int(p), "train").counts, dtype=np.float64)) for p in np.sort(sample)]
    low, high = np.percentile(depths, [1, 99])
    if start:
        low, high = min(low, start["low"]), max(high, start["high"])
    return {"low": float(low), "high": float(high), "cells": len(depths)}


def gene_means(corpus: Corpus, values: csr_matrix, sources: np.ndarray, masking: MaskingOptions) -> GeneMeans:
    """Per-gene means of a sample of cells; a gene counts only where it is measured."""
    n_measured = np.zeros(values.shape[1])
    for source, n in zip(*np.unique(sources, return_counts=True), strict=True):
        n_measured += n * corpus.is_measured(int(source))
    sums = np.asarray(values.sum(axis=0, dtype=np.float64)).ravel()
    n_expressed = np.bincount(values.indices, minlength=values.shape[1])
    n_zero = np.maximum(n_measured - n_expressed, 0)
    asked = masking.masked_expressed * n_expressed + masking.masked_zeros * n_zero
    return GeneMeans(
        (sums / np.maximum(n_measured, 1)).astype(np.float32),
        (masking.masked_expressed * sums / np.maximum(asked, 1e-9)).astype(np.float32),
    )


def initialise_from_data(model: ScFoundation, values: csr_matrix, means: GeneMeans, seed: int) -> None:
    """Start the gene table from the leading gene loadings of a sample of cells, in place.

    Random numbers would have to learn from scratch which genes go together; the loadings of a truncated singular value
    decomposition say it from the first step. The table gets a standard deviation of 0.5 per column, the first column
    holds the gene's mean.
    """
    width = model.config.encoder_width
    rng = np.random.default_rng(seed)
    loadings = _gene_loadings(values, width // 2, rng)
    table = rng.standard_normal((model.config.n_genes, width)).astype(np.float32)
    n = loadings.shape[1]
    table[:, 1 : 1 + n] = loadings / np.maximum(loadings.std(axis=0), 1e-9)
    table[:, 0] = (means.masked - means.masked.mean()) / max(float(means.masked.std()), 1e-9)
    np.clip(table, -6, 6, out=table)
    mixed = table @ np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    with torch.no_grad():
        model.gene_embedding.weight.normal_(0, 0.5)
        model.gene_embedding.weight[: model.config.n_genes] = torch.from_numpy(0.5 * mixed.astype(np.float32))


def prepare_layers(model: ScFoundation, example: TrainingBatch, *, strength: float = 4.0) -> None:
    """Start a new model's layers so that what a cell says reaches the prediction from the first step, in place.

    Four starts that random weights lack, found by looking at runs that did not learn:

    - Values: soft bins begin broad and almost alike; here the bins are spread until a value weighs as much as a gene's
      identity.
    - Encoder: with normalisation after the residual sum, layers that begin at full strength can wipe out the
      differences between tokens for good; here their branches begin at a tenth.
    - Decoder: linear attention starts close to a plain mean over all rows, of which some 95 % are genes that the cell
      does not express. Here the queries of the first head of every layer start with a constant direction, onto which
      the keys project what tells encoded rows from the others.
    - Output: the last layer starts at its least-squares solution for the example.

    Parameters
    ----------
    example
        Some cells of the corpus.
    strength
        Length of the queries, and of the difference between the keys of encoded and of other rows.
    """
    width, tokens = model.config.decoder_head_width, example.tokens
    with torch.no_grad():
        values = model.value_embedding
        values.to_bins.weight.mul_(2.0)
        spread = values(torch.linspace(0, 6, 64)).std(0).mean()
        values.bins.weight.mul_(0.5 / spread)
        values.bins.weight.sub_(values(torch.zeros(1)))  # zero itself begins at no shift
        for layer in model.encoder:
            layer.out.weight.mul_(0.1)
            layer.contract.weight.mul_(0.1)
        direction = torch.nn.functional.normalize(torch.randn(model.config.encoder_width), dim=0)
        model.encoder_norm.bias.copy_(0.5 * model.config.encoder_width**0.5 * direction)
        rows = model.to_decoder(model.encode(tokens) + model.gene_embedding(tokens.ids_N))
        zero = values(torch.zeros(1)) + model.gene_embedding(tokens.ids_N)
        for layer in model.decoder:
            gap = layer.attention_norm(rows).mean(0) - layer.attention_norm(model.to_decoder(zero)).mean(0)
            target = torch.nn.functional.normalize(torch.randn(width), dim=0)
            layer.q.bias[:width] = strength * target
            layer.k.weight[:width] += strength * torch.outer(target, gap / gap.square().sum())
        objective = Objective(model)
        features = objective.features(example, objective.encode(example)).double()
        mean, aim = features.mean(0), example.targets.double()
        gram = (features - mean).T @ (features - mean) / len(aim) + 1e-3 * torch.eye(features.shape[1])
        weights = torch.linalg.solve(gram, (features - mean).T @ (aim - aim.mean()) / len(aim))
        model.to_expression.weight.copy_(weights.float()[None])
        model.to_expression.bias.fill_(float(aim.mean() - mean @ weights))


def _gene_loadings(values: csr_matrix, n_components: int, rng: np.random.Generator) -> np.ndarray:
    """Right singular vectors by randomised subspace iteration; genes are centred without making them dense."""
    n_components = min(n_components, min(values.shape) - 1)
    centre = np.asarray(values.mean(axis=0)).ravel().astype(np.float32)
    basis = rng.standard_normal((values.shape[1], n_components + 10)).astype(np.float32)
    for _ in range(3):
        scores = values @ basis - centre @ basis
        scores, _r = np.linalg.qr(scores)
        basis = values.T @ scores - np.outer(centre, scores.sum(axis=0))
        basis, _r = np.linalg.qr(basis)
    scores = values @ basis - centre @ basis
    _u, _s, rotation = np.linalg.svd(scores, full_matrices=False)
    # Loadings are heavy-tailed: the logarithm keeps the many moderate genes apart from the few extreme ones.
    loadings = (basis @ rotation.T)[:, :n_components] * np.sqrt(values.shape[1])
    return np.arcsinh(3 * loadings).astype(np.float32)
