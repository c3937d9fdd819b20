"""scfviz: scFoundation for single-cell data, in a browser and from Python."""

from typing import Any

__version__ = "0.1.0"

# Name -> module. Each is imported when it is first asked for, so that `import scfviz` costs nothing.
_WHERE = {
    "AlignedCounts": "scfviz.data.align",
    "ScfvizError": "scfviz.errors",
    "align_genes": "scfviz.data.align",
    "build_map": "scfviz.tasks.embedding.compute",
    "check_counts": "scfviz.data.check",
    "embed_baseline": "scfviz.tasks.embedding.compute",
    "embed_cells": "scfviz.model.infer",
    "embed_genes": "scfviz.model.infer",
    "embed_genes_per_cell": "scfviz.model.infer",
    "import_official": "scfviz.model.official",
    "join_embeddings": "scfviz.tasks.embedding.compute",
    "load_checkpoint": "scfviz.model.checkpoint",
    "predict_expression": "scfviz.model.infer",
    "read_dataset": "scfviz.data.read",
    "score_agreement": "scfviz.analysis.metrics",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'scfviz' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
