"""A wheel holds the app, too, with its pages, assets and recorded results; `scfviz/places.py` finds them there."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("app.py", "pages", "assets", ".streamlit", "benchmarks/results")


class BuildWithApp(build_py):
    """The package's files, and in `scfviz/shipped` what lies beside it in the project's folder."""

    def run(self) -> None:
        """Copy everything to where the wheel is packed from; an editable installation needs no copy."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "scfviz"
        for name in SHIPPED:
            target = package / "shipped" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(name, target)
        shutil.copy("pyproject.toml", package)  # Streamlit finds the components of the app through it


setup(cmdclass={"build_py": BuildWithApp})
