"""Mapping to a reference: what its page shows."""
