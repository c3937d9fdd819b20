"""Pretraining: from a corpus of cells to a checkpoint folder. Knows the model and the data, no task."""
