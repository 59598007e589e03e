"""The page's server: one agent, this machine alone, behind a token.

Nothing but `GET /` and `POST /api/<verb>` with JSON is answered. Searches run
one after another in a thread of their own, so that requests never wait for
each other to be refused; a diagnosis, which takes long, has another thread.
"""

import asyncio
import base64
import functools
import hashlib
import hmac
import importlib.resources
import json
import queue
import re
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from muzero_jax import console
from muzero_jax.errors import Error, MissingPackageError, UserError
from muzero_jax.play.api import VERBS, Api, NoSessionError

try:
  from starlette.applications import Starlette
  from starlette.middleware import Middleware
  from starlette.middleware.trustedhost import TrustedHostMiddleware
  from starlette.requests import ClientDisconnect, Request
  from starlette.responses import Response
  from starlette.routing import Route
except ImportError as error:
  raise MissingPackageError(
    f'the page needs starlette: pip install "muzero_jax[play]" ({error})'
  ) from error

HOSTS = ('127.0.0.1', 'localhost')
_MOST_BYTES = 64 * 1024  # Of a request's body.
_MOST_WAITING = 1_000  # Requests.
_READ_SECONDS = 10.0
_NOTHING = 'nothing but GET / and POST /api/<verb> is answered'
_HEADERS = {
  'Cache-Control': 'no-store',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
}


class Refusal(Exception):
  """A request that is not answered; one line says why."""

  def __init__(self, status: int, line: str) -> None:
    super().__init__(line)
    self.status, self.line = status, line


class Worker:
  """One thread that calls functions, one after another."""

  def __init__(self) -> None:
    self._calls: queue.SimpleQueue[tuple[Any, ...] | None] = (
      queue.SimpleQueue())
    self._thread = threading.Thread(
      target=self._run, name='play', daemon=True)
    self._thread.start()

  def submit(
    self, function: Callable[[], Any], done: Callable[[Any, Any], None]
  ) -> None:
    """Call a function later; then `done` with its result, or its exception."""
    self._calls.put((function, done))

  async def call(self, function: Callable[[], Any]) -> Any:
    """Return what a function returns, without stopping others.

    Raises:
      Refusal: too many wait already.
    """
    if self._calls.qsize() >= _MOST_WAITING:
      raise Refusal(503, 'too many requests are waiting: try again later')
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(result: Any, error: BaseException | None) -> None:
      try:
        loop.call_soon_threadsafe(_resolve, future, result, error)
      except RuntimeError:
        pass  # The server has ended; nobody waits any more.

    self.submit(function, done)
    return await future

  def end(self, seconds: float) -> bool:
    """End the thread; return whether it did within so many seconds."""
    self._calls.put(None)
    self._thread.join(seconds)
    return not self._thread.is_alive()

  def _run(self) -> None:
    while (call := self._calls.get()) is not None:
      function, done = call
      try:
        result, error = function(), None
      except BaseException as raised:  # noqa: B036 - whoever asked raises it.
        result, error = None, raised
      done(result, error)


def _resolve(
  future: 'asyncio.Future[Any]', result: Any, error: BaseException | None
) -> None:
  if future.done():
    return
  if error is None:
    future.set_result(result)
  else:
    future.set_exception(error)


class Server:
  """The application, and the threads that it works in."""

  def __init__(self, make_api: Callable[[], Api], token: str) -> None:
    """Make the application.

    Args:
      make_api: makes what is served; called in the thread that works.
      token: what requests must know.
    """
    self._token = token.encode()
    self._page = page()
    self._policy = content_policy(self._page)
    self.worker = Worker()
    # What takes long and needs no game must not keep other tabs waiting.
    self._measurer = Worker()
    self._api: Api | None = None
    self._is_ready = False
    self._problem = ''
    self.worker.submit(
      functools.partial(self._begin, make_api), lambda *_: None)
    self.app = Starlette(
      routes=[
        Route('/', self._get_page, methods=['GET']),
        Route('/api/{verb}', self._post, methods=['POST']),
      ],
      middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))],
      exception_handlers={
        Refusal: self._refuse, 404: self._nothing, 405: self._nothing,
        Exception: self._failed})

  def close(self, seconds: float) -> bool:
    """End all games; return whether that was done in so many seconds."""
    def end() -> None:
      if self._api is not None:
        self._api.close()

    self.worker.submit(end, lambda *_: None)
    self._measurer.end(0)
    return self.worker.end(seconds)

  def _begin(self, make_api: Callable[[], Api]) -> None:
    """Make what is served, and compile a first move."""
    try:
      api = make_api()
      self._api = api
      api.warm_up()
      self._is_ready = True
    except BaseException as error:
      self._problem = f'{type(error).__name__}: {" ".join(str(error).split())}'
      console.say(f'error: {self._problem}', sys.stderr)
      if not isinstance(error, Error):
        traceback.print_exception(error)  # A defect.

  async def _get_page(self, request: Request) -> Response:
    if request.method != 'GET':
      raise Refusal(405, _NOTHING)
    self._check_token(request.query_params.get('token', ''))
    return Response(self._page, media_type='text/html', headers={
      **_HEADERS, 'Content-Security-Policy': self._policy})

  async def _post(self, request: Request) -> Response:
    self._check_origin(request)
    self._check_token(request.headers.get('x-token', ''))
    verb = request.path_params['verb']
    if verb not in VERBS:
      raise Refusal(404, f'there is no {verb[:40]!r} among {", ".join(VERBS)}')
    body = await _body(request)
    if verb == 'info':
      return _answer(200, await self._info())
    worker = self.worker
    if verb == 'diagnose':
      await self._info()  # Once the other thread has made the agent.
      worker = self._measurer
    text = await worker.call(functools.partial(self._call, verb, body))
    return Response(text, media_type='application/json', headers=_HEADERS)

  async def _info(self) -> dict[str, Any]:
    while self._api is None:
      if self._problem:
        raise Refusal(500, f'the agent cannot be shown: {self._problem}')
      await asyncio.sleep(0.05)
    return self._api.info() | dict(ready=self._is_ready)

  def _call(self, verb: str, body: Any) -> str:
    """Return the answer as text; in the thread that works."""
    if self._api is None:
      raise Refusal(500, f'the agent cannot be shown: {self._problem}')
    try:
      return json.dumps(self._api.call(verb, body), allow_nan=False)
    except NoSessionError as error:
      raise Refusal(404, str(error)) from None
    except Error as error:
      status = 400 if isinstance(error, UserError) else 500
      raise Refusal(status, ' '.join(str(error).split())) from None

  def _check_token(self, given: str) -> None:
    if not hmac.compare_digest(given.encode('utf-8', 'replace'), self._token):
      raise Refusal(403, 'the token is wrong: open the page by the line that '
                    'the command has printed')

  def _check_origin(self, request: Request) -> None:
    """Refuse what another page has sent."""
    origin = request.headers.get('origin')
    own = f'http://{request.headers.get("host", "")}'
    site = request.headers.get('sec-fetch-site', 'same-origin')
    if (origin is not None and origin != own) or site != 'same-origin':
      raise Refusal(403, 'requests of other pages are not answered')

  async def _refuse(self, request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _answer(error.status, dict(error=error.line))

  async def _nothing(self, request: Request, error: Exception) -> Response:
    status = getattr(error, 'status_code', 404)
    return _answer(status, dict(error=_NOTHING))

  async def _failed(self, request: Request, error: Exception) -> Response:
    return _answer(500, dict(
      error=f'{type(error).__name__} on the server; its terminal says more'))


def page() -> bytes:
  """Return the page: one document, of the files in the folder `page`.

  A line `/* include NAME */` of page.html stands for that file beside it.
  """
  folder = importlib.resources.files('muzero_jax.play') / 'page'
  return re.sub(
    rb'^/\* include ([a-z_]+\.(?:css|js)) \*/$',
    lambda match: (folder / match[1].decode()).read_bytes(),
    (folder / 'page.html').read_bytes(), flags=re.MULTILINE)


def content_policy(html: bytes) -> str:
  """Return which parts a browser may run: the page's own scripts alone."""
  scripts = re.findall(rb'<script[^>]*>(.*?)</script>', html, re.DOTALL)
  hashes = ' '.join(
    f"'sha256-{base64.b64encode(hashlib.sha256(x).digest()).decode()}'"
    for x in scripts)
  return (
    f"default-src 'none'; script-src {hashes or chr(39) + 'none' + chr(39)}; "
    "style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def _answer(status: int, found: dict[str, Any]) -> Response:
  return Response(
    json.dumps(found, allow_nan=False), status, media_type='application/json',
    headers=_HEADERS)


async def _body(request: Request) -> Any:
  """Return a request's body, no longer than allowed.

  Raises:
    Refusal: it is too long, no JSON, or does not come.
  """
  kind = request.headers.get('content-type', '').split(';')[0].strip().lower()
  if kind != 'application/json':
    raise Refusal(415, 'the body must be application/json')
  length = request.headers.get('content-length', '0')
  if not (length.isascii() and length.isdecimal()) or (
      len(length) > 9 or int(length) > _MOST_BYTES):
    raise Refusal(413, f'the body is longer than {_MOST_BYTES} bytes')
  try:
    text = await asyncio.wait_for(_read(request), _READ_SECONDS)
  except TimeoutError:
    raise Refusal(408, 'the body has not come in time') from None
  except ClientDisconnect:
    raise Refusal(400, 'the body was cut off') from None
  try:
    return json.loads(text.decode(), parse_constant=_no_number)
  except (ValueError, RecursionError):
    raise Refusal(400, 'the body is not JSON') from None


async def _read(request: Request) -> bytes:
  text = b''
  async for part in request.stream():
    text += part
    if len(text) > _MOST_BYTES:
      raise Refusal(413, f'the body is longer than {_MOST_BYTES} bytes')
  return text


def _no_number(name: str) -> None:
  raise ValueError(f'{name} is not JSON')
