"""UMAP, with what numba compiles for it kept on disk; to import this module loads it.

Otherwise every process compiles again: 6 to 10 CPU seconds for the layout, and as many for pynndescent 0.6, which
compiles its distances as soon as it is imported.
"""

from typing import Any

import numba

_njit = numba.njit


def _njit_and_keep(*given: Any, **options: Any) -> Any:
    """Of functions that are given with their types, and thus compiled at once."""
    is_compiled_at_once = bool(given) and not callable(given[0])
    return _njit(*given, **({"cache": True} if is_compiled_at_once else {}) | options)


numba.njit = _njit_and_keep
try:
    import pynndescent  # noqa: F401
finally:
    numba.njit = _njit

from umap import layouts, umap_  # noqa: E402

for _function in {**vars(umap_), **vars(layouts)}.values():
    if hasattr(_function, "enable_caching"):
        _function.enable_caching()
