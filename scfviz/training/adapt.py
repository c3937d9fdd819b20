"""`scfviz adapt`: go on with pretraining on one's own unlabelled cells, with all weights or with low-rank adapters."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_reader import Corpus
from scfviz.data.corpus_writer import CorpusOptions
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint, read_genes
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.adapters import ADAPTER, add_adapters, merge_adapters, save_adapter
from scfviz.training.judge import Verdict, judge
from scfviz.training.options import MaskingOptions, masking_of
from scfviz.training.pretrain import CHECKPOINT, PretrainOptions, pretrain
from scfviz.training.run import Progress, ShouldStop

CORPUS = "corpus"
HELD_OUT = 0.25  # of the cells, or of the donors: one half chooses the weights, the other judges them


def adapt(
    files: Sequence[Path | str],
    out: Path | str,
    options: PretrainOptions,
    *,
    checkpoint: Path | str | None = None,
    rank: int | None = None,
    hold_out_by: str | None = None,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Path:
    """Continue pretraining on one's own cells.

    A quarter of the cells is held out: the best weights are chosen on half of them, the others are for `judge_adapted`.

    Parameters
    ----------
    files
        Dataset files; no labels are needed.
    out
        Receives the corpus, the state, the log, the new checkpoint folder and, with `rank`, the adapter by itself.
    options
        As for `pretrain`; `start_from` is set here, and the objective is the checkpoint's own unless another is given.
    checkpoint
        Where to start: a checkpoint folder, imported official weights included. The one that ships when left out.
    rank
        Train low-rank adapters of this rank and merge them at the end; all weights when `None`.
    hold_out_by
        Column of the cells, for example the donor, whose values are held out whole; single cells when left out.
    progress, should_stop
        See `pretrain`.

    Returns
    -------
    Path
        The checkpoint folder. Its licence is that of the weights it started from.

    Raises
    ------
    OptionError, DatasetError, CheckpointError, JobError
        See `build_corpus` and `pretrain`.
    """
    folder = Path(checkpoint) if checkpoint is not None else default_checkpoint()
    info = checkpoint_info(folder)
    corpus = Path(out) / CORPUS
    masking = masking_of(info.training) if options.masking == MaskingOptions() else options.masking
    rules = CorpusOptions(held_out_cells=HELD_OUT, held_out_datasets=0.0, hold_out_by=hold_out_by)
    build_corpus(files, corpus, report=report, options=rules, genes=read_genes(folder))
    n_choosing = min(options.validation_cells, Corpus(corpus).n_cells("held-out cells") // 2)
    about = {"name": options.name, "base": info.name, "base_hash": info.hash, "licence": info.licence, "rank": rank}

    def finish(model: ScFoundation) -> ScFoundation:
        save_adapter(model, Path(out) / ADAPTER, about)
        return merge_adapters(model)

    return pretrain(
        corpus,
        out,
        info.config,
        replace(
            options,
            start_from=folder,
            masking=masking,
            training=replace(options.training, keep_best=True),
            validation_cells=n_choosing,
        ),
        resume=resume,
        report=report,
        progress=progress,
        should_stop=should_stop,
        prepare=None if rank is None else lambda model: add_adapters(model, rank),
        finish=None if rank is None else finish,
    )


def judge_adapted(
    out: Path | str, cache_dir: Path | str, *, checkpoint: Path | str | None = None, **options: Any
) -> Verdict:
    """What came of `adapt` in `out`, which started from `checkpoint`; `options` as for `judge`."""
    folder = Path(checkpoint) if checkpoint is not None else default_checkpoint()
    models = load_checkpoint(folder), load_checkpoint(Path(out) / CHECKPOINT)
    masking = masking_of(checkpoint_info(folder).training)
    seed = checkpoint_info(Path(out) / CHECKPOINT).training["optimiser"]["seed"]
    return judge(*models, Corpus(Path(out) / CORPUS), cache_dir, masking=masking, seed=seed, **options)
