"""Lines at a steady rhythm, strict JSON, and curves that never double back."""

import io
import json
import sys

import numpy as np
import pytest

from muzero_jax import config as config_lib
from muzero_jax.config import Config
from muzero_jax.runs import metrics, plots, writers
from muzero_jax.runs.progress import Counts, Progress


class _Clock:
  now = 100.0

  def __call__(self) -> float:
    return self.now


@pytest.fixture(name='clock')
def _clock():
  return _Clock()


def _make(tmp_path, clock, **changes):
  arguments = dict(total_steps=1000, log_period=10.0, writers=[],
                   stream=io.StringIO(), clock=clock) | changes
  return Progress(tmp_path, **arguments)


def _text(shown: Progress) -> str:
  return shown._stream.getvalue()  # type: ignore[union-attr]


def test_a_line_has_what_a_user_asks(tmp_path, clock):
  shown = _make(tmp_path, clock)
  assert not shown.log(Counts(), {})
  shown.log(Counts(), {}, force=True)
  clock.now += 10
  shown.add_episodes(3, 30.0)
  shown.add_episodes(1, np.float32(14.0))
  assert shown.log(
    Counts(steps=200, simulations=400_000, updates=50),
    {'loss': np.float32(1.5), 'value_loss': 0.25, 'entropy': 3})
  assert _text(shown).splitlines()[-1] == (
    '200/1,000 20%  20 steps/s  40k simulations/s  5 updates/s  '
    'return 11 (4 episodes)  loss 1.5  value loss 0.25  left 0:00:40')
  row = metrics.read_metrics(tmp_path)[-1]
  assert row == {
    'step': 200, 'seconds': 10.0, 'steps_per_second': 20.0,
    'simulations_per_second': 40_000.0, 'updates_per_second': 5.0,
    'updates': 50, 'return': 11.0, 'episodes': 4, 'loss': 1.5,
    'value_loss': 0.25, 'entropy': 3}


def test_a_line_of_a_run_that_plays_nothing(tmp_path, clock):
  shown = _make(tmp_path, clock, unit='updates')
  clock.now += 10
  assert shown.log(
    Counts(steps=200, simulations=400_000, updates=200), {'loss': 1.5})
  assert _text(shown).splitlines()[-1] == (
    '200/1,000 updates 20%  40k simulations/s  20 updates/s  loss 1.5  '
    'left 0:00:40')
  assert metrics.read_metrics(tmp_path)[-1] == {
    'step': 200, 'seconds': 10.0, 'simulations_per_second': 40_000.0,
    'updates_per_second': 20.0, 'updates': 200, 'loss': 1.5}


def test_self_play_shows_games_and_no_return(tmp_path, clock):
  shown = _make(tmp_path, clock, is_self_play=True)
  shown.add_episodes(7, 7.0)
  clock.now += 70
  shown.log(Counts(steps=200), {}, force=True)
  line = _text(shown).splitlines()[-1]
  assert '  7 games  ' in line and 'return' not in line
  assert shown.duration() == '0:01:10'


def test_episodes_count_once(tmp_path, clock):
  shown = _make(tmp_path, clock)
  shown.add_episodes(2, 4.0)
  shown.log(Counts(steps=10), {}, force=True)
  shown.log(Counts(steps=20), {}, force=True)
  first, second = metrics.read_metrics(tmp_path)
  assert first['return'] == 2 and first['episodes'] == 2
  assert 'return' not in second and second['episodes'] == 0
  assert 'return - (0 episodes)' in _text(shown).splitlines()[-1]


def test_the_rhythm_is_that_of_the_clock(tmp_path, clock):
  shown = _make(tmp_path, clock)
  printed = []
  for step in range(1, 36):
    clock.now += 1
    assert shown.due() == shown.log(Counts(steps=step), {})
    if metrics.read_metrics(tmp_path)[-1:]:
      printed.append(metrics.read_metrics(tmp_path)[-1]['step'])
  assert sorted(set(printed)) == [10, 20, 30]


def test_timed_counts_in_no_rate(tmp_path, clock):
  shown = _make(tmp_path, clock)
  with shown.timed():
    clock.now += 60
  clock.now += 10
  shown.log(Counts(steps=100), {})
  assert 'compiling the training step ... took 60.0 s' in _text(shown)
  row = metrics.read_metrics(tmp_path)[-1]
  assert row['steps_per_second'] == pytest.approx(10)
  assert row['seconds'] == 70


def test_what_is_not_finite_is_null(tmp_path, clock):
  shown = _make(tmp_path, clock)
  shown.log(
    Counts(steps=1), {'loss': float('nan'), 'x': np.inf, 'y': True},
    force=True)
  text = (tmp_path / metrics.METRICS_FILE).read_text()

  def refuse(constant):
    raise AssertionError(constant)

  row = json.loads(text, parse_constant=refuse)
  assert row['loss'] is None and row['x'] is None and row['y'] == 1
  assert 'loss not finite' in _text(shown)


def test_resume_drops_later_rows_and_a_torn_one(tmp_path, clock):
  shown = _make(tmp_path, clock)
  for step in (100, 200, 300):
    clock.now += 10
    shown.log(Counts(steps=step), {'loss': step})
  path = tmp_path / metrics.METRICS_FILE
  with open(path, 'a') as file:
    file.write('{"step": 400, "lo')
  assert [row['step'] for row in metrics.read_metrics(tmp_path)] == [
    100, 200, 300]
  clock.now += 1000
  resumed = _make(
    tmp_path, clock,
    start=Counts(steps=200, simulations=10_000, updates=900))
  clock.now += 10
  resumed.log(
    Counts(steps=350, simulations=10_000, updates=900), {'loss': 1})
  rows = metrics.read_metrics(tmp_path)
  assert [row['step'] for row in rows] == [100, 200, 350]
  assert path.read_text().count('\n') == 3
  # Time goes on where it stopped; counts before the resume are no speed.
  assert rows[-1]['seconds'] == 30
  assert rows[-1]['steps_per_second'] == 15
  assert rows[-1]['updates_per_second'] == 0


def test_nothing_is_rewritten_that_need_not_be(tmp_path, clock):
  shown = _make(tmp_path, clock)
  shown.log(Counts(steps=100), {'loss': 1.0}, force=True)
  path = tmp_path / metrics.METRICS_FILE
  before = path.stat().st_ino, path.read_bytes()
  _make(tmp_path, clock, start=Counts(steps=100))
  assert (path.stat().st_ino, path.read_bytes()) == before


def test_the_header_has_own_choices_alone(tmp_path, clock):
  shown = _make(tmp_path, clock)
  shown.header(Config(num_envs=32, seed=7), notes=['replay 3 MB'])
  lines = _text(shown).splitlines()
  assert 'jax' in lines[0] and 'cpu' in lines[0]
  assert lines[1:6] == [
    f'run directory {tmp_path}', 'replay 3 MB',
    'configuration: the defaults, but for',
    '  num_envs = 32  (by default: 64)', '  seed = 7  (by default: 0)']
  assert len(lines) == 6
  before = len(_text(shown))
  shown.header(config_lib.from_preset('tic_tac_toe', seed=7))
  assert _text(shown)[before:].splitlines()[2:] == [
    'configuration: preset tic_tac_toe, but for',
    '  seed = 7  (in the preset: 0)']


def test_no_line_is_beyond_the_end(tmp_path, clock):
  shown = _make(tmp_path, clock)
  shown.log(Counts(steps=10**9), {}, force=True)
  assert ' 100%' in _text(shown)


def test_episodes_that_never_end_are_told_once(tmp_path, clock):
  shown = _make(tmp_path, clock)
  for steps in (500, 501, 900):
    shown.add_episodes(0, 0.0)
    shown.warn_if_endless(steps, 0)
  lines = _text(shown).splitlines()
  assert len(lines) == 1 and lines[0].startswith('warning: after 501 steps')
  assert '--time_limit' in lines[0]


@pytest.mark.parametrize('steps, limit, ended', [
  (5000, 5000, 0), (400, 0, 0), (9000, 0, 1)])
def test_episodes_that_may_still_end_are_not(
    tmp_path, clock, steps, limit, ended):
  shown = _make(tmp_path, clock)
  shown.add_episodes(ended, 1.0)
  shown.warn_if_endless(steps, limit)
  assert _text(shown) == ''


def test_curves_and_events(tmp_path, clock):
  pytest.importorskip('matplotlib')
  pytest.importorskip('tensorboardX')
  with _make(tmp_path, clock, writers=None) as shown:
    for step in range(0, 1001, 100):
      clock.now += 10
      shown.add_episodes(1, step)
      shown.log(Counts(steps=step), {'loss': 1 / (step + 1), 'value_loss': 1.0,
                       'policy_entropy': 2.0, 'bad': float('nan'),
                       'value_error_at/0': 0.1, 'value_error_at/1': 0.2})
    shown.record(1000, {'eval_return': 480.0, 'eval_episodes': 32})
  assert 'value_error_at/1' in metrics.read_metrics(tmp_path)[0]
  png = (tmp_path / plots.CURVES_FILE).read_bytes()
  assert png.startswith(b'\x89PNG') and len(png) > 10_000
  events = list((tmp_path / 'tensorboard').iterdir())
  assert len(events) == 1 and b'value_loss' in events[0].read_bytes()
  assert not [path for path in tmp_path.iterdir() if path.name[0] == '.']
  assert metrics.read_metrics(tmp_path)[-1]['eval_return'] == 480.0


def test_nothing_to_draw(tmp_path, clock):
  assert _make(tmp_path, clock).close() is None


def test_without_the_extras_there_is_a_note(tmp_path, clock, monkeypatch):
  for name in ('tensorboardX', 'matplotlib', 'matplotlib.figure',
               'matplotlib.backends.backend_agg'):
    monkeypatch.setitem(sys.modules, name, None)
  shown = _make(tmp_path, clock, writers=None)
  shown.log(Counts(steps=1), {'loss': 1.0}, force=True)
  assert shown.close() is None
  assert _text(shown).count('tensorboardX is not installed') == 1
  assert _text(shown).count('matplotlib is not installed') == 1


class _Writer:
  """Keeps what it gets; raises at one step, or when it is closed."""

  def __init__(self, fails_at=None, fails_to_close=False):
    self.rows, self.num_closed = [], 0
    self._fails_at, self._fails_to_close = fails_at, fails_to_close

  def write(self, step, metrics):
    if step == self._fails_at:
      raise OSError('no network')
    self.rows.append((step, dict(metrics)))

  def close(self):
    self.num_closed += 1
    if self._fails_to_close:
      raise KeyError('closed')


def test_a_writer_gets_every_row_as_numbers(tmp_path, clock):
  mine = _Writer()
  with _make(tmp_path, clock, writers=[mine]) as shown:
    clock.now += 10
    shown.log(Counts(steps=100, updates=7), {'loss': np.float32(0.5),
                                             'bad': np.nan, 'name': 'x'})
    assert not shown.log(Counts(steps=101), {'loss': 1.0})
    shown.record(120, {'eval_return': 3.0})
  assert [step for step, _ in mine.rows] == [100, 120]
  first, second = (row for _, row in mine.rows)
  assert first['loss'] == 0.5 and first['updates'] == 7
  # Neither what is not finite, nor text, nor the step once more.
  assert not {'bad', 'name', 'step'} & {*first}
  assert second['eval_return'] == 3.0
  assert mine.num_closed == 1


def test_a_writer_that_raises_is_told_of_and_left_out(tmp_path, clock):
  broken, sound = _Writer(fails_at=200), _Writer()
  with _make(tmp_path, clock, writers=[broken, sound]) as shown:
    for step in (100, 200, 300):
      assert shown.log(Counts(steps=step), {'loss': 1.0}, force=True)
  assert [step for step, _ in broken.rows] == [100]
  assert [step for step, _ in sound.rows] == [100, 200, 300]
  assert (broken.num_closed, sound.num_closed) == (0, 1)
  rows = metrics.read_metrics(tmp_path)
  assert [row['step'] for row in rows] == [100, 200, 300]
  told = [line for line in _text(shown).splitlines() if '_Writer' in line]
  assert len(told) == 1 and 'OSError: no network' in told[0]


def test_a_writer_that_cannot_be_closed_hinders_nothing(tmp_path, clock):
  broken, sound = _Writer(fails_to_close=True), _Writer()
  with _make(tmp_path, clock, writers=[broken, sound]) as shown:
    shown.log(Counts(steps=100), {'loss': 1.0}, force=True)
  assert (broken.num_closed, sound.num_closed) == (1, 1)
  assert "_Writer failed and gets no more metrics: KeyError" in _text(shown)


def test_writers_by_name(tmp_path, clock, monkeypatch):
  rows = []

  class Mine:
    def write(self, step, metrics):
      rows.append((step, dict(metrics)['x']))

    def close(self):
      pass

  monkeypatch.setitem(writers.NAMED, 'wandb', writers.Named(
    'W&B', 'wandb', 'wandb', lambda workdir, step: Mine()))
  with _make(tmp_path, clock, writers=['wandb']) as shown:
    shown.record(3, {'x': 1.5})
  assert rows == [(3, 1.5)]

  def fails(workdir, step):
    raise ImportError('no such package')

  monkeypatch.setitem(writers.NAMED, 'wandb', writers.Named(
    'W&B', 'wandb', 'wandb', fails))
  with _make(tmp_path, clock, writers=['wandb']) as shown:
    shown.record(4, {'x': 1.5})
  assert 'no W&B: wandb is not installed (extra "wandb")' in _text(shown)
