"""On a terminal a bar is the last line; a file gets plain lines."""

import io

import pytest

from muzero_jax.runs import metrics, terminal
from muzero_jax.runs.progress import Counts, Progress


class _Terminal(io.StringIO):
  """Takes what a terminal would show."""

  def isatty(self):
    return True


class _Gone(_Terminal):
  """A terminal whose window was closed."""

  def write(self, text):
    raise OSError(5, 'Input/output error')


@pytest.fixture(autouse=True)
def _xterm(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm-256color')
  monkeypatch.setenv('COLUMNS', '120')
  monkeypatch.delenv('NO_COLOR', raising=False)


def _run(tmp_path, stream):
  now = [0.0]
  shown = Progress(
    tmp_path, total_steps=1000, log_period=10.0, writers=[], stream=stream,
    clock=lambda: now[0])
  with shown:
    with shown.timed('compiling'):
      now[0] += 3
    for step in range(0, 600, 100):
      now[0] += 5
      shown.show(step)
      shown.log(Counts(steps=step), {'loss': 1.5, 'value_loss': 2.0})
    shown.note('saved [a checkpoint]')
    shown.record(600, {metrics.EVALUATION: 42.0})
    now[0] += 10
    shown.log(Counts(steps=700), {'loss': 0.5})
    shown.show(701)
  return metrics.read_metrics(tmp_path)


def test_a_terminal_gets_a_bar_and_a_file_gets_lines(tmp_path):
  seen, lines = _Terminal(), io.StringIO()
  rows = _run(tmp_path / 'a', seen)
  assert rows == _run(tmp_path / 'b', lines)
  text = seen.getvalue()
  for words in ('500/1,000 50%', '20 steps/s', 'loss 1.5', 'left 0:00:',
                'evaluation 42', 'compiling ... took 3.0 s',
                'saved [a checkpoint]', '\x1b['):
    assert words in text, words
  # A bar has no room for all losses.
  assert 'value loss' not in text
  assert '\x1b' not in lines.getvalue()
  assert 'value loss 2' in lines.getvalue()
  assert 'saved [a checkpoint]' in lines.getvalue().splitlines()


def test_a_run_does_not_end_with_its_terminal(tmp_path):
  assert len(_run(tmp_path, _Gone())) == 5


@pytest.mark.parametrize('term', ['dumb', 'unknown'])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, term):
  assert terminal.is_terminal(_Terminal())
  monkeypatch.setenv('TERM', term)
  assert not terminal.is_terminal(_Terminal())
  assert not terminal.is_terminal(io.StringIO())
