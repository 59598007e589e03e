"""Signals as a request to stop: noted, never raised, and obeyed in time."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from muzero_jax.errors import StoppedError
from muzero_jax.runs import signals

ALL = signals.SIGNALS


@pytest.fixture(autouse=True)
def _own_handlers():
  """Handlers that are told apart from all others, and put back."""
  before = {signum: signal.getsignal(signum) for signum in ALL}
  for signum in ALL:
    signal.signal(signum, signal.default_int_handler)
  yield
  for signum, handler in before.items():
    signal.signal(signum, handler)


@pytest.mark.parametrize('signum', ALL)
def test_a_signal_is_noted_and_raises_nothing(signum):
  with signals.stop_on_signals() as stop:
    assert stop.signum == 0 and not stop.is_requested()
    stop.check()
    signal.raise_signal(signum)
    assert stop.signum == signum and stop.is_requested()
    with pytest.raises(StoppedError, match=signal.Signals(signum).name):
      stop.check()
  assert signal.getsignal(signum) is signal.default_int_handler
  assert signal.set_wakeup_fd(-1) == -1


def test_afterwards_ctrl_c_is_pythons_again():
  with signals.stop_on_signals():
    pass
  with pytest.raises(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)


def test_the_status_is_the_shells(capsys):
  with signals.stop_on_signals() as stop:
    signal.raise_signal(signal.SIGHUP)
  assert stop.end() == 129
  assert 'stopped by SIGHUP' in capsys.readouterr().out


def test_contexts_within_another_are_one():
  with signals.as_a_command() as outer, signals.stop_on_signals() as inner:
    assert inner is outer
    signal.raise_signal(signal.SIGTERM)
  assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
  with signals.stop_on_signals() as later:
    assert later is not outer and later.signum == 0


def test_what_is_ignored_stays_ignored():
  """As SIGHUP is under nohup."""
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with signals.stop_on_signals() as stop:
    signal.raise_signal(signal.SIGHUP)
    assert stop.signum == 0


def test_handlers_are_put_back_after_an_error():
  mine = lambda signum, frame: None
  signal.signal(signal.SIGTERM, mine)
  with pytest.raises(KeyError), signals.stop_on_signals() as stop:
    assert signal.getsignal(signal.SIGTERM) is stop
    raise KeyError
  assert signal.getsignal(signal.SIGTERM) is mine


def test_threads_that_may_not_handle_signals_go_on_without():
  found = []

  def run():
    with signals.stop_on_signals() as stop:
      stop.check()
      found.append(stop.signum)

  before = [signal.getsignal(signum) for signum in ALL]
  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert found == [0]
  assert [signal.getsignal(signum) for signum in ALL] == before


def test_commands_without_anything_to_save_end_at_once():
  signal.signal(signal.SIGINT, signal.default_int_handler)
  with signals.end_at_interrupts():
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# The main thread sits in a call of C, as in a compilation: no handler runs.
_BUSY = '''
import contextlib, ctypes, sys, time
from muzero_jax.runs import signals
def wait(seconds):
  end = time.monotonic() + seconds
  while (left := end - time.monotonic()) > 0:
    ctypes.CDLL(None).poll(None, 0, int(left * 1000) + 1)
with signals.stop_on_signals(longest_wait={wait}) as stop:
  print('ready', flush=True)
  with stop.keeping() if {kept} else contextlib.nullcontext():
    wait(2.0)
  print('saved', flush=True)
  sys.exit(stop.end() if stop.signum else 0)
'''


def _process(kept, wait):
  return subprocess.Popen(
    [sys.executable, '-c', _BUSY.format(kept=kept, wait=wait)], text=True,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: [
      signal.signal(signum, signal.SIG_DFL) for signum in ALL])


@pytest.mark.parametrize('kept, wait, gaps, status, saved', [
  (False, 0.5, [], 143, False),  # It takes too long.
  (False, None, [], 143, True),  # It may take as long as it takes.
  (True, 0.5, [], 143, True),  # There is something to save.
  (True, None, [0.6], 143, False),  # Asked for twice.
  (True, None, [0.0], 143, True),  # Two at a time are one request.
])
def test_a_wait_that_no_handler_ends(kept, wait, gaps, status, saved):
  with _process(kept, wait) as process:
    assert process.stdout.readline() == 'ready\n'
    os.kill(process.pid, signal.SIGTERM)
    for gap in gaps:
      time.sleep(gap)
      os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
  assert process.returncode == status, err
  assert ('saved' in out) == saved
  assert ('at once by SIGTERM' in err) != saved


def test_a_forked_child_does_not_hold_up_the_end():
  """It has the pipe of the thread that watches, too."""
  code = (
    'import os, time\n'
    'from muzero_jax.runs import signals\n'
    'with signals.stop_on_signals():\n'
    '  if not os.fork(): time.sleep(30); os._exit(0)\n'
    'print("ended")\n')
  process = subprocess.Popen(
    [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True,
    start_new_session=True)
  try:
    assert process.stdout.readline() == 'ended\n'
    assert process.wait(20) == 0
  finally:
    os.killpg(process.pid, signal.SIGKILL)


def test_what_resumes_a_run_that_was_asked_to_start_anew(capsys):
  stop = signals.Stop()
  stop(signal.SIGTERM, None)
  assert stop.end(restart=True) == 143
  assert 'the same command without --restart resumes' in (
    capsys.readouterr().out)
