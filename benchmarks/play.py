"""The page of trained agents in a browser: pictures of it, and how fast it is.

python -m benchmarks.play --board=connect_four --screen=minatar_breakout
  [--images=docs/images]

Needs chromium, and playwright of the extra `dev`. Measures, with nothing
compiled before: the seconds from the command to the page and to a game that can
be played; the milliseconds from a click to the agent's answer on the board, and
from a search of 800 simulations to its tree on the page. Writes
benchmarks/results/play.json, and the pictures play_board.png, play_tree.png,
play_minatar.png and play_future.png.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from benchmarks import common
from muzero_jax import agent as agent_lib
from muzero_jax import paths
from muzero_jax.agent import Agent
from muzero_jax.play import api, server, serving

RESULT = pathlib.Path(__file__).parent / 'results' / 'play.json'
_TOKEN = 'token'
# The page is idle: no call is on its way.
IDLE = 'body[aria-busy=false]'
LEGAL = '.cell.legal:not([aria-disabled])'
_TREE_SIMULATIONS = 800
_MOST_BYTES = 200_000  # Of a picture among the documents.
_SECONDS = 120  # Longest wait; the first search is compiled.


@contextlib.contextmanager
def served(agent: Agent, **options: Any) -> Iterator[str]:
  """Serve an agent's page in a thread; gives its address.

  Args:
    agent: who plays.
    **options: of `Api`.
  """
  with serving.listen(0) as listening:
    made = server.Server(lambda: api.Api(agent, **options), _TOKEN)
    runner = uvicorn.Server(uvicorn.Config(
      made.app, log_level='warning', loop='asyncio', http='h11', ws='none',
      lifespan='off'))
    thread = threading.Thread(
      target=runner.run, kwargs=dict(sockets=[listening]))
    thread.start()
    try:
      port = listening.getsockname()[1]
      yield f'http://127.0.0.1:{port}/?token={_TOKEN}'
    finally:
      runner.should_exit = True
      thread.join()
      made.close(5)


def chromium() -> str | None:
  """Return where chromium is installed, None if it is not."""
  return shutil.which('chromium') or shutil.which('chromium-browser')


@contextlib.contextmanager
def browser() -> Iterator[Any]:
  """Start headless chromium; gives playwright's browser."""
  from playwright import sync_api

  with sync_api.sync_playwright() as playwright:
    found = playwright.chromium.launch(
      executable_path=chromium(), args=['--no-sandbox'])
    try:
      yield found
    finally:
      found.close()


def open_page(chrome: Any, url: str, **options: Any) -> Any:
  """Open the page, and wait until its first position has been searched."""
  options.setdefault('viewport', dict(width=1280, height=800))
  page = chrome.new_page(**options)
  page.set_default_timeout(1000 * _SECONDS)
  page.goto(url)
  page.wait_for_selector('#tree .node')
  page.wait_for_selector(IDLE)
  return page


def choose(page: Any, number: int) -> None:
  """Click on a legal cell, and wait for the answer and its search."""
  page.locator(LEGAL).nth(number).click()
  page.wait_for_selector(IDLE)


def measure_move(page: Any) -> float:
  """Return the milliseconds from a click to the opponent's answer."""
  page.click('#new')
  page.wait_for_selector('#index[max="0"]', state='attached')
  page.wait_for_selector(IDLE)
  start = time.perf_counter()
  page.locator(LEGAL).nth(3).click()
  page.wait_for_selector('#index[max="2"]', state='attached')
  milliseconds = 1000 * (time.perf_counter() - start)
  page.wait_for_selector(IDLE)
  return milliseconds


def follow_hint(page: Any) -> None:
  """Take the move that the agent would take."""
  page.click('#hint')
  page.click('.cell.hint')
  page.wait_for_selector(IDLE)


# Draws the tree anew, with all nodes that the page opens at once.
_DRAW = '''() => {
  const start = performance.now();
  drawTree(byId('tree'), state, {toggle, more: showMore, key: treeKey});
  document.body.getBoundingClientRect();
  return [performance.now() - start, shownIds(state.tree).length];
}'''


def measure_tree(page: Any) -> tuple[float, float, int]:
  """Return milliseconds to open a tree and to draw it, and its nodes."""
  page.fill('#depth', str(_TREE_SIMULATIONS))
  page.click('#search_again button')
  page.wait_for_selector(IDLE)
  start = time.perf_counter()
  for _ in range(3):
    page.click('#open_level')
    page.wait_for_selector(IDLE)
  opened = 1000 * (time.perf_counter() - start)
  drawn, nodes = page.evaluate(_DRAW)
  return opened, drawn, nodes


def picture(page: Any, path: pathlib.Path) -> None:
  """Write what is seen of a page; a larger one than allowed is an error."""
  page.screenshot(path=path)
  if path.stat().st_size > _MOST_BYTES:
    raise SystemExit(f'{path} has {path.stat().st_size} bytes')


def measure_start(workdir: str) -> dict[str, float]:
  """Return the seconds until the page is there, and until one can play."""
  with tempfile.TemporaryDirectory() as cache:
    env = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache}
    start = time.perf_counter()
    process = subprocess.Popen(
      [sys.executable, '-m', 'experiments.play', f'--workdir={workdir}',
       '--port=0'], env=env, stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL, text=True)
    try:
      assert process.stdout is not None
      url = process.stdout.readline().strip()
      found = dict(page_seconds=0.0, game_seconds=0.0)
      token = url.partition('token=')[2]
      info = urllib.request.Request(
        f'{url.partition("?")[0]}api/info', data=b'{}', method='POST',
        headers={'X-Token': token, 'Content-Type': 'application/json'})
      while not found['page_seconds']:
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
          found['page_seconds'] = round(time.perf_counter() - start, 1)
      while not found['game_seconds']:
        with urllib.request.urlopen(info) as answer:
          if json.load(answer)['ready']:
            found['game_seconds'] = round(time.perf_counter() - start, 1)
        time.sleep(0.1)
    finally:
      process.terminate()
      process.wait(_SECONDS)
  return found


def show_board(
  chrome: Any, agent: Agent, images: pathlib.Path
) -> dict[str, Any]:
  """Measure a board game, and take pictures of it and of its tree."""
  with served(agent, simulations=64) as url:
    page = open_page(chrome, url)
    times = [measure_move(page) for _ in range(6)]
    print(f'move shown: {statistics.median(times[1:]):.0f} ms '
          f'({", ".join(f"{x:.0f}" for x in times)})')
    follow_hint(page)
    picture(page, images / 'play_board.png')
    opened, drawn, nodes = measure_tree(page)
    print(f'tree of {_TREE_SIMULATIONS}: three levels opened in {opened:.0f} '
          f'ms; {nodes} nodes drawn in {drawn:.0f} ms')
    page.click('#new')
    page.wait_for_selector('#index[max="0"]', state='attached')
    page.wait_for_selector(IDLE)
    choose(page, 1)
    page.click('[role=treeitem][aria-expanded=false] >> nth=0')
    page.wait_for_selector(IDLE)
    picture(page, images / 'play_tree.png')
    page.click('#tab_future')
    page.click('#imagine button')
    page.wait_for_selector('.future')
    page.wait_for_selector(IDLE)
    picture(page, images / 'play_future.png')
    page.close()
  return dict(
    move_ms=[round(x) for x in times[1:]], tree_simulations=_TREE_SIMULATIONS,
    tree_opened_ms=round(opened), tree_drawn_ms=round(drawn), nodes=nodes)


def show_screen(
  chrome: Any, agent: Agent, images: pathlib.Path
) -> dict[str, Any]:
  """Watch an episode of one player for a while, and take a picture."""
  with served(agent) as url:
    page = open_page(chrome, url)
    page.select_option('#speed', '3')
    start = time.perf_counter()
    page.click('#play')
    page.wait_for_selector(
      'body[data-turn=over], #index[max="60"]', state='attached')
    seconds = time.perf_counter() - start
    steps = int(page.locator('#index').get_attribute('max'))
    print(f'{steps} steps watched and searched in {seconds:.1f} s')
    # Some steps before: a last one has no search.
    page.locator('#index').fill(str(max(0, steps - 5)))
    page.wait_for_selector(f'#index[aria-valuetext^="{max(0, steps - 5)} of"]')
    page.wait_for_selector(IDLE)
    picture(page, images / 'play_minatar.png')
    page.close()
  return dict(steps_watched=steps, watched_seconds=round(seconds, 1))


def main() -> None:
  """Measure the page of two agents, and take pictures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--board', help='run directory of a board game')
  parser.add_argument('--screen', help='run directory of a game of one player')
  parser.add_argument('--images', help='folder of the pictures')
  given = parser.parse_args()
  with browser() as chrome, tempfile.TemporaryDirectory() as folder:
    images = paths.expand(given.images or folder, 'images')
    shows: list[tuple[str | None, Callable[..., dict[str, Any]]]] = [
      (given.board, show_board), (given.screen, show_screen)]
    for workdir, show in shows:
      if workdir:
        found = measure_start(workdir)
        print(f'{workdir}: page after {found["page_seconds"]} s, a game after '
              f'{found["game_seconds"]} s')
        found |= show(chrome, agent_lib.load(workdir), pathlib.Path(images))
        common.store(RESULT, workdir, dict(
          command=f'python -m benchmarks.play {" ".join(common.argv())}',
          **found, **common.machine()))


if __name__ == '__main__':
  main()
