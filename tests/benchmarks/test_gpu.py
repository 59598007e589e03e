"""The command for a GPU: parts within their time, results as they come."""

import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
import tiny_run

from benchmarks import arithmetic, gpu
from muzero_jax import envs
from muzero_jax.config import from_preset
from muzero_jax.drivers import build


def test_a_part_ends_by_itself_or_is_stopped(capsys):
  done = gpu.run(('timeit', '-n', '1', '-r', '1', 'pass'), 60)
  assert (done['status'], done['is_cut']) == (0, False)
  assert 'loop' in done['output'] and 'loop' in capsys.readouterr().out
  start = time.monotonic()
  cut = gpu.run(
    ('timeit', '-n', '1', '-r', '1', 'import time; time.sleep(60)'), 1, False)
  assert cut['is_cut'] and cut['status'] != 0
  assert time.monotonic() - start < 20


def test_hours_of_a_whole_run_follow_from_the_rate(tmp_path, monkeypatch):
  monkeypatch.setattr(gpu, '_RESULTS', tmp_path)
  argv = ('benchmarks.throughput', '--preset=x')
  assert gpu.projected_hours(argv) is None
  (tmp_path / 'throughput.json').write_text(json.dumps({'--preset=x': dict(
    simulations_per_second=800.0, updates_per_second=5.0,
    rows_per_second=50.0)}))
  assert gpu.projected_hours(argv)['hours_of_100k_steps'] == pytest.approx(
    100_000 / 50 / 3600)


def test_without_a_gpu_it_says_so():
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.gpu'], text=True, capture_output=True,
    cwd=gpu.ROOT, timeout=120, env={
      **tiny_run.os.environ, 'JAX_PLATFORMS': 'cpu'})
  assert done.returncode == 1
  assert 'there is no GPU here' in done.stderr and '--small' in done.stderr


def test_operations_of_calls_are_counted():
  config = from_preset(
    'cartpole', num_envs=4, batch_size=8, network='mlp', unroll_steps=2)
  spec = envs.spec_of(config, envs.make)
  system = build.make_system(config, spec)
  params = system.model.init(
    jax.random.key(0), build.example_observation(config, spec))
  root, simulate, update = arithmetic.calls(config, spec, system, params)
  rows = config.rollout_length
  assert (root.count, simulate.count) == (rows, rows * config.num_simulations)
  assert update.count == config.updates_per_iteration
  # Each weight of a dense layer is a product and a sum of each row; forwards
  # and backwards, thrice that.
  weights = sum(x.size for x in jax.tree.leaves(params) if x.ndim == 2)
  assert 0 < root.flops < 2.5 * 4 * weights
  assert update.flops > 2 * 8 * 2 * simulate.flops / 4


def test_a_product_of_matrices_is_timed(monkeypatch):
  monkeypatch.setattr(arithmetic, '_SIZES', (64,))
  assert arithmetic.peak() > 1e6
  assert arithmetic.seconds_of(jnp.add, (1.0, 2.0)) > 0
