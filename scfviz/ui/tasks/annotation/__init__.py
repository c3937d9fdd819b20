"""Annotation: what its page shows."""
