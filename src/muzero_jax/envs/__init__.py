"""Environments behind one batched protocol: see `base` and `types`."""
