"""The training loop: one process or many, exact to resume, stopped by the first number that is none."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from scfviz.errors import JobError, OptionError
from scfviz.training.batches import TrainingBatch, hash_seed
from scfviz.training.objective import Objective
from scfviz.training.options import TrainingOptions

Strategy = Literal["ddp", "fsdp"]
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Ranks:
    """This process among the processes of a run."""

    rank: int = 0
    n_ranks: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def from_environment(cls, device: str) -> "Ranks":
        """Join the group that `torchrun` describes, if any."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls(device=torch.device(device))
        found = torch.device(device)
        if found.type == "cuda":
            found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(found)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), found)

    def leave(self) -> None:
        """Leave the group together, before any process ends: one that ended first took others down with it."""
        if self.n_ranks > 1 and dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add numbers over all ranks."""
        total = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        if self.n_ranks > 1:
            dist.all_reduce(total)
        return total.tolist()


class Trainer:
    """One model, its optimiser, its averaged weights, and the step it has reached."""

    def __init__(self, objective: Objective, options: TrainingOptions, ranks: Ranks, strategy: Strategy = "ddp"):
        self.options, self.ranks = options, ranks
        self.objective = objective.to(ranks.device)
        # Only weights in the official layout need it; a parameter without gradient would stall the other ranks.
        objective.model.value_embedding.padded.requires_grad_(False)
        self.wrapped: nn.Module = _spread(self.objective, ranks, strategy, options.precision)
        self.trained = [(name, p) for name, p in objective.model.named_parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            [p for _name, p in self.trained],
            lr=options.learning_rate,
            betas=(options.beta_1, options.beta_2),
            weight_decay=options.weight_decay,
            foreach=True,
        )
        self.averaged = [p.detach().clone() for _name, p in self.trained]
        self.step = 0
        self.seen = {"cells": 0.0, "tokens": 0.0, "flops": 0.0}
        self.best = float("inf")
        self.waited = 0

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs, gathered on every rank."""
        model = self.objective.model
        return {
            "step": self.step,
            "seen": dict(self.seen),
            "best": self.best,
            "waited": self.waited,
            "model": get_model_state_dict(model, options=_WHOLE),
            "optimiser": get_optimizer_state_dict(model, self.optimiser, options=_WHOLE),
            "averaged": {name: _gather(t) for (name, _p), t in zip(self.trained, self.averaged, strict=True)},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        model = self.objective.model
        set_model_state_dict(model, state["model"], options=_WHOLE)
        set_optimizer_state_dict(model, self.optimiser, state["optimiser"], options=_WHOLE)
        with torch.no_grad():
            for (name, _p), mine in zip(self.trained, self.averaged, strict=True):
                stored = state["averaged"][name].to(mine.device)
                if isinstance(mine, DTensor):
                    stored = distribute_tensor(stored, mine.device_mesh, mine.placements)
                mine.copy_(stored)
        self.step, self.seen = int(state["step"]), dict(state["seen"])
        self.best, self.waited = float(state["best"]), int(state["waited"])

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The averaged weights inside the model, for validation and export."""
        parameters = [p for _name, p in self.trained]
        with torch.no_grad():
            own = [p.detach().clone() for p in parameters]
            for p, mean in zip(parameters, self.averaged, strict=True):
                p.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, mine in zip(parameters, own, strict=True):
                    p.copy_(mine)

    def train_step(self, parts: list[TrainingBatch], describe: Callable[[TrainingBatch], str]) -> dict[str, float]:
        """One change of the weights.

        Parameters
        ----------
        parts
            This rank's parts of the step.
        describe
            Says where the cells of a part come from, for the report when numbers run away.

        Returns
        -------
        dict
            Sums of squared errors and counts by class, over all ranks, and the norm of the gradient.

        Raises
        ------
        JobError
            The loss or the gradient is not finite. The weights are those of the last good step.
        """
        options, ranks = self.options, self.ranks
        counts = [sum(float(b.is_expressed.sum()) for b in parts), sum(float(len(b.targets)) for b in parts)]
        n_expressed, n_all = ranks.sum(counts)
        torch.manual_seed(hash_seed(options.seed + 1, self.step * ranks.n_ranks + ranks.rank) % 2**63)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate_at(self.step)
        self.wrapped.train()
        sums = torch.zeros(2, device=ranks.device)
        for i, batch in enumerate(parts):
            with self._gradients_shared(i == len(parts) - 1), self.precision():
                errors = self.wrapped(batch.to(ranks.device))
                # every rank divides by the entries of all ranks; the wrappers average gradients, hence n_ranks
                (errors.sum() * (ranks.n_ranks / max(n_all, 1.0))).backward()
            sums += errors.detach()
        norm = torch.nn.utils.clip_grad_norm_([p for _name, p in self.trained], options.clip)
        norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        sum_expressed, sum_zero = ranks.sum(sums.tolist())
        if not np.isfinite([sum_expressed, sum_zero, norm]).all():
            self.optimiser.zero_grad(set_to_none=True)
            raise JobError(
                f"Training stopped at step {self.step + 1}: the loss is {(sum_expressed + sum_zero) / n_all:.4g} and "
                f"the gradient's norm {norm:.4g}. Cells of this step: {'; '.join(describe(batch) for batch in parts)}.",
                "Both must be finite numbers.",
                f"The last good state is kept. Resume with a learning rate below {options.learning_rate:g}, a longer "
                f"warm-up or a smaller clip; if that fails at the same cells, build the corpus without their dataset; "
                f"with bf16, try fp32.",
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            # the average forgets faster at first, so that it never holds the random start
            keep = min(options.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.averaged, [p.detach() for _name, p in self.trained], 1 - keep)
        return {
            "expressed": sum_expressed,
            "zero": sum_zero,
            "n_expressed": n_expressed,
            "n_zero": n_all - n_expressed,
            "norm": norm,
        }

    def evaluate(self, batches: Sequence[TrainingBatch]) -> tuple[float, float, float]:
        """Mean squared error over all, masked expressed and masked zero entries, with the weights as they are."""
        sums, n_expressed, n_all = torch.zeros(2, dtype=torch.float64), 0, 0
        self.wrapped.eval()
        with torch.no_grad(), self.precision():
            for batch in batches:
                sums += self.wrapped(batch.to(self.ranks.device)).double().cpu()
                n_expressed += int(batch.is_expressed.sum())
                n_all += len(batch.targets)
        return (
            float(sums.sum()) / max(n_all, 1),
            float(sums[0]) / max(n_expressed, 1),
            float(sums[1]) / max(n_all - n_expressed, 1),
        )

    def precision(self) -> contextlib.AbstractContextManager:
        """bfloat16 matrix products, when asked for."""
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")

    @contextlib.contextmanager
    def _gradients_shared(self, last: bool) -> Iterator[None]:
        """Ranks exchange gradients once per step, with its last part."""
        if isinstance(self.wrapped, DistributedDataParallel):
            with contextlib.nullcontext() if last else self.wrapped.no_sync():
                yield
        else:
            if hasattr(self.wrapped, "set_requires_gradient_sync"):
                self.wrapped.set_requires_gradient_sync(last)
            yield


def _spread(objective: Objective, ranks: Ranks, strategy: Strategy, precision: str) -> nn.Module:
    if ranks.n_ranks == 1:
        return objective
    if strategy == "ddp":
        return DistributedDataParallel(objective)
    if strategy != "fsdp":
        raise OptionError(f"Unknown strategy '{strategy}'.", "One of: ddp, fsdp.", "")
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16) if precision == "bf16" else MixedPrecisionPolicy()
    for layer in [*objective.model.encoder, *objective.model.decoder]:
        fully_shard(layer, mp_policy=policy)
    return fully_shard(objective)


def _gather(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
