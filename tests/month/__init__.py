"""A month of a whole sandbox, from dev to prod by policy alone, in minutes."""
