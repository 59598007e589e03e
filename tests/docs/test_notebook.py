"""The notebook: its file, and its cells run in order on the CPU."""

import base64
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import types
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import tiny_player
import tiny_run
from decoding import decode

from muzero_jax.drivers import anakin, iteration
from muzero_jax.runs import plots, run_dir

pyplot = pytest.importorskip('matplotlib.pyplot')
_PATH = (
  pathlib.Path(__file__).resolve().parents[2]
  / 'notebooks/muzero_colab.ipynb'
)
_CELL_KEYS = {
  'markdown': {'cell_type', 'id', 'metadata', 'source'},
  'code': {'cell_type', 'execution_count', 'id', 'metadata', 'outputs',
           'source'},
}
# As of the tiny run, but saved at the end alone, and over all devices that
# divide 10 environments and batches of 16: eight on two cores take long.
_NUM_DEVICES = 2
_CHANGES = {
  **tiny_run.FIELDS, 'num_envs': 10, 'batch_size': 16, 'num_devices': 0,
  'checkpoint_period': 1e6,
}
del _CHANGES['num_steps']  # NUM_STEPS has it.


class Executed(NamedTuple):
  """What is left of a notebook that was run."""

  names: dict[str, Any]
  out: str
  shown: list[str]  # HTML.
  drivers: list[iteration.Driver]


def read():
  return json.loads(_PATH.read_text(encoding='utf-8'))


def sources(cell_type):
  return {
    cell['id']: ''.join(cell['source']) for cell in read()['cells']
    if cell['cell_type'] == cell_type
  }


def execute(patch, capsys, folder, **settings):
  """Runs the code cells in one namespace, as a kernel would."""
  for name, value in settings.items():
    patch.setenv(f'MUZERO_{name}', str(value))
  patch.setenv('MUZERO_RUNS', str(folder))
  patch.chdir(folder)
  # Each run's own picture takes longer than its training here.
  patch.setattr(plots, 'plot_curves', lambda workdir: None)
  shown, drivers = show_in(patch), []
  make_anakin = anakin.make_anakin

  def spy(*args, **kwargs):
    drivers.append(make_anakin(*args, **kwargs))
    return drivers[-1]

  patch.setattr(anakin, 'make_anakin', spy)
  pyplot.close('all')
  names = {'__name__': '__main__'}
  run_cells(patch, names, *sources('code'))
  return Executed(names, capsys.readouterr().out, shown, drivers)


def show_in(patch):
  """Returns the list to which the notebook shows its HTML."""
  shown = []
  # Jupyter is not among what tests need.
  display = types.ModuleType('IPython.display')
  display.HTML, display.display = str, shown.append
  patch.setitem(sys.modules, 'IPython.display', display)
  return shown


def run_cells(patch, names, *ids):
  """Runs some code cells; whoever starts pip fails."""
  patch.setattr(subprocess, 'run', refuse)
  for name in ids:
    exec(compile(sources('code')[name], f'cell {name}', 'exec'), names)


def refuse(*args, **kwargs):
  raise AssertionError(f'the notebook starts {args}')


def host_calls(lowered):
  """What a step asks of the host, as lowered and as compiled."""
  text = lowered.as_text() + lowered.compile().as_text()
  # Callbacks are custom calls; the others are operations of their own.
  targets = re.findall(r'custom_call @"?([\w.$]+)', text)
  targets += re.findall(r'custom_call_target="([^"]*)"', text)
  found = [name for name in targets if 'callback' in name]
  return found + re.findall(
    r'stablehlo\.(infeed|outfeed|send|recv)\b', text)


def test_the_file_is_a_notebook_without_outputs():
  notebook = read()
  assert set(notebook) == {'cells', 'metadata', 'nbformat', 'nbformat_minor'}
  # Cells have ids since 4.5.
  assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
  assert notebook['metadata']['kernelspec']['name'] == 'python3'
  ids = [cell['id'] for cell in notebook['cells']]
  assert len(set(ids)) == len(ids)
  for cell in notebook['cells']:
    assert set(cell) == _CELL_KEYS[cell['cell_type']]
    assert re.fullmatch(r'[a-zA-Z0-9_-]{1,64}', cell['id'])
    assert not cell.get('outputs') and cell.get('execution_count') is None
    *lines, last = cell['source']
    assert last and not last.endswith('\n')
    assert all(line.endswith('\n') for line in lines)
  tagged = [
    cell['id'] for cell in notebook['cells']
    if 'parameters' in cell['metadata'].get('tags', ())
  ]
  assert tagged == ['parameters']


def test_a_line_of_the_file_is_a_line_of_a_cell():
  # As Jupyter itself writes it.
  text = json.dumps(
    read(), indent=1, ensure_ascii=False, sort_keys=True) + '\n'
  assert _PATH.read_text(encoding='utf-8') == text
  for source in (sources('code') | sources('markdown')).values():
    assert max(map(len, source.splitlines())) <= 79


def test_figures_are_those_of_the_results():
  text = sources('markdown')['title']
  results = (_PATH.parent.parent / 'docs/results.md').read_text()
  section = results.split('## 2. CartPole')[1]
  row = next(
    line for line in section.splitlines() if 'cartpole.flags' in line)
  assert '500.0 on each seed' in row and 'at most 72 s a seed' in row
  assert '500.0 of 500' in text and 'at most 72 s a seed' in text


@pytest.mark.thorough
def test_cartpole_on_two_seeds(tmp_path, monkeypatch, capsys):
  done = execute(
    monkeypatch, capsys, tmp_path, NUM_SEEDS=2, NUM_STEPS=400,
    EVAL_EPISODES=4, MAX_FRAMES=5, CHANGES=json.dumps(_CHANGES))
  check_devices(done)
  check_curves(done)
  for seed, workdir in enumerate(done.names['workdirs']):
    assert workdir == tmp_path / f'cartpole/seed_{seed}'
    stored = run_dir.read_config(workdir)
    assert (stored.seed, stored.num_steps) == (seed, 400)
  for seed, report in enumerate(done.names['reports']):
    assert len(report['returns']) == 4
    assert np.isfinite(report['returns']).all()
    assert f'\nseed {seed}: classic/cartpole after ' in done.out
  assert len(frames_of(done.shown, tmp_path)) == 5


def frames_of(shown, folder):
  """The frames of the film that the notebook shows."""
  (html,) = shown
  data = re.fullmatch(r'<img src="data:image/gif;base64,(.*)">', html)[1]
  path = folder / 'shown.gif'
  path.write_bytes(base64.b64decode(data))
  return decode(path)[0]


def check_devices(done):
  """The line on the accelerator, and a step that leaves the host alone."""
  line = re.search(r'^\d+ x CPU \(cpu\), jax .*$', done.out, re.MULTILINE)
  words = line[0].split()
  assert (words[0], words[-1]) == (str(len(jax.devices())), str(_NUM_DEVICES))
  assert len(done.drivers) == 2
  for driver in done.drivers:
    assert driver.num_devices == _NUM_DEVICES
    assert host_calls(driver.step.lower(driver.abstract())) == []


def check_curves(done):
  """A curve of finite returns for each seed, and their mean."""
  first, second = done.names['curves']
  for steps, returns in (first, second):
    assert steps.size == returns.size > 1
    assert (np.diff(steps) > 0).all()
    assert np.isfinite(returns).all() and (returns > 0).all()
  # The seeds are runs of their own.
  assert not np.array_equal(first, second)
  lines = pyplot.figure(1).axes[0].lines
  assert [line.get_label() for line in lines] == ['seed 0', 'seed 1', 'mean']


def test_minatar_is_set_up_and_drawn(tmp_path, monkeypatch, capsys):
  pytest.importorskip('pgx')
  monkeypatch.setenv('MUZERO_RUNS', str(tmp_path))
  monkeypatch.setenv('MUZERO_ENVIRONMENT', 'minatar/asterix')
  monkeypatch.setenv('MUZERO_MAX_FRAMES', '2')
  shown, names = show_in(monkeypatch), {'__name__': '__main__'}
  run_cells(monkeypatch, names, 'parameters', 'install', 'accelerator')
  assert [c.env_id for c in names['configs']] == ['asterix'] * 3
  assert names['configs'][0].num_steps == 5_000_000
  # Training is the same for every environment.
  names['players'] = [tiny_player.make('minatar', 'asterix')]
  names |= dict(np=np, scores=[0.0])
  run_cells(monkeypatch, names, 'watch')
  assert 'seed 0: 2 steps, return ' in capsys.readouterr().out
  frames = frames_of(shown, tmp_path)
  assert np.shape(frames) == (2, 240, 480, 3)


def test_a_callback_would_be_found():
  def step(x):
    jax.debug.callback(lambda value: None, x)
    return x + 1

  assert host_calls(jax.jit(step).lower(1.0))
  assert not host_calls(jax.jit(lambda x: x + 1).lower(1.0))


def test_installing_needs_an_address_outside_a_checkout(
  tmp_path, monkeypatch
):
  calls = []
  monkeypatch.setattr(
    subprocess, 'run', lambda argv, check: calls.append(argv[-1]))
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.delitem(sys.modules, 'jax')
  names = {'__name__': '__main__'}
  exec(sources('code')['parameters'], names)

  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='REPOSITORY is empty'):
    exec(sources('code')['install'], names)
  names['REPOSITORY'] = 'https://example.org/muzero_jax.git'
  exec(sources('code')['install'], names)
  monkeypatch.chdir(_PATH.parent)
  exec(sources('code')['install'], {**names, 'ENVIRONMENT': 'minatar/asterix'})
  assert [re.sub(',(tpu|cuda12)]', ']', call) for call in calls] == [
    'muzero_jax[viz] @ git+https://example.org/muzero_jax.git',
    f'muzero_jax[viz,games] @ {_PATH.parent.parent.as_uri()}',
  ]
