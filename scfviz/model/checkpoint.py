"""Checkpoint folders: `config.json`, `genes.tsv`, `weights.safetensors`, `README.md`; perhaps a cell space.

Reading what a folder says about itself (`checkpoint_info`) needs no torch.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.errors import CheckpointError
from scfviz.model.cell_space import CellSpace, load_cell_space
from scfviz.model.checksums import CONFIG, GENES, README, WEIGHTS, digest, refuse_altered, seal
from scfviz.model.config import ModelConfig
from scfviz.places import ASSETS

if TYPE_CHECKING:
    from scfviz.model.scfoundation import ScFoundation

FORMAT = 1
SHIPPED = ASSETS / "checkpoints" / "scfviz-small"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint folder says about itself.

    Attributes
    ----------
    folder, name, licence, readme
        Where it is and what its files say.
    hash
        16 hexadecimal digits over weights, configuration and genes: the identity of every result made with it.
    n_parameters
        Trainable numbers.
    config
        Sizes of the model.
    training
        How it was trained (steps, data, hardware), empty when it was not.
    is_sealed
        Whether checksums were stored with it, and hold. An older checkpoint has none: damage that keeps its shape is
        noticed only where the gene list is not the published one, or weights are no numbers.
    """

    folder: Path
    name: str
    hash: str
    n_parameters: int
    config: ModelConfig
    licence: str
    readme: str
    training: dict[str, Any]
    is_sealed: bool = True

    @property
    def is_trained(self) -> bool:
        """Whether the weights learned anything; results of an untrained model must be marked."""
        return bool(self.training)


def checkpoint_info(folder: Path | str) -> CheckpointInfo:
    """Read everything but the weights, which are only compared with their checksum (see `checksums.digest`).

    Raises
    ------
    CheckpointError
        The folder or one of its files is missing or unreadable, or gene list, weights or sizes are not those that
        were saved.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no checkpoint folder '{folder}'.",
            f"A checkpoint is a folder with {CONFIG}, {GENES}, {WEIGHTS} and {README}.",
            "Give the path of such a folder, or import the official weights with `scfviz import-checkpoint`.",
        )
    for name in (CONFIG, GENES, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"The checkpoint folder '{folder}' has no {name}.",
                f"A checkpoint is a folder with {CONFIG}, {GENES}, {WEIGHTS} and {README}.",
                "Copy the whole folder again.",
            )
    try:
        stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version, sizes = stored["format"], stored["model"]
        name, licence, n_parameters = stored["name"], stored["licence"], int(stored["n_parameters"])
        training, checksums = dict(stored["training"]), dict(stored.get("sha256", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{folder / CONFIG}' cannot be read ({error}).",
            "It must be the JSON file that scfviz wrote with the weights.",
            "Copy the whole folder again.",
        ) from error
    if version != FORMAT:
        raise CheckpointError(
            f"The checkpoint '{folder}' has format {version}.", f"This scfviz reads format {FORMAT}.", "Update scfviz."
        )
    config = ModelConfig.from_dict(sizes)
    if checksums:
        refuse_altered(folder, sizes, checksums)
    return CheckpointInfo(
        folder,
        str(name),
        digest(folder, sizes)[:16],
        n_parameters,
        config,
        str(licence),
        (folder / README).read_text(encoding="utf-8") if (folder / README).is_file() else "",
        training,
        is_sealed=bool(checksums),
    )


def load_checkpoint(folder: Path | str | None = None, *, with_cell_space: bool = True) -> "ScFoundation":
    """Load a model with its gene list, in fp32 on the CPU, ready for inference.

    Parameters
    ----------
    folder
        A checkpoint folder; the default one when left out.
    with_cell_space
        Load its cell space too, where it has one.

    Raises
    ------
    CheckpointError
        A part is missing or damaged, is not what was saved, or weights, sizes and genes disagree.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from scfviz.model.scfoundation import ScFoundation

    info = checkpoint_info(folder if folder is not None else default_checkpoint())
    genes = read_genes(info.folder)
    if len(genes) != info.config.n_genes:
        raise CheckpointError(
            f"'{info.folder}' lists {len(genes):,} genes, its configuration says {info.config.n_genes:,}.",
            "Both must be of one model.",
            "Copy the whole folder again.",
        )
    _refuse_wrong_genes(info, genes)
    try:
        weights = load_file(info.folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"The weights in '{info.folder}' are damaged ({error}).",
            f"{WEIGHTS} must be whole.",
            "Copy the whole folder again.",
        ) from error
    with torch.device("meta"):
        model = ScFoundation(info.config, genes)
    weights = {name: tensor.float() for name, tensor in weights.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = sorted(
        name
        for name in set(expected) | set(weights)
        if name not in weights or expected.get(name) != tuple(weights[name].shape)
    )
    if wrong:
        raise CheckpointError(
            f"Weights and configuration in '{info.folder}' disagree on {len(wrong)} parts: {', '.join(wrong[:6])}.",
            "Both must be of one model.",
            "Copy the whole folder again.",
        )
    broken = [] if info.is_sealed else sorted(name for name, part in weights.items() if not part.isfinite().all())
    if broken:
        raise CheckpointError(
            f"Weights in '{info.folder}' are no numbers, in {len(broken)} parts: {', '.join(broken[:6])}.",
            "Every weight must be a finite number.",
            "Copy the whole folder again.",
        )
    model.load_state_dict(weights, assign=True)
    model.folder = info.folder
    if with_cell_space:
        model.cell_space = cell_space_of(info)
    return model.eval()


def cell_space_of(info: CheckpointInfo) -> CellSpace | None:
    """The cell space beside a checkpoint's weights, see `load_cell_space`."""
    return load_cell_space(info.folder, info.hash, info.config.cell_embedding_width)


def save_checkpoint(
    model: "ScFoundation",
    folder: Path | str,
    *,
    name: str,
    licence: str,
    readme: str,
    training: dict[str, Any],
    half: bool = False,
) -> Path:
    """Write a checkpoint folder, whole or not at all; an existing folder is replaced.

    Parameters
    ----------
    name, licence, readme
        How it is shown; `readme` is the model card in Markdown.
    training
        How it was trained; empty for an untrained model.
    half
        Store weights as float16, for files that ship.
    """
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        dtype = torch.float16 if half else torch.float32
        weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
        save_file(weights, staging / WEIGHTS)
        stored = {
            "format": FORMAT,
            "name": name,
            "licence": licence,
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "model": model.config.as_dict(),
            "training": training,
        }
        (staging / GENES).write_text("symbol\n" + "\n".join(model.genes) + "\n", encoding="utf-8")
        stored["sha256"] = seal(staging, stored["model"])
        (staging / CONFIG).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        (staging / README).write_text(readme, encoding="utf-8")
        os.chmod(staging, 0o755)  # a temporary folder is private, a checkpoint is not
        os.chmod(staging / WEIGHTS, 0o644)
        _replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def default_checkpoint() -> Path:
    """The checkpoint that is used unless told otherwise: `SCFVIZ_CHECKPOINT`, else the one that ships with scfviz."""
    return Path(os.environ.get("SCFVIZ_CHECKPOINT") or SHIPPED)


def _replace_folder(staging: Path, folder: Path) -> None:
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        os.replace(folder, old / "checkpoint")
        os.replace(staging, folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(staging, folder)


def read_genes(folder: Path) -> list[str]:
    """Symbols of a checkpoint's genes, in its order.

    Raises
    ------
    CheckpointError
        The list cannot be read.
    """
    try:
        lines = (folder / GENES).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The gene list '{folder / GENES}' cannot be read ({error}).",
            "It must be the text that scfviz wrote with the weights.",
            "Copy the whole folder again.",
        ) from error
    return [line.split("\t")[0] for line in lines[1:] if line]


def _refuse_wrong_genes(info: CheckpointInfo, genes: list[str]) -> None:
    """Refuse a gene list that can't be right: repeated names, or not the published list and nothing vouches for it."""
    from scfviz.data.vocabulary import load_vocabulary

    trouble = ""
    if len(set(genes)) < len(genes):
        trouble = f"names {len(genes) - len(set(genes)):,} genes more than once"
    elif not info.is_sealed and len(genes) == len(published := load_vocabulary().symbols) and genes != list(published):
        trouble = "is not the published one, or in another order, and no checksum says that it belongs to the weights"
    if trouble:
        raise CheckpointError(
            f"The gene list of the checkpoint '{info.folder}' {trouble}.",
            "Every weight belongs to the gene at its place: your data are not to blame.",
            "Copy or download the whole folder again.",
        )
