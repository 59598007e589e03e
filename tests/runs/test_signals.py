"""SIGTERM and Ctrl-C: at once where nothing is to be saved, else on demand."""

import signal
import threading

import pytest

from muzero_jax.runs import signals
from muzero_jax.runs.signals import StoppedError

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _own_handlers():
  """Handlers that are told apart from all others, and put back."""
  before = {signum: signal.getsignal(signum) for signum in BOTH}
  yield
  for signum, handler in before.items():
    signal.signal(signum, handler)


@pytest.mark.parametrize('signum', BOTH)
def test_a_signal_stops_at_once(signum):
  before = signal.getsignal(signum)
  with pytest.raises(StoppedError), signals.stop_on_signals() as stop:
    assert stop.signum == 0
    stop.check()
    signal.raise_signal(signum)
    pytest.fail('it went on')
  assert stop.signum == signum
  assert signal.getsignal(signum) == before


@pytest.mark.parametrize('signum', BOTH)
def test_a_signal_waits_while_there_is_something_to_save(signum):
  with signals.stop_on_signals() as stop:
    stop.deferred = True
    signal.raise_signal(signum)
    assert stop.signum == signum
    # The second one ends the process.
    assert signal.getsignal(signum) == signal.SIG_DFL
    with pytest.raises(StoppedError):
      stop.check()


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

  before = [signal.getsignal(signum) for signum in BOTH]
  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert found == [0]
  assert [signal.getsignal(signum) for signum in BOTH] == before
