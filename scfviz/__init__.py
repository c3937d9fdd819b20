"""scfviz: scFoundation for single-cell data, in a browser and from Python."""

from typing import Any

from scfviz.tasks.registry import public_functions

__version__ = "0.1.0"

# Name -> module, beside the functions of the tasks. Each is imported when it is first asked for: `import scfviz` costs
# nothing.
_WHERE = {
    "AlignedCounts": "scfviz.data.align",
    "ScfvizError": "scfviz.errors",
    "align_genes": "scfviz.data.align",
    "check_counts": "scfviz.data.check",
    "embed_genes": "scfviz.model.infer",
    "embed_genes_per_cell": "scfviz.model.infer",
    "enhance_counts": "scfviz.tasks.enhancement.compute",
    "import_official": "scfviz.model.official",
    "load_checkpoint": "scfviz.model.checkpoint",
    "open_dataset": "scfviz.data.open",
    "predict_expression": "scfviz.model.infer",
    "read_dataset": "scfviz.data.read",
    "run_task": "scfviz.tasks.run",
    "score_agreement": "scfviz.analysis.metrics",
}
__all__ = sorted(["__version__", *_WHERE, *public_functions()])


def __getattr__(name: str) -> Any:
    where = _WHERE | public_functions()
    if name not in where:
        raise AttributeError(f"module 'scfviz' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(where[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *public_functions()})
