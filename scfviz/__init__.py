"""scfviz: scFoundation for single-cell data, in a browser and from Python."""

__version__ = "0.1.0"
