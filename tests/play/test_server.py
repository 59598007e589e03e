"""Requests that are refused, whoever sends them, and that nothing stops."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest

pytest.importorskip('starlette')
pytest.importorskip('httpx')

from starlette.testclient import TestClient  # noqa: E402

from muzero_jax.errors import UserError  # noqa: E402
from muzero_jax.play import server  # noqa: E402
from muzero_jax.play.api import NoSessionError  # noqa: E402

TOKEN = 'a' * 32
ORIGIN = 'http://127.0.0.1:8000'


class Echo:
  """Games in which nothing is computed."""

  def __init__(self):
    self.calls = []
    self.closed = False

  def warm_up(self):
    pass

  def info(self):
    return {'name': 'echo'}

  def close(self):
    self.closed = True

  def call(self, verb, body):
    self.calls.append((verb, body))
    if verb == 'undo':
      raise UserError('nothing to\n undo')
    if verb == 'goto':
      raise NoSessionError('no such game')
    if verb == 'hint':
      raise RuntimeError('a defect')
    return {'verb': verb, 'body': body}


@pytest.fixture(scope='module')
def served():
  echo = Echo()
  made = server.Server(lambda: echo, TOKEN)
  with TestClient(
      made.app, base_url=ORIGIN, raise_server_exceptions=False) as client:
    yield client, echo
  assert made.close(10) and echo.closed


def post(client, verb='new', body='{}', **headers):
  given = {'X-Token': TOKEN, 'Content-Type': 'application/json', **{
    name.replace('_', '-'): value for name, value in headers.items()}}
  return client.post(
    f'/api/{verb}', content=body,
    headers={name: value for name, value in given.items() if value})


def check_refused(served, status, response):
  client, echo = served
  assert response.status_code == status
  assert echo.calls == []
  error = response.json()['error']
  assert error and '\n' not in error
  assert post(client, 'new').status_code == 200
  echo.calls.clear()


def test_the_page_is_served_with_its_own_scripts_alone(served):
  client, _ = served
  found = client.get('/', params={'token': TOKEN})
  assert found.status_code == 200
  assert found.headers['content-type'].startswith('text/html')
  assert found.content == server.page()
  policy = found.headers['content-security-policy']
  assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
  assert 'unsafe-eval' not in policy
  assert found.headers['x-content-type-options'] == 'nosniff'
  assert found.headers['x-frame-options'] == 'DENY'
  assert found.headers['cache-control'] == 'no-store'


def test_scripts_are_known_by_their_contents():
  policy = server.content_policy(
    b'<script>alert(1)</script><script>\n2\n</script>')
  # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
  assert "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy
  assert policy.count('sha256-') == 2
  assert "script-src 'none'" in server.content_policy(b'<p>')


def test_json_in_json_out(served):
  client, echo = served
  found = post(client, 'new', json.dumps({'seed': 1}), Origin=ORIGIN)
  assert found.json() == {'verb': 'new', 'body': {'seed': 1}}
  assert echo.calls == [('new', {'seed': 1})]
  assert post(client, 'info').json() == {'name': 'echo', 'ready': True}
  echo.calls.clear()


def test_mistakes_are_one_line(served):
  client, echo = served
  found = post(client, 'undo')
  assert (found.status_code, found.json()) == (
    400, {'error': 'nothing to undo'})
  assert post(client, 'goto').status_code == 404
  assert post(client, 'hint').status_code == 500
  assert post(client, 'new').status_code == 200
  echo.calls.clear()


@pytest.mark.parametrize('token', ['', 'b' * 32, 'a' * 31, 'a' * 33, '\xe4'])
def test_a_wrong_token(served, token):
  client, _ = served
  check_refused(served, 403, post(client, X_Token=token.encode()))
  check_refused(served, 403, client.get('/', params={'token': token}))
  check_refused(served, 403, client.get('/'))


@pytest.mark.parametrize('host', [
  'evil.example', 'evil.example:8000', '127.0.0.1.evil.example', '0.0.0.0', ''])
def test_a_wrong_host(served, host):
  client, echo = served
  found = client.post('/api/new', content='{}', headers={
    'Host': host, 'X-Token': TOKEN, 'Content-Type': 'application/json'})
  assert found.status_code == 400 and echo.calls == []
  found = client.get('/', params={'token': TOKEN}, headers={'Host': host})
  assert found.status_code == 400


@pytest.mark.parametrize('headers', [
  {'Origin': 'http://evil.example'}, {'Origin': 'null'},
  {'Origin': 'http://127.0.0.1:9999'}, {'Origin': 'https://127.0.0.1:8000'},
  {'Sec-Fetch-Site': 'cross-site'}, {'Sec-Fetch-Site': 'same-site'}])
def test_another_page(served, headers):
  client, _ = served
  check_refused(served, 403, client.post('/api/new', content='{}', headers={
    'X-Token': TOKEN, 'Content-Type': 'application/json', **headers}))


@pytest.mark.parametrize('path', [
  '/etc/passwd', '/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd',
  '/page.html', '/static/page.html', '//etc/passwd', '/api/new/../../etc'])
def test_no_path_is_ever_a_file(served, path):
  client, echo = served
  found = client.get(path, params={'token': TOKEN})
  assert found.status_code in (404, 405) and echo.calls == []
  assert b'root:' not in found.content
  for verb in ('..%2f..%2fetc%2fpasswd', '%00', 'constructor', '__init__'):
    check_refused(served, 404, post(client, verb))


@pytest.mark.parametrize('method', ['PUT', 'DELETE', 'PATCH', 'OPTIONS'])
def test_other_methods(served, method):
  client, _ = served
  for path in ('/', '/api/new'):
    check_refused(served, 405, client.request(
      method, path, headers={'X-Token': TOKEN}))
  found = client.head('/', params={'token': TOKEN})
  assert found.status_code == 405
  check_refused(served, 405, client.get('/api/new', headers={
    'X-Token': TOKEN}))


@pytest.mark.parametrize('kind', [
  '', 'text/plain', 'application/x-www-form-urlencoded', 'application/jsonx'])
def test_other_contents(served, kind):
  client, _ = served
  check_refused(served, 415, post(client, Content_Type=kind))


@pytest.mark.parametrize('body', [
  '', '{', '[' * 60_000, '{"a":' * 12_000, '{"a": NaN}', '{"a": Infinity}',
  '{"a": -Infinity}', '{"a": ' + '9' * 60_000 + '}', b'\xff\xfe{}',
  '{"a": "\x00"}', '{} {}', "{'a': 1}"])
def test_malformed_json(served, body):
  client, _ = served
  check_refused(served, 400, post(client, body=body))


def test_bodies_that_are_too_long(served):
  client, _ = served
  check_refused(served, 413, post(client, body=b'x' * 10_000_000))
  check_refused(served, 413, post(client, body='{}', Content_Length='1e9'))

  def parts():
    for _ in range(100):
      yield b' ' * 10_000

  check_refused(served, 413, post(client, body=parts()))


def test_text_that_is_no_unicode_comes_back(served):
  client, echo = served
  found = post(client, 'new', '{"a": "\\ud800"}')
  assert found.status_code == 200
  assert json.loads(found.content) == {'verb': 'new', 'body': {'a': '\ud800'}}
  echo.calls.clear()


@pytest.fixture(scope='module')
def listening():
  uvicorn = pytest.importorskip('uvicorn')
  echo = Echo()
  made = server.Server(lambda: echo, TOKEN)
  with socket.socket() as sock:
    sock.bind(('127.0.0.1', 0))
    runner = uvicorn.Server(uvicorn.Config(
      made.app, log_config=None, log_level='critical', access_log=False,
      http='h11', ws='none', lifespan='off'))
    thread = threading.Thread(target=runner.run, args=([sock],))
    thread.start()
    while not runner.started:
      time.sleep(0.01)
    yield sock.getsockname()[1]
    runner.should_exit = True
    thread.join(10)
  assert made.close(10)


def test_two_hundred_at_once(listening):
  import httpx

  with httpx.Client(
      base_url=f'http://127.0.0.1:{listening}', timeout=30,
      limits=httpx.Limits(max_connections=200)) as client:
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
      found = list(pool.map(
        lambda i: post(client, 'new', json.dumps({'seed': i})), range(200)))
    assert [x.json()['body']['seed'] for x in found] == list(range(200))
    assert post(client, 'info').json()['ready']


def test_a_long_body_is_refused_before_it_has_come(listening):
  head = (
    f'POST /api/new HTTP/1.1\r\nHost: 127.0.0.1:{listening}\r\n'
    f'X-Token: {TOKEN}\r\nContent-Type: application/json\r\n'
    'Content-Length: 10000000\r\n\r\n')
  with socket.create_connection(('127.0.0.1', listening), 10) as sock:
    sock.sendall(head.encode())
    assert sock.recv(1000).startswith(b'HTTP/1.1 413 ')


def test_lines_that_are_no_http(listening):
  for line in (b'\x16\x03\x01\x00\xa5\r\n\r\n', b'GET\r\n\r\n'):
    with socket.create_connection(('127.0.0.1', listening), 10) as sock:
      sock.sendall(line)
      assert sock.recv(1000).startswith(b'HTTP/1.1 400 ')
