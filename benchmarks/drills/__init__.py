"""Drills: faults on purpose, and what becomes of a run under them."""
