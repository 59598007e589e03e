"""Flax modules for h, g and f; `model.make_model` turns one into functions."""

from muzero_jax.networks.k_in_a_row import WindowNetwork
from muzero_jax.networks.mlp import MLPNetwork
from muzero_jax.networks.resnet import AtariResNet, BoardResNet
from muzero_jax.networks.rotation_equivariant import (
  LineNetwork,
  StochasticLineNetwork,
)
from muzero_jax.networks.stochastic import StochasticMLPNetwork

Network = (
  MLPNetwork | BoardResNet | AtariResNet | LineNetwork | WindowNetwork)

__all__ = [
  'AtariResNet',
  'BoardResNet',
  'LineNetwork',
  'MLPNetwork',
  'Network',
  'StochasticLineNetwork',
  'StochasticMLPNetwork',
  'WindowNetwork',
]
