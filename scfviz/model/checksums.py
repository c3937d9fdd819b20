"""What a checkpoint folder is known by, and whether it is still what was saved. Needs no torch."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scfviz.data.source import sha256
from scfviz.errors import CheckpointError

CONFIG, GENES, WEIGHTS, README = "config.json", "genes.tsv", "weights.safetensors", "README.md"
SEALED = (GENES, WEIGHTS)


def seal(folder: Path, model: Mapping[str, Any]) -> dict[str, str]:
    """Checksums to be stored with a checkpoint: SHA-256 of the gene list, of the weights, and of both with the sizes.

    Parameters
    ----------
    folder
        Holds the gene list and the weights.
    model
        Sizes of the model, as `config.json` holds them.
    """
    return {name: sha256(folder / name) for name in SEALED} | {"all": digest(folder, model)}


def digest(folder: Path, model: Mapping[str, Any]) -> str:
    """SHA-256 over sizes, gene list and weights, in hexadecimal; kept while size and time of the files stay the same.

    Its first 16 digits are the identity of every result that is made with the checkpoint.
    """
    stamps = tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in ((folder / name).stat() for name in SEALED))
    return _digest(folder.resolve(), json.dumps(model, sort_keys=True), stamps)


@functools.lru_cache(maxsize=32)
def _digest(folder: Path, model: str, stamps: tuple[tuple[int, ...], ...]) -> str:
    """`stamps` only tell the cache when a file changed."""
    total = hashlib.sha256(model.encode())
    for name in SEALED:
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def refuse_altered(folder: Path, model: Mapping[str, Any], stored: Mapping[str, str]) -> None:
    """Refuse a folder whose parts are not those that were saved, and name the part.

    Parameters
    ----------
    stored
        From `seal`, when the checkpoint was saved.

    Raises
    ------
    CheckpointError
        Gene list, weights or sizes changed since.
    """
    if digest(folder, model) == stored.get("all"):
        return
    altered = [name for name in SEALED if sha256(folder / name) != stored.get(name)]
    what = {
        GENES: "its gene list is another one, or in another order, so that every weight would belong to a wrong gene",
        WEIGHTS: "bytes of its weights differ, as after a broken copy or download",
    }
    reasons = [f"{name} ({what[name]})" for name in altered] or [f"the sizes in {CONFIG}"]
    raise CheckpointError(
        f"The checkpoint '{folder}' is damaged, not what was saved: its checksums do not fit {' and '.join(reasons)}.",
        "A checkpoint must be whole: your data are not to blame.",
        "Copy or download the whole folder again.",
    )
