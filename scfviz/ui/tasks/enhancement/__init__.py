"""Enhancement: what its page shows."""
