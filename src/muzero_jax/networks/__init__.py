"""Flax modules for h, g and f; `model.make_model` turns one into functions."""

from muzero_jax.networks.mlp import MLPNetwork
from muzero_jax.networks.resnet import AtariResNet, BoardResNet
from muzero_jax.networks.stochastic import StochasticMLPNetwork

Network = MLPNetwork | BoardResNet | AtariResNet

__all__ = [
  'AtariResNet',
  'BoardResNet',
  'MLPNetwork',
  'Network',
  'StochasticMLPNetwork',
]
