"""A network written with Flax NNX as a `Model` of pure functions."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from muzero_jax.types import Array, Model, Params


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
  """Make a model of an NNX module.

  The parameters are a nested dictionary of arrays. Modules that draw while they
  are called, as dropout does, are not supported: a search calls the same
  function again and again.

  Args:
    make: rngs -> a module with methods `root(observation [B, ...])` and
      `step(state [B, ...], action [B])`, which both return a `ModelOutput`.
  """
  abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
  graph, abstract_state = nnx.split(abstract)

  def init(rng_key: Array, observation: Array) -> Params:
    del observation  # NNX modules know their sizes.
    return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(rng_key))))

  def method(name: str) -> Callable[..., Any]:
    def function(params: Params, *inputs: Array) -> Any:
      state = jax.tree.map(lambda x: x, abstract_state)
      nnx.replace_by_pure_dict(state, params)
      return getattr(nnx.merge(graph, state), name)(*inputs)
    return function

  return Model(init=init, root=method('root'), step=method('step'))
