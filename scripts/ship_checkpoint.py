"""Put a trained checkpoint where the app finds it: fp16 weights, its card with scores, and checksums.

    python scripts/ship_checkpoint.py RUN --corpus DIR --hardware TEXT   # from a run of `scfviz pretrain`
    scfviz cell-space --checkpoint FOLDER --corpus DIR                   # places of its own map
    python benchmarks/model_quality.py --install                         # score it
    python scripts/ship_checkpoint.py                                    # its card again, with what the scores say

Everything lands in assets/checkpoints/scfviz-small, FOLDER above; `--name` chooses another.
"""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

from scfviz.data.corpus_reader import Corpus
from scfviz.model.checkpoint import cell_space_of, checkpoint_info, load_checkpoint, save_checkpoint
from scfviz.training.card import SPACE_HEAD, describe_space, introduce, write_card

ASSETS = Path(__file__).resolve().parents[1] / "assets"
LARGEST = 40e6  # bytes of one shipped checkpoint


def ship(run: Path, folder: Path, corpus: Corpus, hardware: str | None) -> None:
    """Write weights and card of a run."""
    info = checkpoint_info(run / "checkpoint")
    training = dict(info.training) | ({"hardware": hardware} if hardware else {})
    if training["corpus"]["fingerprint"] != corpus.fingerprint:
        raise SystemExit(f"{run} was trained on another corpus than {corpus.folder}")
    save_checkpoint(
        load_checkpoint(run / "checkpoint"),
        folder,
        name=folder.name,
        licence=info.licence,
        training=training,
        half=True,
        readme=write_card(folder.name, info.config, training, corpus.manifest, info.licence),
    )
    shutil.copyfile(run / "log.csv", folder / "log.csv")
    for file in folder.iterdir():
        file.chmod(0o644)


def score_card(folder: Path) -> None:
    """Let the card begin with what the scores say; the rest of it stays."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    if scores["checkpoint"]["hash"] != checkpoint_info(folder).hash:
        raise SystemExit("scores.json belongs to other weights: run benchmarks/model_quality.py --install first")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8")
    head, rest = "\n".join(introduce(folder.name, scores)), text[text.index("\nWeights: ") :]
    space = cell_space_of(checkpoint_info(folder))
    about = [] if space is None else describe_space(space)
    card.write_text(head + rest.partition(f"\n{SPACE_HEAD}\n")[0].rstrip() + "\n".join(["", *about, ""]), "utf-8")


def write_checksums(folder: Path) -> None:
    """Bring the folder's lines in `assets/checksums.tsv` up to date."""
    table = ASSETS / "checksums.tsv"
    prefix = f"{folder.relative_to(ASSETS).as_posix()}/"
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith(prefix)]
    lines += [f"{prefix}{f.name}\t{hashlib.sha256(f.read_bytes()).hexdigest()}" for f in sorted(folder.iterdir())]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, help="folder of a run; without it only the card is written again")
    parser.add_argument("--corpus", type=Path, help="that the run was trained on")
    parser.add_argument("--name", default="scfviz-small")
    parser.add_argument("--hardware", help="in words, for the card")
    args = parser.parse_args()
    folder = ASSETS / "checkpoints" / args.name
    if (args.run is None) != (args.corpus is None):
        parser.error("a run and --corpus go together")
    if args.run is None:
        score_card(folder)
    else:
        ship(args.run, folder, Corpus(args.corpus), args.hardware)
    write_checksums(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, fingerprint {checkpoint_info(folder).hash}")
    if size > LARGEST:
        print(f"That is more than the {LARGEST / 1e6:.0f} MB that may ship.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
