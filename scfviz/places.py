"""Where what ships beside the package lies: in the project's folder, or inside an installed wheel (`setup.py`)."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSIDE = _PACKAGE / "shipped"
ROOT = _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent  # of app.py and pages/
ASSETS = ROOT / "assets"
RESULTS = ROOT / "benchmarks" / "results"
