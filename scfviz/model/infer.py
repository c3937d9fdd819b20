"""Inference: cell embeddings, gene context embeddings and predicted expression, on any hardware.

One engine for all three: cells sorted by length, packed batches, results in the original order, written as they come.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from scfviz.errors import GeneError, OptionError
from scfviz.model.cluster.run import start_run
from scfviz.model.engine import InferenceRun, Progress, ShouldStop
from scfviz.model.scfoundation import Pooling, ScFoundation
from scfviz.model.tokens import PreparedCells

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts


@dataclass(frozen=True)
class CellEmbedding:
    """Embeddings of cells.

    Attributes
    ----------
    values
        float32 of shape (n_obs, 4 * encoder width) for pooling `all`: S token, T token, maximum and mean over gene
        tokens; of shape (n_obs, encoder width) for `max`.
    source_depth, target_depth
        float64 of shape (n_obs,), counts per cell; NaN for official inputs, whose totals are no read depths.
    provenance
        What was computed, with what, on what.
    """

    values: np.ndarray
    source_depth: np.ndarray
    target_depth: np.ndarray
    provenance: dict[str, Any]


@dataclass(frozen=True)
class GeneEmbedding:
    """Mean gene context embeddings of groups of cells.

    Attributes
    ----------
    values
        float32 of shape (n_groups, n_genes, decoder width).
    groups
        Name of each group, in sorted order; the one name `all` when there are no groups.
    n_cells
        int64 of shape (n_groups,): cells in each mean.
    provenance
        What was computed, with what, on what.
    """

    values: np.ndarray
    groups: tuple[str, ...]
    n_cells: np.ndarray
    provenance: dict[str, Any]


@dataclass(frozen=True)
class CellGeneEmbedding:
    """Context embeddings of genes in each cell.

    Attributes
    ----------
    values
        float32 of shape (n_obs, n_chosen, decoder width).
    genes
        Names of the chosen genes.
    source_depth, target_depth
        float64 of shape (n_obs,), counts per cell.
    provenance
        What was computed, with what, on what.
    """

    values: np.ndarray
    genes: tuple[str, ...]
    source_depth: np.ndarray
    target_depth: np.ndarray
    provenance: dict[str, Any]


def embed_cells(
    counts: "AlignedCounts | csr_matrix",
    model: ScFoundation,
    *,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    pooling: Pooling = "all",
    precision: str = "auto",
    device: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    official_input: str | None = None,
    official_totals: np.ndarray | None = None,
    cluster: str | None = None,
) -> CellEmbedding:
    """Embed each cell with the encoder.

    A cell's embedding does not depend on the cells that are computed with it.

    Parameters
    ----------
    counts
        Raw counts: an aligned dataset, or a sparse (n_obs, n_genes) matrix in the model's gene order.
    target_depth
        Target read depth, in counts per cell (not log). `None` keeps the cell's own depth.
    depth_fold
        The same as a multiple of the cell's own depth; not together with `target_depth`.
    pooling
        `all`: S token, T token, maximum and mean over gene tokens, side by side. `max`: maximum over all tokens.
    precision
        `fp32` is exact; `bf16` is faster where the hardware has it; `auto` takes bf16 where it pays.
    device
        `auto`, `cpu`, `cuda` or `mps`.
    out
        Folder for the results, which are written as they come; they stay in memory when left out.
    resume
        Go on with an interrupted run in `out`; its result is the same to the bit as that of a run in one go.
    progress
        Called with the cells done and the number of cells. Cells count by their work, so time left follows from it.
    should_stop
        Asked after each batch.
    official_input
        Treat the matrix, which then holds no counts, as the official program does: a key of `tokens.OFFICIAL_INPUTS`.
        Only for reproducing its numbers.
    official_totals
        float64 (n_obs,): counts of cells that are log-normalised already, where they are known.
    cluster
        Compute on the workers of a Dask cluster: `tcp://host:8786`, the address of its scheduler, or `local:4`, four
        processes on this computer. They open the file and the checkpoint themselves and write into `out`, all three at
        the same path. What they cannot open themselves (a matrix in memory, a model that was changed) is computed here.

    Raises
    ------
    DatasetError
        A cell has no counts: its depth has no logarithm. The message names the first such cell.
    OptionError
        Options that mean nothing, or a device that is not there.
    CheckpointError
        The model gives values that are no numbers: its weights are damaged.
    JobError
        One cell does not fit into memory, or `out` holds another run.
    Stopped
        `should_stop` said so; what is computed stays in `out`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    if pooling not in ("all", "max"):
        raise OptionError(f"Unknown pooling '{pooling}'.", "One of: all, max.", "")
    asked = (counts, model, target_depth, depth_fold, precision, device, official_input, official_totals)
    width = model.config.cell_embedding_width if pooling == "all" else model.config.encoder_width
    with start_run(cluster, out, should_stop, *asked) as run:
        store = run.open_store(
            out, (run.source.n_obs, width), {"task": "cell embedding", "pooling": pooling}, decode=False, resume=resume
        )

        def keep(indices: np.ndarray, values: np.ndarray, _is_last: bool) -> None:
            store.values[indices] = values

        embed = partial(InferenceRun.embed, pooling=pooling)
        run.compute(store, embed, keep, decode=False, progress=progress, should_stop=should_stop)
        provenance = run.provenance("cell embedding") | {"pooling": pooling}
    return CellEmbedding(store.finish(), *run.depths(), provenance)


def embed_genes(
    counts: "AlignedCounts | csr_matrix",
    model: ScFoundation,
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    precision: str = "auto",
    device: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> GeneEmbedding:
    """Mean context embedding of each gene over the cells of each group, from the decoder.

    Memory holds the sums of one group, however many cells and groups there are (with `out`).

    Parameters
    ----------
    groups
        (n_obs,) name of each cell's group; all cells are one group when left out.
    counts, target_depth, depth_fold, precision, device, out, resume, progress, should_stop
        See `embed_cells`.

    Raises
    ------
    OptionError
        `groups` has another length than there are cells, or options mean nothing.
    DatasetError, JobError, Stopped
        See `embed_cells`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    run = InferenceRun(counts, model, target_depth, depth_fold, precision, device)
    prepared, config, n_obs = run.prepared, model.config, run.source.n_obs
    labels = np.full(n_obs, "all") if groups is None else np.asarray(groups).astype(str)
    if labels.shape != (n_obs,):
        raise OptionError(
            f"There are {n_obs:,} cells and groups of shape {labels.shape}.", "One group for each cell is needed.", ""
        )
    names, codes = np.unique(labels, return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    identity = {"task": "gene embedding", "groups": hashlib.sha256("\0".join(labels).encode()).hexdigest()[:16]}
    store = run.open_store(
        out, (len(names), config.n_genes, config.decoder_width), identity, decode=True, resume=resume
    )
    sums = store.load_sums()
    if sums is None:
        sums = np.zeros(store.values.shape[1:], dtype=np.float64)

    def sum_cells(run: InferenceRun, cells: PreparedCells) -> np.ndarray:
        total = torch.zeros(sums.shape, device=prepared.device)
        for values_GE, _hidden_LD in run.decode(cells):
            total += values_GE
        return total.cpu().numpy()[None]

    def add(indices: np.ndarray, values: np.ndarray, is_last: bool) -> None:
        for part in values:
            np.add(sums, part, out=sums)
        if is_last:
            group = codes[indices[0]]
            store.values[group] = sums / len(members[group])
            sums.fill(0)

    run.compute(
        store, sum_cells, add, decode=True, progress=progress, should_stop=should_stop, groups=members, sums=sums
    )
    n_cells = np.array([len(cells) for cells in members])
    return GeneEmbedding(store.finish(), tuple(map(str, names)), n_cells, run.provenance("gene embedding"))


def embed_genes_per_cell(
    counts: "AlignedCounts | csr_matrix",
    model: ScFoundation,
    *,
    genes: Sequence[str] | None = None,
    official_batch: bool = False,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    precision: str = "auto",
    device: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> CellGeneEmbedding:
    """Context embedding of genes in each single cell, from the decoder.

    Written cell by cell: memory holds one batch. With all 19,264 genes of the published size a cell takes 39 MB.

    Parameters
    ----------
    genes
        Genes to keep, by the model's names; all when left out.
    official_batch
        Compute all cells in one batch, in which each depends on its mates, as the official `gene_batch` does. Only for
        reproducing its numbers, in fp32 on the CPU.
    counts, target_depth, depth_fold, precision, device, out, resume, progress, should_stop
        See `embed_cells`.

    Raises
    ------
    GeneError
        A gene is none of the model's.
    DatasetError, OptionError, CheckpointError, JobError, Stopped
        See `embed_cells`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    chosen = positions_of(genes, model)
    if official_batch:
        precision, device = "fp32", "cpu"
    run = InferenceRun(counts, model, target_depth, depth_fold, precision, device)
    task = {
        "task": "gene embedding of each cell",
        "genes": hashlib.sha256(chosen.tobytes()).hexdigest()[:16],
        "official_batch": official_batch,
    }
    shape = (run.source.n_obs, len(chosen), model.config.decoder_width)
    store = run.open_store(out, shape, task, decode=True, resume=resume)
    places = torch.from_numpy(chosen)

    def embed(run: InferenceRun, cells: PreparedCells) -> np.ndarray:
        of_cells = [values_GE[places.to(values_GE.device)] for values_GE, _hidden_LD in run.decode(cells)]
        return torch.stack(of_cells).float().cpu().numpy()

    def keep(indices: np.ndarray, values: np.ndarray, _is_last: bool) -> None:
        store.values[indices] = values

    if official_batch:
        store.values[:] = run.decode_as_one_batch(model)[:, chosen]
    else:
        run.compute(store, embed, keep, decode=True, progress=progress, should_stop=should_stop)
    names = tuple(model.genes[position] for position in chosen)
    return CellGeneEmbedding(store.finish(), names, *run.depths(), run.provenance(task["task"]))


def positions_of(genes: Sequence[str] | None, model: "ScFoundation | AlignedCounts") -> np.ndarray:
    """int64 (n_chosen,): where genes stand in the model or the dataset; all when `genes` is None."""
    if genes is None:
        return np.arange(len(model.genes))
    position = {gene: number for number, gene in enumerate(model.genes)}
    unknown = [gene for gene in genes if gene not in position]
    if unknown or not len(genes):
        raise GeneError(
            f"{len(unknown):,} of the {len(genes):,} chosen genes are none of the model's: {', '.join(unknown[:6])}.",
            "Its genes are current human symbols.",
            "Correct the names.",
        )
    return np.array([position[gene] for gene in genes], dtype=np.int64)


def predict_expression(
    counts: "AlignedCounts | csr_matrix",
    model: ScFoundation,
    *,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    precision: str = "auto",
    device: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """Predict the expression of all genes at the target depth.

    Parameters
    ----------
    counts, target_depth, depth_fold, precision, device, out, resume, progress, should_stop
        See `embed_cells`.

    Returns
    -------
    ndarray
        float32 of shape (n_obs, n_genes), ln(1 + counts per 10,000); memory-mapped from `out` where that is given,
        which large datasets need: 77 kB a cell at 19,264 genes.

    Raises
    ------
    DatasetError, OptionError, JobError, Stopped
        See `embed_cells`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    run = InferenceRun(counts, model, target_depth, depth_fold, precision, device)
    shape = (run.source.n_obs, model.config.n_genes)
    store = run.open_store(out, shape, {"task": "expression"}, decode=True, resume=resume)

    def predict(run: InferenceRun, cells: PreparedCells) -> np.ndarray:
        return torch.stack([run.prepared.to_expression(*parts) for parts in run.decode(cells)]).cpu().numpy()

    def keep(indices: np.ndarray, values: np.ndarray, _is_last: bool) -> None:
        store.values[indices] = values

    run.compute(store, predict, keep, decode=True, progress=progress, should_stop=should_stop)
    return store.finish()
