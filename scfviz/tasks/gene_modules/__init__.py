"""Gene modules and regulatory networks: which genes go together in these cells, and which regulators go with them."""
