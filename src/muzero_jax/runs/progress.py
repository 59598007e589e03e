"""What a run tells its user: lines, metrics.jsonl, TensorBoard, curves.png.

Drivers hand over plain numbers, already on the host; nothing here touches a
device, and nothing here is needed to resume a run.
"""

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from muzero_jax import config as config_lib
from muzero_jax import console, files
from muzero_jax.config import Config
from muzero_jax.errors import StoppedError
from muzero_jax.runs import metrics as metrics_lib
from muzero_jax.runs import plots, terminal
from muzero_jax.runs import writers as writers_lib
from muzero_jax.runs.writers import HandOver, Writer

# Steps after which an episode without a limit seems to have no end.
_LONG_EPISODE = 500
_SMOOTHING = 0.7  # Of the rate from which the time left is estimated.


class Counts(NamedTuple):
  """What a run has done so far."""

  steps: int = 0  # Of the environment; offline, updates.
  simulations: int = 0
  updates: int = 0


_NOTHING = Counts()


class Progress:
  """Shows and records one run; steps count from the run's first start."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    total_steps: int,
    start: Counts = _NOTHING,
    log_period: float = 10.0,
    unit: str = 'steps',
    is_self_play: bool = False,
    writers: Sequence[Writer | str] | None = None,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    """Open the record of a run.

    Args:
      workdir: the run directory. Rows of metrics.jsonl beyond the start are
        dropped: the run is about to repeat them.
      total_steps: environment steps at which the run ends.
      start: counts of the checkpoint that it resumes.
      log_period: seconds between lines.
      unit: what steps are: environment steps, or 'updates' offline, where
        there are no others.
      is_self_play: whether one agent plays all sides of a game; what it won
        from itself is not printed.
      writers: what else gets each row: objects, or names of
        `writers.NAMED`; None for TensorBoard, if tensorboardX is installed.
      stream: where lines go; standard output by default. On a terminal a bar
        takes the place of the periodic lines.
      clock: seconds.

    Raises:
      RunError: the disk refuses.
    """
    self.workdir = pathlib.Path(workdir)
    self._total, self._period = total_steps, log_period
    self._is_offline = unit == 'updates'
    self._is_self_play = is_self_play
    self._stream, self._clock = stream, clock
    self._bar = terminal.Bar(
      stream, total=total_steps, clock=clock,
    ) if terminal.is_terminal(stream) else None
    self._counts, self._time = start, clock()
    self._rate: float | None = None
    self._episodes, self._return_sum = 0, 0.0
    self._path = self.workdir / metrics_lib.METRICS_FILE
    with files.writing(metrics_lib.METRICS_FILE):
      self.workdir.mkdir(parents=True, exist_ok=True)
      rows = metrics_lib.drop_rows_after(self._path, start.steps)
    seconds = rows[-1].get('seconds', 0.0) if rows else 0.0
    self._start = self._time - seconds
    self._evaluated = next((
      row[metrics_lib.EVALUATION] for row in reversed(rows)
      if metrics_lib.EVALUATION in row), None)
    given = ('tensorboard',) if writers is None else writers
    opened = [
      self._open(one) if isinstance(one, str) else one for one in given]
    self._writers = [HandOver(writer) for writer in opened if writer]
    self._closed = False
    # Whether an episode has ended, or it was said that none does.
    self._has_ended = start.steps > 0

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    if not self._closed:
      # Whoever asked the run to stop does not wait for a picture.
      self.close(draws=not isinstance(error, StoppedError))

  def note(self, text: str) -> None:
    """Prints a line at once, as long as somebody takes it."""
    if self._bar is not None:
      self._bar.note(text)
    else:
      console.say(text, self._stream)

  def header(self, config: Config, notes: Sequence[str] = ()) -> None:
    """Prints versions, devices and what differs from the nearest preset."""
    import jax

    devices = jax.devices()
    self.note(
      f'muzero_jax {_version()}, jax {jax.__version__}, {len(devices)} x '
      f'{devices[0].platform} ({devices[0].device_kind})')
    self.note(f'run directory {self.workdir}')
    for line in notes:
      self.note(line)
    preset = config_lib.nearest_preset(config)
    usual = config_lib.from_preset(preset) if preset else Config()
    of = f'preset {preset}' if preset else 'the defaults'
    where = 'in the preset' if preset else 'by default'
    chosen = config_lib.diff(config, usual)
    self.note(f'configuration: {of}{", but for" if chosen else ""}')
    for name, (value, default) in chosen.items():
      self.note(f'  {name} = {value}  ({where}: {default})')

  @contextlib.contextmanager
  def timed(self, what: str = 'compiling the training step') -> Iterator[None]:
    """Prints how long its body took; no rate counts that time."""
    start = self._clock()
    if self._bar is not None:
      with self._bar.working(what):
        yield
    else:
      console.say(f'{what} ... ', self._stream, end='')
      try:
        yield
      except BaseException:
        self.note('')
        raise
    now = self._clock()
    # What was played before it still counts.
    self._time += now - start
    begin = f'{what} ... ' if self._bar is not None else ''
    self.note(f'{begin}took {now - start:.1f} s')

  def add_episodes(self, num_episodes: int, return_sum: float) -> None:
    """Counts training episodes that ended, for the next line."""
    self._episodes += int(num_episodes)
    self._has_ended = self._has_ended or num_episodes > 0
    self._return_sum += float(return_sum)

  def warn_if_endless(self, steps: int, limit: int) -> None:
    """Warn once where training has gone on and on without an episode's end.

    Args:
      steps: of each environment, since the run's first start.
      limit: steps at which an episode is cut off; 0 if it never is.
    """
    if self._has_ended or steps <= (limit or _LONG_EPISODE):
      return
    self._has_ended = True
    self.note(
      f'warning: after {steps:,} steps of each environment no episode has '
      'ended: if they have no end, cut them off with --time_limit')

  def duration(self) -> str:
    """Returns the time since the run's first start, pauses left out."""
    return _duration(self._clock() - self._start)

  def show(self, step: int) -> None:
    """Moves the bar, where there is one."""
    if self._bar is not None:
      self._bar.show(step)

  def due(self) -> bool:
    """Returns True when the next call of `log` would print."""
    return self._clock() - self._time >= self._period

  def log(
    self, counts: Counts, metrics: Mapping[str, Any], *, force: bool = False
  ) -> bool:
    """Print and record a line, if it is due.

    Args:
      counts: what has been done so far.
      metrics: numbers by name; those that end in "loss" are printed too. What
        is not finite is recorded as null.
      force: True to print although it is not due.

    Returns:
      True if it was.
    """
    if not (force or self.due()):
      return False
    row = self._rates(counts)
    if self._episodes:
      row['return'] = self._return_sum / self._episodes
    if self._is_offline:
      del row['steps_per_second']
    else:
      row['episodes'] = self._episodes
    row |= {name: _plain(value) for name, value in metrics.items()}
    self._episodes, self._return_sum = 0, 0.0
    if self._bar is None or force:
      self.note(self._line(row))
    else:
      self._bar.show(counts.steps, self._line(row, is_short=True))
    self.record(counts.steps, row)
    return True

  def record(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Records a row without printing it, for example of an evaluation.

    Raises:
      RunError: metrics.jsonl cannot be written; it has no part of the row.
    """
    self._evaluated = metrics.get(metrics_lib.EVALUATION, self._evaluated)
    row: dict[str, Any] = dict(
      step=int(step), seconds=round(self._clock() - self._start, 3))
    row |= {name: _plain(value) for name, value in metrics.items()}
    line = json.dumps(row, allow_nan=False) + '\n'
    with files.writing(metrics_lib.METRICS_FILE):
      files.append_whole(self._path, line.encode())
    scalars = {
      name: value for name, value in row.items()
      if isinstance(value, (int, float)) and name != 'step'}
    for writer in list(self._writers):
      self._try(
        writer, functools.partial(writer.write, int(step), scalars))

  def close(self, draws: bool = True) -> pathlib.Path | None:
    """Ends the record; returns curves.png, drawn anew, if it could be.

    Nothing here is needed to resume a run, so nothing here ends one.

    Args:
      draws: whether it is drawn.
    """
    self._closed = True
    if self._bar is not None:
      self._bar.stop()
    for writer in list(self._writers):
      self._try(writer, writer.close)
    self._writers = []
    if not draws:
      return None
    try:
      return plots.plot_curves(self.workdir)
    except ImportError:
      why = 'matplotlib is not installed (extra "viz")'
    except Exception as error:  # noqa: B902 - whatever matplotlib raises.
      why = f'{type(error).__name__}: {error}'
    self.note(f'no {plots.CURVES_FILE}: {why}')
    return None

  def _open(self, name: str) -> Writer | None:
    """Return the writer of a name; None, and a note, where it cannot be."""
    known = writers_lib.NAMED[name]
    try:
      return known.make(self.workdir, self._counts.steps)
    except ImportError:
      self.note(f'no {known.what}: {known.package} is not installed '
                f'(extra "{known.extra}")')
    except Exception as error:  # noqa: B902 - what only reports.
      self.note(f'no {known.what}: {type(error).__name__}: {error}')
    return None

  def _try(self, writer: HandOver, act: Callable[[], Any]) -> None:
    """Call a writer; one that fails is told of and left out from then on.

    What only reports must never end a run.
    """
    try:
      act()
    except Exception as error:  # noqa: B902 - whatever a user's writer raises.
      self._writers.remove(writer)
      self.note(
        f'{writer.name} failed and gets no more metrics: '
        f'{type(error).__name__}: {error}')

  def _rates(self, counts: Counts) -> dict[str, Any]:
    """Return the counters and the rates since the last line."""
    now = self._clock()
    seconds = max(now - self._time, 1e-9)
    rates = [
      (count - before) / seconds
      for count, before in zip(counts, self._counts)
    ]
    if counts.steps > self._counts.steps:
      self._rate = rates[0] if self._rate is None else (
        _SMOOTHING * self._rate + (1 - _SMOOTHING) * rates[0])
    self._counts, self._time = counts, now
    return dict(
      zip(metrics_lib.RATES, rates), step=counts.steps, updates=counts.updates)

  def _line(self, row: Mapping[str, Any], is_short: bool = False) -> str:
    """Return a row as text; a short one fits beside a bar."""
    step = row['step']
    # The last iteration may end beyond the last step.
    done = f'{min(100 * step / max(self._total, 1), 100):.0f}%'
    of = ' updates' if self._is_offline else ''
    parts = [f'{step:,}/{self._total:,}{of} {done}']
    parts += [
      f'{_short(row[name])} {name.removesuffix("_per_second")}/s'
      for name in metrics_lib.RATES[:1 if is_short else None] if name in row
    ]
    if self._is_self_play:
      parts.append(f'{row["episodes"]} games')
    elif not self._is_offline:
      parts.append(
        f'return {_short(row["return"])} ({row["episodes"]} episodes)'
        if 'return' in row else 'return - (0 episodes)')
    if self._evaluated is not None:
      parts.append(f'evaluation {_short(self._evaluated)}')
    left = [] if not self._rate else [
      f'left {_duration(max(self._total - step, 0) / self._rate)}']
    losses = [f'{name.replace("_", " ")} {_short(value)}'
              for name, value in row.items() if name.endswith('loss')]
    parts += left + losses[:1] if is_short else losses + left
    return '  '.join(parts)


def _plain(value: Any) -> int | float | str | None:
  """Returns `value` as JSON has it; None where it is not finite."""
  if isinstance(value, str):
    return value
  if hasattr(value, 'item'):
    value = value.item()
  if value is None or not math.isfinite(value):
    return None
  return int(value) if isinstance(value, (bool, int)) else float(value)


def _short(value: float | None) -> str:
  """Returns a number in at most seven characters, where it can be."""
  if value is None:
    return 'not finite'
  if abs(value) >= 1e6:
    return f'{value / 1e6:.3g}M'
  if abs(value) >= 1e4:
    return f'{value / 1e3:.3g}k'
  return f'{value:.0f}' if abs(value) >= 1e3 else f'{value:.3g}'


def _duration(seconds: float) -> str:
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f'{hours}:{minute:02d}:{second:02d}'


def _version() -> str:
  try:
    return importlib.metadata.version('muzero_jax')
  except importlib.metadata.PackageNotFoundError:
    return '(not installed)'
