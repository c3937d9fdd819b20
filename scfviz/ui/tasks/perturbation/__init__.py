"""Perturbations: predictors, own screens, treatments, in silico: what its page shows."""
