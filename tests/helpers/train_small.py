"""A small training run as a program of its own, so that tests can kill it or start it on several ranks."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from scfviz.errors import ScfvizError
from scfviz.model.config import ModelConfig
from scfviz.training.options import BatchOptions, TrainingOptions
from scfviz.training.pretrain import PretrainOptions, pretrain

CONFIG = ModelConfig(
    n_genes=64, n_bins=10, encoder_width=32, encoder_layers=2, encoder_heads=4,
    decoder_width=16, decoder_layers=2, decoder_heads=2, decoder_head_width=8, dropout=0.1,
)  # fmt: skip


def options(**changes) -> PretrainOptions:
    """24 steps of 16 cells; `changes` go to the part that knows their names."""
    training = TrainingOptions(steps=24, learning_rate=3e-3, warm_up=5, log_every=2, validate_every=8, save_every=4)
    batches = BatchOptions(batch_size=16)
    for name in list(changes):
        if hasattr(training, name):
            training = replace(training, **{name: changes.pop(name)})
        elif hasattr(batches, name):
            batches = replace(batches, **{name: changes.pop(name)})
    return PretrainOptions(training=training, batches=batches, validation_cells=16, **changes)


def main(corpus: str, out: str, resume: str, changes: str, pause: str) -> int:
    torch.set_num_threads(1)
    values = json.loads(changes)
    config = replace(CONFIG, dropout=values.pop("dropout", CONFIG.dropout))

    def report(line: str) -> None:
        print(line, flush=True)
        time.sleep(float(pause))

    try:
        pretrain(corpus, Path(out), config, options(**values), resume=resume == "resume", report=report)
    except ScfvizError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
