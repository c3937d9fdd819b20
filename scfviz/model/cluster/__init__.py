"""The model on many machines: windows of cells are tasks of a Dask cluster, results files that all machines see."""
