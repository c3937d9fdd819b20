"""Gene modules and regulators: what its page shows."""
