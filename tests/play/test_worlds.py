"""Going back in environments that cannot be copied, and in those that can."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers import counting_env
from host_envs import SPEC, Counting

from muzero_jax.errors import UserError
from muzero_jax.play import worlds


def outside(counting):
  player = SimpleNamespace(
    spec=SPEC, config=SimpleNamespace(worker_timeout=30.0))
  env = counting.host()._replace(reset=lambda seed: counting.reset(seed))
  return worlds.Outside(
    player, env, lambda row: dict(png=str(row.observation[0, 1])))


def keys(seed=0):
  return tuple(jax.random.split(jax.random.key(seed)))


def played(world, actions):
  moments = [world.begin(keys())]
  for action in actions:
    moments.append(world.follow(moments, action))
  return moments


def test_the_same_actions_are_played_again():
  counting = Counting(1)
  world = outside(counting)
  moments = played(world, [1, 0, 1])
  assert [m.picture['png'] for m in moments] == ['0.0', '1.0', '2.0', '3.0']
  assert [float(m.row.reward[0]) for m in moments] == [0, 2, 1, 2]
  assert counting.num_steps == 3
  again = world.follow(moments[:2], 1)
  assert again.row.observation[0, 1] == 2 and again.row.reward[0] == 2
  assert counting.num_steps == 5
  # It stands there already.
  assert world.follow([*moments[:2], again], 0).row.observation[0, 1] == 3
  assert counting.num_steps == 6
  world.close()
  assert counting.is_closed


def test_what_does_not_repeat_itself_is_looked_at_only():
  counting = Counting(1)
  world = outside(counting)
  moments = played(world, [1, 0, 1])
  reset = counting.reset
  counting.reset = lambda seed: reset(seed + 1)
  with pytest.raises(UserError, match='does not repeat itself'):
    world.follow(moments[:2], 1)
  with pytest.raises(UserError, match='does not repeat itself'):
    world.follow(moments, 1)
  counting.reset = reset
  assert world.follow(moments, 1).row.observation[0, 1] == 4
  world.close()


def test_an_environment_of_jax_goes_on_from_any_step():
  device = worlds.Device(counting_env(1))
  some, other = device.open(), device.open()
  moments = played(some, [1, 2])
  others = played(other, [0])
  assert [float(m.row.reward[0]) for m in moments] == [0, 101, 202]
  assert float(others[1].row.reward[0]) == 1
  again = some.follow(moments[:1], 2)
  assert again.row.reward[0] == 201 and again.action == 2
  assert isinstance(again.row.reward, np.ndarray)
