"""The pretraining objective of one cell: thin it, hide some entries, remember what they were.

Pure: arrays in, arrays out, and the same random generator gives the same result.
"""

from dataclasses import dataclass

import numpy as np

from scfviz.data.normalise import log_values
from scfviz.training.options import MaskingOptions


@dataclass(frozen=True)
class MaskedCell:
    """What the model is shown of a cell, and what it is asked for.

    Attributes
    ----------
    genes, values
        (L,) visible entries: gene numbers, ascending, and ln(1 + counts per 10,000) of the thinned counts.
    target_token, source_token
        log10 of the cell's counts before and after thinning.
    loss_genes, targets
        (M,) gene numbers that are asked for, and their ln(1 + counts per 10,000) before thinning.
    is_expressed
        (M,) whether the entry was above zero in the thinned counts.
    is_hidden
        (M,) whether the entry carries the mask vector; the others show a random value or are left as they were.
    """

    genes: np.ndarray
    values: np.ndarray
    target_token: float
    source_token: float
    loss_genes: np.ndarray
    targets: np.ndarray
    is_expressed: np.ndarray
    is_hidden: np.ndarray


def cell_generator(seed: int, epoch: int, position: int) -> np.random.Generator:
    """The random numbers of one cell in one epoch, whichever process asks for them."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, epoch, position))))


def thin_counts(counts: np.ndarray, options: MaskingOptions, rng: np.random.Generator) -> np.ndarray:
    """Beta-binomial down-sampling of one cell, with its gate.

    Parameters
    ----------
    counts
        (n,) raw counts above zero. Counts that are no whole numbers are rounded before they are thinned.

    Returns
    -------
    ndarray
        float32 of the same shape, nowhere above the input's rounding; the input itself when the cell is not thinned.
    """
    if counts.sum(dtype=np.float64) < options.down_sampling_from or rng.random() >= options.down_sampling:
        return counts
    share = rng.beta(options.beta_a, options.beta_b)
    thinned = rng.binomial(np.rint(counts).astype(np.int64), share).astype(np.float32)
    return thinned if thinned.any() else counts


def mask_cell(
    genes: np.ndarray,
    counts: np.ndarray,
    n_genes: int,
    options: MaskingOptions,
    rng: np.random.Generator,
    *,
    is_measured: np.ndarray | None = None,
) -> MaskedCell:
    """Thin and mask one cell.

    Parameters
    ----------
    genes, counts
        (n,) gene numbers, ascending, and raw counts above zero.
    n_genes
        Genes of the model.
    is_measured
        bool (n_genes,): genes that the dataset reports; all of them when left out.

    Returns
    -------
    MaskedCell
        Targets come from the counts before thinning; both sides are normalised by their own total. At least one entry
        stays visible.
    """
    thinned = thin_counts(counts, options, rng)
    raw_total, total = counts.sum(dtype=np.float64), thinned.sum(dtype=np.float64)
    kept = thinned > 0
    input_genes = genes[kept]
    input_values = log_values(thinned[kept], total)

    masked = rng.random(len(input_genes)) < options.masked_expressed
    is_zero = np.ones(n_genes, dtype=bool) if is_measured is None or options.unmeasured_zeros else is_measured.copy()
    is_zero[input_genes] = False
    zeros = np.flatnonzero(is_zero)
    zeros = zeros[rng.random(len(zeros)) < options.masked_zeros]

    loss_genes = np.concatenate([input_genes[masked], zeros]).astype(np.int32)
    is_expressed = np.arange(len(loss_genes)) < masked.sum()
    raw = np.zeros(n_genes, dtype=np.float32)
    raw[genes] = log_values(counts, raw_total)
    targets = raw[loss_genes]

    lot = rng.random(len(loss_genes))
    is_hidden = lot < options.mask_token
    is_random = ~is_hidden & (lot < options.mask_token + options.random_value)
    drawn = input_values[rng.integers(0, len(input_values), len(loss_genes))]

    shown = np.zeros(n_genes, dtype=np.float32)
    shown[input_genes] = input_values
    shown[loss_genes[is_hidden]] = 0.0
    shown[loss_genes[is_random]] = drawn[is_random]
    if not shown.any():  # a cell of a few genes, all of them hidden: the encoder needs one
        is_hidden[0] = False
        shown[loss_genes[0]] = input_values[masked][0]
    visible = np.flatnonzero(shown).astype(np.int32)
    return MaskedCell(
        genes=visible,
        values=shown[visible],
        target_token=float(np.log10(raw_total)),
        source_token=float(np.log10(total)),
        loss_genes=loss_genes,
        targets=targets,
        is_expressed=is_expressed,
        is_hidden=is_hidden,
    )
