"""Faults on purpose: what a run does when it is stopped, or refused a disk."""
