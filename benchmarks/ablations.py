"""What two parts of the recipe are worth: thinning cells in training, and soft instead of rounded value bins.

    python benchmarks/ablations.py --corpus DIR [--steps N] [--out DIR] [--device cpu|cuda]

Trains the shipped recipe and one variant for each part from scratch, with the same cells in the same order, and scores
all on evaluation datasets: recovery of masked entries, of thinned cells, and cell types by nearest neighbours. Short
runs on purpose: they rank the parts, they are not the shipped model. A finished run in --out is not trained again.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from scfviz.benchmark.comparison import Comparison
from scfviz.benchmark.data import load_cells
from scfviz.benchmark.recovery import predictor, score_depth, score_masked
from scfviz.benchmark.representation import WITHIN, score_probes
from scfviz.data.corpus_reader import Corpus
from scfviz.data.normalise import COUNTS_PER_CELL
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
from scfviz.model.config import PRESETS
from scfviz.model.embeddings import ValueEmbedding
from scfviz.model.infer import embed_cells
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
from scfviz.training.pretrain import PretrainOptions, describe_hardware, pretrain
from scfviz.training.trainer import Ranks

ROOT = Path(__file__).resolve().parents[1]
EVALUATION = ROOT.parent / "shared" / "data" / "evaluation"
RESULTS = ROOT / "benchmarks" / "results" / "ablations.json"
RECIPE, THINNING, ROUNDED = "the recipe", "without thinning", "rounded values"
RECOVERED = (
    "baron_pancreas_cider",
    "hao_tcells_600",
    "pbmc3k",
    "scmix_singlecell",
    "treg_tconv_1749",
    "zheng_facs_pbmc",
)
LABELLED = ("pbmc3k", "treg_tconv_1749", "zheng_facs_pbmc")
MASKING = MaskingOptions(down_sampling=0.6, beta_a=1.0, beta_b=3.0, random_value=0.0)
BATCHES = BatchOptions(batch_size=16, max_genes=256, decoder_rows=512, long_cells=0.06, long_genes=3000, balance=0.7)


class RoundedValues(ValueEmbedding):
    """One learned vector for each of `n_bins` equal ranges of ln(1 + counts per 10,000), instead of a soft mixture."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        n_bins = self.bins.num_embeddings
        return F.embedding(
            (values * ((n_bins - 1) / math.log1p(COUNTS_PER_CELL))).round().long().clamp(0, n_bins - 1),
            self.bins.weight,
        )


def use_rounded_values(model: ScFoundation) -> ScFoundation:
    """Exchange the value embedding, in place; the vectors start as far apart as those of the recipe."""
    soft = model.value_embedding
    model.value_embedding = RoundedValues(model.config.n_bins, model.config.encoder_width, model.config.bin_alpha)
    model.value_embedding.load_state_dict(soft.state_dict())
    with torch.no_grad():
        model.value_embedding.bins.weight.normal_(0, 0.5)
        model.value_embedding.bins.weight[0] = 0
    for part in (model.value_embedding.to_bins, model.value_embedding.mix):
        part.requires_grad_(False)
    return model


def train(name: str, corpus: Path, out: Path, steps: int, device: str) -> ScFoundation:
    """One run, or the one that is there; gives the averaged weights."""
    masking = replace(MASKING, down_sampling=0.0) if name == THINNING else MASKING
    training = TrainingOptions(
        steps=steps, warm_up=100, cool_down=steps // 3, precision="bf16", log_every=50, validate_every=10**9
    )
    options = PretrainOptions(training, masking, BATCHES, name=name, validation_cells=4, device=device)
    folder = out / name.replace(" ", "_")
    prepare = use_rounded_values if name == ROUNDED else None
    config = replace(PRESETS["3M"], dropout=0.0)
    if not (folder / "done").is_file():
        resume = (folder / "state.pt").is_file()
        pretrain(
            corpus, folder, config, options, resume=resume, prepare=prepare, report=lambda t: print(name, t, flush=True)
        )
        (folder / "done").touch()
    model = load_checkpoint(folder / "checkpoint")
    if name == ROUNDED:
        model.value_embedding.__class__ = RoundedValues
    return model


def score(models: dict[str, ScFoundation], n_scored: int, seed: int) -> list[Comparison]:
    """All scores of all models on the same cells."""
    genes = next(iter(models.values())).genes
    predict = {name: predictor(model) for name, model in models.items()}
    found = []
    for name in RECOVERED:
        cells = load_cells(EVALUATION / f"{name}.h5ad", genes, 600, seed=seed)
        found += score_masked(cells, predict, n_scored=n_scored, seed=seed)
        found += score_depth(cells, predict, n_scored=n_scored, fractions=(0.05, 0.2), seed=seed)
        if name in LABELLED:
            rows = np.sort(np.random.default_rng(seed).permutation(cells.n_obs)[:300])
            embedded = {n: embed_cells(cells.counts[rows], m, precision="bf16").values for n, m in models.items()}
            found += [part for part in score_probes(cells, rows, embedded, seed=seed) if part.score == WITHIN]
        print(f"scored {name}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="what `scfviz corpus build` wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "ablations", help="the runs")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--scored", type=int, default=8, help="cells of each dataset that are recovered")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.corpus is None or not EVALUATION.is_dir():
        print(f"skipped: it needs --corpus, and datasets at {EVALUATION}")
        return 0
    began = time.process_time()
    models = {name: train(name, args.corpus, args.out, args.steps, args.device) for name in (RECIPE, THINNING, ROUNDED)}
    rows = []
    for comparison in score(models, args.scored, args.seed):
        row = {"dataset": comparison.dataset, "metric": comparison.metric, "n_cells": comparison.n_cells}
        row["values"] = {name: round(float(value), 4) for name, value in comparison.values.items()}
        # the recipe against a variant, on the same resampled cells
        row["recipe"] = {name: comparison.verdict(RECIPE, name) for name in (THINNING, ROUNDED)}
        rows.append(row)
    runs = {name: checkpoint_info(args.out / name.replace(" ", "_") / "checkpoint").training for name in models}
    RESULTS.write_text(
        json.dumps(
            {
                "date": date.today().isoformat(),
                "hardware": describe_hardware(Ranks(device=torch.device(args.device))),
                "steps": args.steps,
                "cells_seen": {name: run["cells_seen"] for name, run in runs.items()},
                "corpus": Corpus(args.corpus).fingerprint,
                "processor_seconds": round(time.process_time() - began),
                "summary": summarise(rows),
                "rows": rows,
            },
            indent=1,
        )
        + "\n"
    )
    print(json.dumps(summarise(rows), indent=1))
    return 0


def summarise(rows: list[dict]) -> dict[str, dict]:
    """Mean over datasets by metric, and on how many the recipe is clearly ahead or behind."""
    summary: dict[str, dict] = {}
    for metric in dict.fromkeys(row["metric"] for row in rows):
        here = [row for row in rows if row["metric"] == metric]
        summary[metric] = {"datasets": len(here)} | {
            name: {
                "mean": round(float(np.mean([row["values"][name] for row in here])), 4),
                **(
                    {}
                    if name == RECIPE
                    else {
                        f"recipe {verdict}": sum(row["recipe"][name] == verdict for row in here)
                        for verdict in ("ahead", "behind")
                    }
                ),
            }
            for name in (RECIPE, THINNING, ROUNDED)
        }
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
