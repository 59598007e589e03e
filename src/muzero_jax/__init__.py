"""MuZero in JAX."""
