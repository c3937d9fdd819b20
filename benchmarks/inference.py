"""Speed, exactness and memory of inference against a loop that works as the official program does.

    python benchmarks/inference.py [--threads N] [--cells N] [--rounds N] [--no-bulk] [--out FILE]

The reference embeds one cell at a time with stock `torch.nn.TransformerEncoderLayer` modules in eval mode under
`no_grad`, with a padding mask, in fp32; its decoder is the Performer as the official program computes it, in plain
torch operations. Both sides have the same weights (random, published size) and the same cells, and take turns within
one run. About five minutes.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from scfviz.model.batching import cell_flops
from scfviz.model.config import PRESETS, ModelConfig
from scfviz.model.engine import InferenceRun, hardware_name
from scfviz.model.infer import embed_cells
from scfviz.model.packed_linear import PackedLinear
from scfviz.model.scfoundation import ScFoundation, pool_cells
from scfviz.model.tokens import PreparedCells, TokenBatch, prepare_cells, tokenise

RESULTS = Path(__file__).parent / "results" / "inference.json"
CPU = torch.device("cpu")


class OfficialLoop:
    """One cell per forward pass, as the official program has it."""

    def __init__(self, model: ScFoundation):
        self.model, config = model, model.config
        self.layers = []
        for ours in model.encoder:
            stock = torch.nn.TransformerEncoderLayer(
                config.encoder_width, config.encoder_heads, 4 * config.encoder_width, batch_first=True
            )
            parts = {
                "self_attn.in_proj_": ours.qkv,
                "self_attn.out_proj.": ours.out,
                "linear1.": ours.expand,
                "linear2.": ours.contract,
                "norm1.": ours.attention_norm,
                "norm2.": ours.feed_forward_norm,
            }
            stock.load_state_dict(
                {name + kind: getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}
            )
            self.layers.append(stock.eval())

    @torch.no_grad()
    def encode(self, cell: TokenBatch) -> torch.Tensor:
        """(L, encoder width)."""
        x = (self.model.value_embedding(cell.values_N) + self.model.gene_embedding(cell.ids_N)).unsqueeze(0)
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.model.encoder_norm(x).squeeze(0)

    @torch.no_grad()
    def predict(self, cell: TokenBatch) -> torch.Tensor:
        """(n_genes,)."""
        model, n_rows = self.model, self.model.config.n_genes + 2
        values = torch.zeros(n_rows)
        values[cell.ids_N] = cell.values_N
        x = model.value_embedding(values)
        x[cell.ids_N] = self.encode(cell)
        x = model.to_decoder(x + model.gene_embedding.weight[:n_rows]).unsqueeze(0)
        for layer in model.decoder:
            y = layer.attention_norm(x)
            q, k, v = (
                part(y).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2) for part in (layer.q, layer.k, layer.v)
            )
            q, k = self._features(q, layer.projection, True), self._features(k, layer.projection, False)
            inverse = 1.0 / torch.einsum("...nd,...d->...n", q, k.sum(-2))
            context = torch.einsum("...nd,...ne->...de", k, v)
            attended = torch.einsum("...de,...nd,...n->...ne", context, q, inverse)
            x = x + layer.out(attended.transpose(1, 2).flatten(2))
            x = x + layer.contract(F.gelu(layer.expand(layer.feed_forward_norm(x))))
        return model.to_expression(model.norm(model.decoder_norm(x)))[0, : model.config.n_genes, 0]

    @staticmethod
    def _features(x: torch.Tensor, projection: torch.Tensor, is_query: bool) -> torch.Tensor:
        scale, ratio = x.shape[-1] ** -0.25, projection.shape[0] ** -0.5
        dash = torch.einsum("...id,...jd->...ij", scale * x, projection.expand(*x.shape[:2], -1, -1))
        half_square = (x**2).sum(-1) / 2.0 * scale**2
        top = dash.amax(-1, keepdim=True) if is_query else dash.max()
        return ratio * (torch.exp(dash - half_square.unsqueeze(-1) - top) + 1e-4)


def random_model(config: ModelConfig) -> ScFoundation:
    torch.manual_seed(0)
    return ScFoundation(config, [f"G{i}" for i in range(config.n_genes)]).eval()


def random_cells(config: ModelConfig, n_expressed: list[int]) -> csr_matrix:
    rng = np.random.default_rng(0)
    indices = [np.sort(rng.permutation(config.n_genes)[:n]).astype(np.int32) for n in n_expressed]
    indptr = np.concatenate([[0], np.cumsum(n_expressed)])
    data = 1.0 + rng.poisson(rng.gamma(0.5, 4.0, size=indptr[-1]))
    return csr_matrix(
        (data.astype(np.float32), np.concatenate(indices), indptr), shape=(len(n_expressed), config.n_genes)
    )


def seconds(function: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def matrix_rates() -> dict[str, float]:
    """GFLOP/s of the largest product of an encoder layer, as torch computes it by default and as packed here."""
    x, weight, bias = torch.randn(4096, 768), torch.randn(3072, 768), torch.randn(3072)
    flops = 2 * 4096 * 768 * 3072 / 1e9
    rates = {}
    with torch.inference_mode():
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a, w, b = x.to(dtype), weight.to(dtype), bias.to(dtype)
            packed = PackedLinear(w, b, CPU, dtype)
            for kind, product in (
                ("default", lambda a=a, w=w, b=b: F.linear(a, w, b)),
                ("packed", lambda a=a, p=packed: p(a)),
            ):
                product()
                rates[f"{name}_{kind}"] = round(flops / statistics.median(seconds(product)[0] for _ in range(9)), 1)
    return rates


class Ours:
    """The engine with a model that was prepared once, as it works through a large dataset."""

    def __init__(self, cells: csr_matrix, model: ScFoundation, precision: str):
        self.run = InferenceRun(cells, model, None, None, precision, "cpu")

    def embed(self) -> np.ndarray:
        """(n_obs, 4 * encoder width), all cells in packed batches."""

        def evaluate(run: InferenceRun, cells: PreparedCells) -> np.ndarray:
            tokens = tokenise(cells, run.config)
            return pool_cells(run.prepared.encode(tokens), tokens).numpy()

        return self._all(evaluate, self.run.config.cell_embedding_width, decode=False)

    def predict(self) -> np.ndarray:
        """(n_obs, n_genes)."""

        def evaluate(run: InferenceRun, cells: PreparedCells) -> np.ndarray:
            return np.stack([run.prepared.to_expression(*parts).numpy() for parts in run.decode(cells)])

        return self._all(evaluate, self.run.config.n_genes, decode=True)

    def _all(self, evaluate: Callable[[PreparedCells], np.ndarray], width: int, decode: bool) -> np.ndarray:
        store = self.run.open_store(None, (self.run.source.n_obs, width), {}, decode=decode, resume=False)
        self.run.compute(
            store,
            evaluate,
            lambda indices, values, _is_last: store.values.__setitem__(indices, values),
            decode=decode,
            progress=None,
            should_stop=None,
        )
        return store.finish()


def compare_encoder(model: ScFoundation, cells: csr_matrix, rounds: int) -> dict:
    """Cell embeddings: the loop, fp32 and bf16 in turns."""
    loop, config = OfficialLoop(model), model.config
    single = [tokenise(prepare_cells(cells[i]), config) for i in range(cells.shape[0])]
    times: dict[str, list[float]] = {"loop": [], "fp32": [], "bf16": []}
    exact = torch.stack([pool_cells(loop.encode(cell), cell)[0] for cell in single])  # also warms up
    ours, found, preparing = {}, {}, {}
    for precision in ("fp32", "bf16"):
        preparing[precision], ours[precision] = seconds(lambda p=precision: Ours(cells, model, p))
        found[precision] = torch.from_numpy(ours[precision].embed())
    for number in range(rounds):
        cell = single[number % len(single)]
        times["loop"].append(seconds(lambda c=cell: pool_cells(loop.encode(c), c))[0])
        for precision in ("fp32", "bf16"):
            times[precision].append(seconds(ours[precision].embed)[0] / cells.shape[0])
    flops = float(cell_flops(config, np.diff(cells.indptr) + 2, False).mean())
    return summary(times, flops) | {
        "fp32_max_difference": float((found["fp32"] - exact).abs().max()),
        "bf16_min_cosine": float(F.cosine_similarity(found["bf16"], exact).min()),
        **{f"{precision}_preparing_seconds": round(taken, 2) for precision, taken in preparing.items()},
    }


def compare_decoder(model: ScFoundation, cells: csr_matrix, rounds: int) -> dict:
    """Predicted expression of all genes: the loop, fp32 and bf16 in turns."""
    loop, config = OfficialLoop(model), model.config
    cell = tokenise(prepare_cells(cells[0]), config)
    times: dict[str, list[float]] = {"loop": [], "fp32": [], "bf16": []}
    ours = {precision: Ours(cells, model, precision) for precision in ("fp32", "bf16")}
    exact = loop.predict(cell).numpy()  # also warms up
    found = {precision: ours[precision].predict()[0] for precision in ("fp32", "bf16")}
    for _ in range(rounds):
        times["loop"].append(seconds(lambda: loop.predict(cell))[0])
        for precision in ("fp32", "bf16"):
            times[precision].append(seconds(ours[precision].predict)[0] / cells.shape[0])
    flops = float(cell_flops(config, np.diff(cells.indptr) + 2, True).mean())
    return summary(times, flops) | {
        "fp32_max_difference": float(np.abs(found["fp32"] - exact).max()),
        "bf16_max_difference": float(np.abs(found["bf16"] - exact).max()),
        "bf16_correlation": float(np.corrcoef(found["bf16"], exact)[0, 1]),
        "spread_of_values": float(exact.std()),
    }


def summary(times: dict[str, list[float]], flops: float) -> dict:
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "gflop_per_cell": round(flops / 1e9, 1),
        **{f"{name}_seconds_per_cell": round(value, 4) for name, value in medians.items()},
        **{f"{name}_gflops": round(flops / 1e9 / value, 1) for name, value in medians.items()},
        "fp32_ratio": round(medians["loop"] / medians["fp32"], 2),
        "bf16_ratio": round(medians["loop"] / medians["bf16"], 2),
        "rounds": len(times["loop"]),
    }


def throughput(name: str, n_cells: int) -> dict[str, float]:
    """Cells per second of one size, cells of about 1,000 genes."""
    model = random_model(PRESETS[name])
    cells = random_cells(model.config, list(np.random.default_rng(1).integers(900, 1100, n_cells)))
    rates = {}
    for precision in ("fp32", "bf16"):
        ours = Ours(cells, model, precision)
        ours.embed()
        rates[precision] = round(n_cells / statistics.median(seconds(ours.embed)[0] for _ in range(3)), 2)
    return rates


def bulk(threads: int, precision: str) -> dict:
    """One sample with 18,000 expressed genes through the published size, in a process of its own for its memory."""
    torch.set_num_threads(threads)
    model = random_model(PRESETS["100M"])
    cells = random_cells(model.config, [18_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, _ = seconds(lambda: embed_cells(cells, model, precision=precision))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flops = float(cell_flops(model.config, np.array([18_002]), False)[0])
    return {
        "precision": precision,
        "seconds": round(taken, 1),
        "gflops": round(flops / 1e9 / taken, 1),
        "peak_memory_gb": round(after / 1e6, 2),
        "of_which_before_embedding_gb": round(before / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cells", type=int, default=8, help="cells of about 1,000 genes for the encoder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-bulk", action="store_true", help="leave out the sample of 18,000 genes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    start = time.monotonic()
    report = {
        "date": date.today().isoformat(),
        "hardware": hardware_name(CPU),
        "threads": args.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matrix_gflops": matrix_rates(),
    }
    model = random_model(PRESETS["100M"])
    cells = random_cells(model.config, list(np.random.default_rng(1).integers(900, 1100, args.cells)))
    report["encoder_1000_genes"] = compare_encoder(model, cells, args.rounds)
    report["encoder_decoder_1000_genes"] = compare_decoder(model, cells[:1], max(args.rounds - 2, 1))
    del model
    report["cells_per_second"] = {name: throughput(name, n) for name, n in (("3M", 64), ("10M", 32), ("100M", 4))}
    if not args.no_bulk:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            report["bulk_18000_genes"] = pool.submit(bulk, args.threads, "bf16").result()
    report["minutes"] = round((time.monotonic() - start) / 60, 1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
