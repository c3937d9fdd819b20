"""Folders of fitted parameters, without a row of anybody's data: what every task that learns something writes.

ABOUT                   json: what it is, its format, scores, checksum of the next two
genes.tsv               genes that it reads
parameters.safetensors
README.md               its card
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scfviz.errors import CheckpointError, OptionError
from scfviz.places import ASSETS

GENES, PARAMETERS, README = "genes.tsv", "parameters.safetensors", "README.md"
T = TypeVar("T")


@dataclass(frozen=True)
class FolderKind:
    """One kind of such folders.

    Attributes
    ----------
    about
        Name of its json file; no other kind has it.
    word
        What a user calls it.
    format
        Version that is written and read.
    home
        Folder below `ASSETS` with those that ship.
    """

    about: str
    word: str
    format: int
    home: str = "predictors"

    @property
    def assets(self) -> Path:
        """Where those that ship are."""
        return ASSETS / self.home

    def is_one(self, folder: str | Path) -> bool:
        """Whether a path is a folder of this kind."""
        return (Path(folder) / self.about).is_file()

    def shipped(self) -> dict[str, Path]:
        """Folders that ship, by name."""
        return {path.parent.name: path.parent for path in sorted(self.assets.glob(f"*/{self.about}"))}

    def find(self, given: str | Path) -> Path | None:
        """A folder by its path or by the name of one that ships; None for anything else."""
        path = Path(given).expanduser()
        return path if self.is_one(path) else self.shipped().get(str(given))

    def write(
        self,
        folder: str | Path,
        about: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        genes: Iterable[str],
        card: str,
    ) -> Path:
        """Write a folder, whole or not at all.

        Parameters
        ----------
        about
            What json can hold; `format` and `sha256` are added.
        arrays
            The parameters by name.
        genes
            Lines of `genes.tsv`, its heading first.
        card
            Its README.md: data, licence, scores, limits.

        Raises
        ------
        OptionError
            It exists already.
        """
        from safetensors.numpy import save_file

        folder = Path(folder)
        if folder.exists():
            raise OptionError(f"'{folder}' exists already.", "A new folder is needed.", "Give another name.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, staging / PARAMETERS)
            (staging / GENES).write_text("\n".join(genes) + "\n", encoding="utf-8")
            (staging / README).write_text(card, encoding="utf-8")
            stored = {"format": self.format} | dict(about) | {"sha256": _digest(staging)}
            (staging / self.about).write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            staging.chmod(0o755)  # a temporary folder is private
            for file in staging.iterdir():
                file.chmod(0o644)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return folder

    def describe(self, folder: str | Path) -> dict[str, Any]:
        """What a folder says about itself, without its parameters.

        Raises
        ------
        CheckpointError
            It is no such folder, or of another version.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / self.about).read_text(encoding="utf-8"))
            found = about["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(folder) from error
        if found != self.format:
            raise CheckpointError(
                f"The {self.word} '{folder.name}' has format {found}.", f"This scfviz reads format {self.format}."
            )
        return about

    def read(self, folder: str | Path, build: Callable[[dict[str, Any], list[str], dict[str, np.ndarray]], T]) -> T:
        """Build what `write` has written.

        Parameters
        ----------
        build
            From `about`, the lines of `genes.tsv` below its heading, and the arrays. Parts that do not fit together
            are a ValueError of its own, or whatever comes of them.

        Raises
        ------
        CheckpointError
            It is no such folder, of another version, damaged, or its parts disagree.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        about = self.describe(folder)
        try:
            if about["sha256"] != _digest(folder):
                raise ValueError("another checksum")
            lines = (folder / GENES).read_text(encoding="utf-8").splitlines()[1:]
            return build(about, lines, load_file(folder / PARAMETERS))
        except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            raise self._damaged(folder) from error

    def _damaged(self, folder: Path) -> CheckpointError:
        shipped = folder.parent == self.assets
        return CheckpointError(
            f"The {self.word} in '{folder.name}' is incomplete or damaged.",
            f"A {self.word} is a folder with {self.about}, {GENES} and {PARAMETERS}, as scfviz wrote them.",
            f"Copy the whole folder again, or {'install scfviz' if shipped else 'fit it'} again.",
        )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (GENES, PARAMETERS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
