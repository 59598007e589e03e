"""The process that serves the page: its port, and its end."""

import os
import signal
import threading
import time

import pytest

pytest.importorskip('starlette')
pytest.importorskip('uvicorn')
httpx = pytest.importorskip('httpx')

from muzero_jax.errors import UserError  # noqa: E402
from muzero_jax.play import serving  # noqa: E402


class NoApi:
  """What cannot be made."""

  def __init__(self, agent, **options):
    raise UserError(f'no\n {agent}, {options["simulations"]}')


def test_a_port_in_use():
  with serving.listen(0) as listening:
    port = listening.getsockname()[1]
    assert listening.getsockname()[0] == '127.0.0.1'
    with pytest.raises(UserError, match=f'port = {port} cannot be used'):
      with serving.listen(port):
        pass


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(monkeypatch, capfd, signum):
  monkeypatch.setattr(serving.api, 'Api', NoApi)
  answers = []

  def ask(port):
    found = httpx.post(
      f'http://127.0.0.1:{port}/api/info', json={}, headers={'X-Token': 't'},
      timeout=30)
    answers.append((found.status_code, found.json()['error']))
    os.kill(os.getpid(), signum)

  before = signal.getsignal(signum)
  with serving.listen(0) as listening:
    # Who comes before the page is served waits for it.
    thread = threading.Thread(
      target=ask, args=(listening.getsockname()[1],), daemon=True)
    thread.start()
    time.sleep(0.05)
    assert serving.serve('agent', 't', listening, simulations=3) == 0
    thread.join(10)
  assert signal.getsignal(signum) is before
  [(status, line)] = answers
  assert status == 500 and line.endswith('no agent, 3') and '\n' not in line
  told = capfd.readouterr()
  assert told.out == 'stopped\n' and 'Traceback' not in told.err
