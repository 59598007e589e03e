"""Flax modules for h, g and f; `model.make_model` turns one into functions."""

from muzero_jax import _lazy
from muzero_jax.networks.k_in_a_row import KInARowNetwork
from muzero_jax.networks.mlp import MLPNetwork
from muzero_jax.networks.resnet import AtariResNet, BoardResNet
from muzero_jax.networks.rotation_equivariant import (
  RotationEquivariantNetwork,
  StochasticRotationEquivariantNetwork,
)
from muzero_jax.networks.stochastic import StochasticMLPNetwork

Network = (
  MLPNetwork | BoardResNet | AtariResNet | RotationEquivariantNetwork |
  KInARowNetwork)

__all__ = [
  'AtariResNet',
  'BoardResNet',
  'RotationEquivariantNetwork',
  'MLPNetwork',
  'Network',
  'StochasticRotationEquivariantNetwork',
  'StochasticMLPNetwork',
  'KInARowNetwork',
]

__getattr__, __dir__ = _lazy.attach(
  __name__, ('build', 'distributions', 'model', 'nnx_model'))
