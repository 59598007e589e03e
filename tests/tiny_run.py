"""One tiny CartPole run that several test files share, and its command line.

The same numbers everywhere, so that it is compiled once.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import NamedTuple

import jax
import pytest
from helpers import random_params

from benchmarks import kill
from muzero_jax import config as config_lib
from muzero_jax import envs, wide_counts
from muzero_jax.commands import main
from muzero_jax.drivers import anakin, iteration
from muzero_jax.runs import checkpoint, run_dir

# As test_checkpoint has them: 150 iterations.
FIELDS = dict(
  kill.FIELDS, num_steps=9600, eval_envs=2, eval_simulations=0, log_period=0.0,
  network='mlp',
)


def config(**changes):
  """The tiny run's Config."""
  return config_lib.from_preset('cartpole', **{**FIELDS, **changes})


def command(workdir, **changes):
  """The tiny run's command line."""
  fields = {**FIELDS, **changes}
  return [
    sys.executable, '-m', 'experiments.classic', f'--workdir={workdir}',
    *(f'--{name}={value}' for name, value in fields.items()),
  ]


def call(argv, **kwargs):
  """Runs a command to its end."""
  return subprocess.run(argv, text=True, capture_output=True, **kwargs)


class Answer(NamedTuple):
  """What a command did that ran in this process."""

  returncode: int
  stdout: str
  stderr: str


def answer(capsys, name, *argv):
  """Runs a command of `muzero-jax` in this process, which saves a start."""
  capsys.readouterr()
  with pytest.raises(SystemExit) as ended:
    main.run(name, [name, *map(str, argv)])
  return Answer(ended.value.code, *capsys.readouterr())


def restore(workdir, run_config):
  """The newest state saved in a run directory."""
  env = envs.make(run_config)
  driver = anakin.make_anakin(
    run_config, env, rows_per_env=run_config.capacity_rows_per_env
  )
  found = checkpoint.restore(
    workdir, driver.abstract(), report=lambda line: None)
  return None if found is None else found[1]


def store(workdir, run_config, steps, scale=0.3):
  """Makes a run directory as of a run that was stopped; returns its params.

  They are random, since untrained heads are zero.
  """
  run_dir.store(workdir, run_config)
  driver = anakin.make_anakin(
    run_config, envs.make(run_config),
    rows_per_env=run_config.capacity_rows_per_env
  )
  state = driver.init(iteration.run_key(run_config))
  params = jax.jit(random_params)(
    state.learner.params, jax.random.key(1), scale)
  state = state._replace(learner=state.learner._replace(params=params))
  for step in steps:
    state = state._replace(
      num_steps=wide_counts.of(step, state.num_steps.low.shape))
    checkpoint.save(workdir, step, state)
  return params


def snapshot(workdir):
  """Each file below a directory with its bytes."""
  root = pathlib.Path(workdir)
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in sorted(root.rglob('*')) if path.is_file()
  }


def num_leaves(state):
  """How many arrays a state has."""
  return len(jax.tree.leaves(state))


def rows(workdir):
  """metrics.jsonl, strictly read."""
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def is_plain_line(stderr):
  """True for one line that is no traceback."""
  lines = [line for line in stderr.splitlines() if line.strip()]
  return (
    len(lines) == 1 and lines[0].startswith('error: ')
    and 'Traceback' not in stderr
  )


def interrupt_after(monkeypatch, num_saves, signum=signal.SIGTERM):
  """Sends a signal to this process once so many checkpoints are saved."""
  save, count = checkpoint.save, [0]

  def patched(*args, **kwargs):
    path = save(*args, **kwargs)
    count[0] += 1
    if count[0] == num_saves:
      signal.raise_signal(signum)
    return path

  monkeypatch.setattr(checkpoint, 'save', patched)


def environ(**changes):
  """This process's environment with some variables changed."""
  return {**os.environ, **changes}
