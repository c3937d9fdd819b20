"""Speed and memory of training steps by size and precision, and what a sampled decoder costs.

    python benchmarks/pretrain.py [--device cpu|cuda] [--presets 3M 10M 100M] [--batch N] [--steps N] [--cpu-time]
    python benchmarks/pretrain.py --decoder [--seconds N]

The first form times training steps on generated cells of about 1,000 expressed genes: cells/s, FLOP/s as a share of the
measured matrix rate, and memory, in fp32 and in bf16, with the decoder on all genes and on 2,048 rows. The same
command uses a GPU where there is one. `--cpu-time` counts the processor's time instead of the clock's, for a machine
that is busy with other things.

The second form trains small models for equal times, with the whole decoder and with sampled rows, on generated cells in
which genes vary together, and scores all with the whole decoder.
"""

import argparse
import gc
import json
import resource
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from scfviz.data.vocabulary import load_vocabulary
from scfviz.model.config import PRESETS
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.batches import TrainingBatch, assemble_batch
from scfviz.training.masking import cell_generator, mask_cell
from scfviz.training.objective import Objective, forward_flops
from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
from scfviz.training.pretrain import describe_hardware
from scfviz.training.trainer import Ranks, Trainer

RESULTS = Path(__file__).parent / "results" / "pretrain.json"


def make_batch(n_cells: int, n_genes: int, options: BatchOptions, seed: int, *, programs: int = 0) -> TrainingBatch:
    """A training batch of generated cells; with `programs`, groups of genes rise and fall together."""
    shared = np.random.default_rng(7)
    level = shared.gamma(0.12, size=n_genes)
    loadings = shared.standard_normal((programs, n_genes)) if programs else None
    cells, rngs = [], []
    for i in range(n_cells):
        rng = cell_generator(seed, 0, i)
        mean = level
        if loadings is not None:
            mean = level * np.exp(rng.standard_normal(programs) @ loadings * 0.5)
        counts = rng.poisson(4000 * mean / mean.sum()).astype(np.float32)
        genes = np.flatnonzero(counts).astype(np.int32)
        cells.append(mask_cell(genes, counts[genes], n_genes, MaskingOptions(), rng))
        rngs.append(rng)
    return assemble_batch(cells, n_genes, options, rngs, range(n_cells))


class Clock:
    """Time as a user or as the processor sees it."""

    def __init__(self, device: torch.device, cpu_time: bool):
        self.device, self.now = device, time.process_time if cpu_time else time.perf_counter

    def read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.now()


def matrix_rate(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """FLOP/s of a large matrix product."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(4):
        began = clock.read()
        _product = a @ b
        best = max(best, 2 * n**3 / (clock.read() - began))
    return best


def measure(preset: str, rows: int, precision: str, args: argparse.Namespace, rates: dict[str, float]) -> dict:
    device = torch.device(args.device)
    clock = Clock(device, args.cpu_time)
    genes = load_vocabulary().symbols
    config = PRESETS[preset]
    batch = make_batch(args.batch, len(genes), BatchOptions(args.batch, decoder_rows=rows, max_genes=0), seed=1)
    trainer = Trainer(
        Objective(ScFoundation(config, genes), recompute_layers=args.recompute),
        TrainingOptions(steps=99, precision=precision),
        Ranks(device=device),
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.train_step([batch], lambda b: "")
    began = clock.read()
    for _ in range(args.steps):
        trainer.train_step([batch], lambda b: "")
    seconds = (clock.read() - began) / args.steps
    flops = 3 * forward_flops(config, batch.tokens.lengths, batch.ids_BR.shape[1])
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else resident_gb()
    return {
        "preset": preset,
        "decoder_rows": rows or len(genes) + 2,
        "precision": precision,
        "batch": args.batch,
        "tokens_per_cell": float(np.mean(batch.tokens.lengths)),
        "cells_per_second": args.batch / seconds,
        "tflops": flops / seconds / 1e12,
        "share_of_matrix_rate": flops / seconds / rates[precision],
        "memory_gb": memory,
    }


def resident_gb() -> float:
    """Peak of the process so far; sizes run from small to large."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def compare_decoders(args: argparse.Namespace) -> list[dict]:
    """Equal training time for the whole and for sampled decoders; all scored with the whole one."""
    n_genes = 4096
    config = replace(PRESETS["tiny"], n_genes=n_genes, dropout=0.0)
    genes = [f"G{i}" for i in range(n_genes)]
    validation = [make_batch(16, n_genes, BatchOptions(decoder_rows=0), seed=900 + i, programs=8) for i in range(4)]
    clock = Clock(torch.device("cpu"), cpu_time=True)
    results = []
    for rows in (0, 2048, 1024):
        torch.manual_seed(0)
        options = TrainingOptions(steps=10**6, learning_rate=3e-3, warm_up=50, average=0.98)
        trainer = Trainer(Objective(ScFoundation(config, genes)), options, Ranks())
        passed, step = 0.0, 0
        while passed < args.seconds:
            batch = make_batch(16, n_genes, BatchOptions(decoder_rows=rows), seed=step, programs=8)
            began = clock.read()
            trainer.train_step([batch], lambda b: "")
            passed += clock.read() - began
            step += 1
        with trainer.averaged_weights():
            total, expressed, zero = trainer.evaluate(validation)
        results.append(
            {
                "decoder_rows": rows or n_genes + 2,
                "genes": n_genes,
                "cpu_seconds": passed,
                "steps": step,
                "mse": total,
                "mse_expressed": expressed,
                "mse_zero": zero,
            }
        )
        print(json.dumps(results[-1]), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--presets", nargs="+", default=["3M", "10M", "100M"], choices=list(PRESETS))
    parser.add_argument("--batch", type=int, help="cells per step (default: 4 on a CPU, 64 on a GPU)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 2048], help="decoder rows; 0: all genes")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--recompute", action="store_true", help="recompute layers on the way back")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--decoder", action="store_true", help="compare decoders instead")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training per decoder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.batch = args.batch or (64 if args.device == "cuda" else 4)
    stored = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    if args.decoder:
        stored["decoders"] = {"date": date.today().isoformat(), "results": compare_decoders(args)}
    else:
        device = torch.device(args.device)
        clock = Clock(device, args.cpu_time)
        rates = {
            name: matrix_rate(device, kind, clock) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }
        print({name: f"{value / 1e12:.3g} TFLOP/s" for name, value in rates.items()}, flush=True)
        table = []
        for preset in args.presets:
            for rows in args.rows:
                for precision in args.precisions:
                    table.append(measure(preset, rows, precision, args, rates))
                    print(json.dumps(table[-1]), flush=True)
                    gc.collect()
        stored[args.device] = {
            "date": date.today().isoformat(),
            "hardware": describe_hardware(Ranks(device=device)),
            "time": "processor" if args.cpu_time else "clock",
            "matrix_tflops": {k: v / 1e12 for k, v in rates.items()},
            "steps": table,
        }
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
