"""Drug response of samples and of cells: what its page shows."""
