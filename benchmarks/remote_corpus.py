"""A corpus from a .zarr store on a web server of this computer: own memory, processor seconds and bytes sent.

    python benchmarks/remote_corpus.py

Generated cells of 600 genes each, in one part and in three: memory that grows with the parts would show. The store is
served by `python -m http.server` in a process of its own, and each corpus is built by one of its own.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scfviz.data.vocabulary import load_vocabulary

RESULTS = Path(__file__).parent / "results" / "remote_corpus.json"
N_EXPRESSED, PART = 600, 16_384
BUILD = """
import json, resource, sys
from scfviz.data.corpus import build_corpus
from scfviz.data.corpus_writer import CorpusOptions
manifest = build_corpus([sys.argv[1]], sys.argv[2], options=CorpusOptions(held_out_datasets=0.0))
used = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss of a new process begins with what its parent held
(peak,) = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
found = {"cells": manifest["n_cells"], "parts": len(manifest["sources"]), "peak_memory_mb": peak // 1024}
print(json.dumps(found | {"processor_seconds": round(used.ru_utime + used.ru_stime, 1)}))
"""


def write_store(path: Path, n_obs: int) -> None:
    """Cells with as many expressed genes each, chosen at random."""
    rng = np.random.default_rng(0)
    symbols = load_vocabulary().symbols
    first = rng.integers(len(symbols) - 3 * N_EXPRESSED, size=n_obs)
    indices = (first[:, None] + np.arange(0, 3 * N_EXPRESSED, 3)).astype(np.int32).ravel()
    counts = rng.geometric(0.4, size=len(indices)).astype(np.float32)
    matrix = csr_matrix((counts, indices, np.arange(n_obs + 1) * N_EXPRESSED), shape=(n_obs, len(symbols)))
    obs = pd.DataFrame(index=[f"cell{number}" for number in range(n_obs)])
    ad.AnnData(matrix, obs, pd.DataFrame(index=list(symbols))).write_zarr(path)


def main() -> None:
    """Measure, and write the results."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for n_parts in (1, 3):
            write_store(Path(folder, f"{n_parts}.zarr"), n_parts * PART)
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = server.stdout.readline().split("port ")[1].split()[0]
            for n_parts in (1, 3):
                given = [f"http://127.0.0.1:{port}/{n_parts}.zarr", f"{folder}/corpus{n_parts}"]
                done = subprocess.run([sys.executable, "-c", BUILD, *given], capture_output=True, text=True, check=True)
                store = Path(folder, f"{n_parts}.zarr").rglob("*")
                stored = sum(file.stat().st_size for file in store if file.is_file())
                runs.append(json.loads(done.stdout.splitlines()[-1]) | {"bytes_of_the_store": stored})
        finally:
            server.kill()
            server.wait()
    about = {"date": date.today().isoformat(), "machine": platform.machine(), "cores": os.cpu_count()}
    about |= {"load": round(os.getloadavg()[0], 1), "genes_per_cell": N_EXPRESSED}
    RESULTS.write_text(json.dumps(about | {"runs": runs}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
