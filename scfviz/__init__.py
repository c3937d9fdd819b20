"""scfviz: scFoundation for single-cell data, in a browser and from Python."""

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
    "enhance_counts": "scfviz.tasks.enhancement.prediction",
    "import_official": "scfviz.model.official",
    "load_checkpoint": "scfviz.model.checkpoint",
    "open_dataset": "scfviz.data.open",
    "predict_expression": "scfviz.model.infer",
    "read_dataset": "scfviz.data.read",
    "run_task": "scfviz.tasks.run",
    "score_agreement": "scfviz.analysis.metrics",
}


def __getattr__(name: str) -> object:
    from scfviz.tasks.registry import public_functions  # not above: whoever stops a command would stop it there

    where = _WHERE | public_functions()
    if name == "__all__":
        return sorted(["__version__", *where])
    if name not in where:
        raise AttributeError(f"module 'scfviz' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(where[name]), name)


def __dir__() -> list[str]:
    return __getattr__("__all__")
