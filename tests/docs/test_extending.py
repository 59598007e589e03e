"""docs/extending.md: each example runs, is short, and is told its results."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from muzero_jax.networks import nnx_model
from muzero_jax.types import ModelOutput

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_XLA_FLAGS = (
  '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false')


def _blocks():
  text = (_ROOT / 'docs/extending.md').read_text(encoding='utf-8')
  return re.findall(r'^```python\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)


def test_each_example_takes_at_most_40_lines():
  assert len(_blocks()) == 5
  for block in _blocks():
    assert len([x for x in block.splitlines() if x.strip()]) <= 40


@pytest.mark.slow
def test_the_examples_train_and_are_loaded_again(tmp_path):
  script = tmp_path / 'examples.py'
  script.write_text('\n'.join(_blocks()), encoding='utf-8')
  done = subprocess.run(
    [sys.executable, script], cwd=tmp_path, text=True, capture_output=True,
    env={**os.environ, 'XLA_FLAGS': _XLA_FLAGS})
  assert done.returncode == 0, done.stdout + done.stderr
  names = {path.name for path in (tmp_path / 'runs').iterdir()}
  assert names == {'own_network', 'own_model', 'own_loss', 'own_search'}
  for name in names:
    assert (tmp_path / 'runs' / name / 'evaluation.json').exists()
  assert not (tmp_path / 'runs/own_loss/tensorboard').exists()
  metrics = (tmp_path / 'runs/own_loss/metrics.jsonl').read_text()
  assert '"entropy": ' in metrics and "'entropy': " in done.stdout
  assert 'closed' in done.stdout


class _Network(nnx.Module):
  """The smallest network of NNX."""

  def __init__(self, rngs):
    self.h = nnx.Linear(4, 8, rngs=rngs)
    self.g = nnx.Linear(8 + 2, 8, rngs=rngs)
    self.f = nnx.Linear(8, 11, rngs=rngs)

  def root(self, observation):
    state = nnx.relu(self.h(observation))
    out = self.f(state)
    return ModelOutput(state, 0 * out, out, out[:, :2])

  def step(self, state, action):
    taken = jax.nn.one_hot(action, 2)
    state = nnx.relu(self.g(jnp.concatenate([state, taken], axis=-1)))
    out = self.f(state)
    return ModelOutput(state, out, out, out[:, :2])


def test_a_network_of_nnx_is_a_model_of_pure_functions():
  model = nnx_model.from_nnx(_Network)
  params = model.init(jax.random.key(0), jnp.zeros((1, 4)))
  other = model.init(jax.random.key(1), jnp.zeros((1, 4)))
  observation = jnp.ones((3, 4))
  root = jax.jit(model.root)(params, observation)
  after = jax.jit(model.step)(params, root.state, jnp.zeros(3, jnp.int32))
  assert after.value_logits.shape == (3, 11)
  assert (root.state != model.root(other, observation).state).any()
  loss = lambda params: model.root(params, observation).value_logits.sum()
  slope = jax.grad(loss)(params)
  assert jax.tree.structure(slope) == jax.tree.structure(params)
  assert (slope['f']['bias'] == 3).all()
