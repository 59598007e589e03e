"""Hyper-parameter search: a space of settings, a study, and its trials."""

from muzero_jax import _lazy

_MODULES = ('results', 'space', 'storage', 'study', 'trial')
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
