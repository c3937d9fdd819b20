"""Datasets on a web server or in object storage: .zarr stores of anndata, read a part of the cells at a time.

Nothing is copied to disk, and a part is fetched once. http:// and https:// need nothing else; s3://, gs:// and what
else fsspec knows need its package for them.
"""

import asyncio
import base64
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import numpy as np
import zarr
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from scfviz.data import matrix as mx
from scfviz.data.candidates import PLUS, layer_of
from scfviz.data.corpus_writer import SHARD_CELLS
from scfviz.data.formats import shorten, stem_of
from scfviz.data.read_anndata import open_matrix, read_extras, read_frame
from scfviz.errors import DatasetError

_HEAD_CELLS = 512  # by which the matrix of counts is chosen
_TRIES, _SECONDS = 4, 60.0
_URL = re.compile(r"[a-z][a-z0-9+.-]+://.", re.IGNORECASE)


def is_remote(place: Path | str) -> bool:
    """Whether a dataset is given by an address."""
    return isinstance(place, str) and _URL.match(place) is not None


class RemoteDataset:
    """A .zarr store at an address; its tables are in memory, its counts are not.

    Parameters
    ----------
    url
        Of the folder that anndata wrote.

    Attributes
    ----------
    name
        The last name of the address, without its ending.
    address
        Without user, password and query.
    obs
        The table of cells.

    Raises
    ------
    DatasetError
        There is no such store, it is of another kind, or what reads such addresses is not installed.
    OSError
        The server does not answer.
    """

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
        self.name = stem_of(Path(urllib.parse.unquote(parts.path.rstrip("/"))).name) or parts.netloc
        self._shown = shorten(self.address)
        self._root = self._open(url)
        if not {"obs", "var"} <= set(self._root):
            raise DatasetError(
                f"'{self._shown}' has no tables obs and var.",
                "A store that anndata wrote is needed.",
                "Write the dataset with `adata.write_zarr`, and give the address of that folder.",
            )
        self.obs = read_frame(self._root, "obs", self._shown, [])
        self._var = {"X": read_frame(self._root, "var", self._shown, [])}
        self._uns = {key: v for key, v in read_extras(self._root, "uns", []).items() if key == "source"}
        self._matrices = self._open_matrices()

    def _open(self, url: str) -> zarr.Group:
        try:
            store = _WebStore(url) if url.lower().startswith(("http://", "https://")) else url
            root = zarr.open_group(store, mode="r")
        except FileNotFoundError as error:
            raise DatasetError(
                f"There is no .zarr store at '{self._shown}'.",
                "The address of a folder with zarr.json or .zgroup is needed.",
                "Check the address.",
            ) from error
        except (ImportError, ValueError) as error:  # fsspec says which package reads this kind of address
            raise DatasetError(
                f"'{self._shown}' cannot be opened here ({error}).",
                "http:// and https:// need nothing, s3:// needs the package s3fs, gs:// the package gcsfs.",
                "Install it beside scfviz, or give the store's http address.",
            ) from error
        if root.metadata.consolidated_metadata is None and not root.store.supports_listing:
            raise DatasetError(
                f"'{self._shown}' has no list of what it holds.",
                "A web server does not list folders; the store must.",
                "Run `zarr.consolidate_metadata(folder)` where it was written; anndata does so by itself.",
            )
        return root

    def _open_matrices(self) -> dict[str, mx.Matrix]:
        root = self._root
        found = {"X": root["X"]} if "X" in root else {}
        found |= {f"layers['{key}']": root["layers"][key] for key in (root["layers"] if "layers" in root else ())}
        if "raw" in root and hasattr(root["raw"], "keys") and "X" in root["raw"]:
            found["raw.X"] = root["raw"]["X"]
            self._var["raw"] = read_frame(root["raw"], "var", self._shown, [])
        opened = {key: open_matrix(elem, key, self._shown) for key, elem in found.items()}
        by_rows = {key: matrix for key, matrix in opened.items() if not isinstance(matrix, CSCDataset)}
        if not by_rows:
            raise DatasetError(
                f"'{self._shown}' holds no matrix that is stored cell by cell (CSR, or dense).",
                "Of one that is stored gene by gene everything would be fetched for each part.",
                "Write it with `adata.X = adata.X.tocsr()`.",
            )
        return by_rows

    def checksum(self) -> str:
        """64 hexadecimal digits over names, layout and the first cells: not all counts, which would fetch them all."""
        digest = hashlib.sha256()
        for names in (self.obs.index, *(var.index for var in self._var.values())):
            digest.update("\0".join(map(str, names)).encode())
        for key, matrix in self._matrices.items():
            head = mx.read_rows(matrix, 0, _HEAD_CELLS)
            stored = (np.asarray(matrix.group["indptr"][:]),) if isinstance(matrix, CSRDataset) else ()
            digest.update(f"{key} {tuple(matrix.shape)} {head.dtype}".encode())
            for part in (head.data, head.indices, *stored):
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def head(self) -> AnnData:
        """The first cells, with all matrices."""
        return self._read(0, _HEAD_CELLS, self._matrices)

    def ranges(self) -> list[tuple[int, int]]:
        """First cell of each part, and the one behind its last."""
        n_obs = len(self.obs)
        return [(first, min(first + SHARD_CELLS, n_obs)) for first in range(0, n_obs, SHARD_CELLS)]

    def read(self, first: int, last: int, location: str) -> AnnData:
        """Cells with the counts at `location`, see `scfviz.data.candidates.count_matrix`, in memory."""
        return self._read(first, last, {key: self._matrices[key] for key in location.split(PLUS)})

    def _read(self, first: int, last: int, matrices: dict[str, mx.Matrix]) -> AnnData:
        loaded = {key: mx.read_rows(matrix, first, last) for key, matrix in matrices.items()}
        return AnnData(
            X=loaded.get("X"),
            obs=self.obs.iloc[first:last].copy(),
            var=self._var["X"].copy(),
            layers={layer: m for key, m in loaded.items() if (layer := layer_of(key))},
            raw={"X": loaded["raw.X"], "var": self._var["raw"]} if "raw.X" in loaded else None,
            uns=self._uns,
        )


class _WebStore(Store):
    """A folder on a web server, for zarr: read-only, without listing."""

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, url: str):
        super().__init__(read_only=True)
        parts = urllib.parse.urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        self._parts = parts._replace(netloc=host, fragment="")
        word = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        self._headers = {"Authorization": f"Basic {word}"} if user else {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _WebStore) and self._parts == other._parts

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Content of a file, None where there is none."""
        found = await asyncio.to_thread(self._fetch, key, byte_range)
        return None if found is None else prototype.buffer.from_bytes(found)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return await asyncio.to_thread(self._fetch, key, RangeByteRequest(0, 1)) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Nothing is written."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Nothing is removed."""
        raise NotImplementedError

    def list(self) -> AsyncIterator[str]:
        """A web server does not say."""
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """A web server does not say."""
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """A web server does not say."""
        raise NotImplementedError

    def _fetch(self, key: str, part: ByteRequest | None) -> bytes | None:
        path = f"{self._parts.path.rstrip('/')}/{urllib.parse.quote(key)}"
        request = urllib.request.Request(self._parts._replace(path=path).geturl(), headers=self._headers)
        if part is not None:
            request.add_header("Range", f"bytes={_range_of(part)}")
        for number in range(_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                    found = answer.read()
                    return found if answer.status == 206 or part is None else _cut(found, part)
            except urllib.error.HTTPError as error:
                if error.code in (404, 410):
                    return None
                if error.code not in (429, 500, 502, 503, 504) or number == _TRIES - 1:
                    raise OSError(f"{self._parts.hostname} answers {error.code} ({error.reason}) for {key}") from error
            except (OSError, http.client.HTTPException) as error:
                if number == _TRIES - 1:
                    reason = getattr(error, "reason", error)
                    raise OSError(f"{self._parts.hostname} does not answer: {reason}") from error
            time.sleep(0.5 * 3**number)
        raise AssertionError


def _range_of(part: ByteRequest) -> str:
    if isinstance(part, RangeByteRequest):
        return f"{part.start}-{part.end - 1}"
    return f"{part.offset}-" if isinstance(part, OffsetByteRequest) else f"-{part.suffix}"


def _cut(found: bytes, part: ByteRequest) -> bytes:
    """Of a server that always sends everything."""
    if isinstance(part, RangeByteRequest):
        return found[part.start : part.end]
    return found[part.offset :] if isinstance(part, OffsetByteRequest) else found[-part.suffix :]
