"""The page in a browser: whole games by clicks, the tree, a watched episode."""

import json
import re

import jax
import pytest
from helpers import random_params

from muzero_jax import agent as agent_lib
from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.drivers import build

for _package in ('playwright', 'starlette', 'uvicorn', 'pgx'):
  pytest.importorskip(_package)
play = pytest.importorskip('benchmarks.play')

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    play.chromium() is None,
    reason='chromium is not installed: apt-get install chromium'),
]

OVER = 'body[data-turn=over]'


def untrained(preset, **changes):
  """An agent whose parameters are random."""
  config = config_lib.from_preset(
    preset, network='mlp', num_blocks=0, num_channels=8, head_hidden=8,
    num_simulations=16, eval_simulations=16, **changes)
  spec = envs.spec_of(config, envs.make)
  system = build.make_system(config, spec, build.NONE)
  key = jax.random.key(0, impl='rbg')

  def init(key):
    observation = build.example_observation(config, spec)
    return random_params(system.model.init(key, observation), key)

  return agent_lib.Agent(config, spec, jax.jit(init)(key))


@pytest.fixture(scope='module')
def chrome():
  with play.browser() as found:
    yield found


@pytest.fixture(scope='module')
def tic_tac_toe(chrome):
  with play.served(untrained('tic_tac_toe')) as url:
    yield url


@pytest.fixture
def page(chrome, tic_tac_toe):
  """A game of tic-tac-toe, whose page must not fail."""
  found = play.open_page(chrome, tic_tac_toe)
  problems = []
  found.on('pageerror', lambda error: problems.append(str(error)))
  yield found
  found.close()
  assert problems == []


def at(page):
  """Position and length, as the page shows them."""
  return tuple(map(int, page.locator('#at').inner_text().split(' / ')))


def play_on(page, choice=0):
  """Clicks legal cells until the game is over."""
  while not page.locator(OVER).count():
    play.choose(page, choice)


def column(node):
  """How far to the right a circle of the tree is."""
  return float(re.search(
    r'translate\(([0-9.]+)', node.get_attribute('transform'))[1])


def test_a_game_of_tic_tac_toe(page):
  assert at(page) == (0, 0)
  assert page.locator(play.LEGAL).count() == 9
  play.choose(page, 4)
  assert at(page) == (2, 2) and page.locator(play.LEGAL).count() == 7
  page.click('#undo')
  page.wait_for_selector(play.IDLE)
  assert at(page) == (0, 0) and page.locator(play.LEGAL).count() == 9
  page.click('#hint')
  page.wait_for_selector('.cell.hint')
  assert page.locator('.cell.hint').count() == 1
  # The hint is what the search says is best.
  hint = page.locator('.cell.hint').get_attribute('title')
  assert page.locator('.policy tr.best th').inner_text() == hint
  page.click('.cell.hint')
  page.wait_for_selector(play.IDLE)
  assert at(page) == (2, 2)
  play_on(page)
  _, length = at(page)
  assert 5 <= length <= 9 and page.locator('#resign').is_disabled()
  assert page.locator(play.LEGAL).count() == 0
  with page.expect_download() as saved:
    page.click('#save_json')
  record = json.loads(saved.value.path().read_text())
  assert len(record['moves']) == length
  assert saved.value.suggested_filename.endswith('.json')
  # Earlier positions by the curve and the buttons.
  box = page.locator('#curves svg').bounding_box()
  page.mouse.click(box['x'] + 0.1 * box['width'], box['y'] + box['height'] / 2)
  page.wait_for_selector('#index[aria-valuetext^="0 of"]', state='attached')
  page.click('#forward')
  page.wait_for_selector('#index[aria-valuetext^="1 of"]', state='attached')
  assert at(page) == (1, length)


def test_the_tree_opens_three_levels_deep(page):
  page.click('#close_all')
  nodes = page.locator('#tree [role=treeitem]')
  assert len({column(node) for node in nodes.all()}) == 2
  for depth in (3, 4):
    # The first closed node in the last column: the most visited one.
    closed = page.locator('#tree [aria-expanded=false]').all()
    last = max(map(column, nodes.all()))
    next(x for x in closed if column(x) == last).click()
    page.wait_for_selector(play.IDLE)
    assert len({column(node) for node in nodes.all()}) == depth
  assert page.locator('#tree .edge.best').count() >= 3
  # The same with the keyboard: to the parent, and its children away.
  page.keyboard.press('ArrowLeft')
  page.keyboard.press('Enter')
  assert len({column(node) for node in nodes.all()}) == 2
  visits = [int(x) for x in page.locator(
    '.policy tbody td:nth-child(3)').all_inner_texts()]
  assert len(visits) == 9 and sum(visits) == 16


def test_two_tabs_are_two_games(chrome, tic_tac_toe, page):
  other = play.open_page(chrome, tic_tac_toe)
  play.choose(other, 0)
  assert at(other) == (2, 2) and at(page) == (0, 0)
  play.choose(page, 8)
  assert at(other) == (2, 2) and at(page) == (2, 2)
  other.close()


def test_a_picture_that_does_more_than_draw_is_refused(page):
  svg = '<svg xmlns="http://www.w3.org/2000/svg">{}</svg>'.format
  is_drawn = '''text => {
    try { return parseSvg(text).localName === 'svg'; } catch { return false; }
  }'''
  for inside, is_safe in (
    ('<rect width="1" height="1"/>', True),
    ('<image href="data:image/png;base64,AA=="/>', True),
    ('<script>alert(1)</script>', False),
    ('<foreignObject><p>x</p></foreignObject>', False),
    ('<rect onload="alert(1)"/>', False),
    ('<use href="https://example.org/x.svg#a"/>', False),
    ('<rect style="fill: url(https://example.org/x)"/>', False),
    ('<set attributeName="href" to="javascript:alert(1)"/>', False),
    ('<rect', False),
  ):
    assert page.evaluate(is_drawn, svg(inside)) == is_safe, inside


def test_an_error_of_the_server_is_one_line(page):
  page.route('**/api/hint', lambda route: route.fulfill(
    status=400, json=dict(error='<b>no hint</b>')))
  page.click('#hint')
  page.wait_for_selector('#error:not([hidden])')
  assert page.locator('#error').inner_text() == '<b>no hint</b>'
  page.click('#new')
  page.wait_for_selector('#error', state='hidden')


def test_a_game_of_connect_four(chrome):
  with play.served(untrained('connect_four', max_considered_actions=4)) as url:
    page = play.open_page(chrome, url)
    page.select_option('#colour', '1')
    page.click('#new')
    page.wait_for_selector('#index[max="1"]', state='attached')
    page.wait_for_selector(play.IDLE)
    assert at(page) == (1, 1) and page.locator(play.LEGAL).count() == 7
    # With the keyboard: to the next column, and a piece into it.
    page.locator('.cell').nth(2).focus()
    page.keyboard.press('ArrowRight')
    page.keyboard.press('Enter')
    page.wait_for_selector('#index[max="3"]', state='attached')
    page.wait_for_selector(play.IDLE)
    page.click('#undo')
    page.wait_for_selector(play.IDLE)
    assert at(page) == (1, 1)
    page.click('#hint')
    page.wait_for_selector('.cell.hint')
    page.click('.cell.hint')
    page.wait_for_selector(play.IDLE)
    play_on(page)
    assert at(page)[1] >= 7 and page.locator('#turn').inner_text()
    page.close()


def test_an_episode_of_minatar_is_watched(chrome):
  with play.served(untrained('minatar')) as url:
    page = play.open_page(chrome, url)
    page.select_option('#speed', '3')
    page.click('#play')
    page.wait_for_selector(OVER)
    page.wait_for_selector(play.IDLE)
    index, length = at(page)
    assert index == length > 1 and page.locator('#play').is_disabled()
    assert page.locator('#curves svg').count() == 3
    # Rewind, and what was really played beside what the model imagines.
    page.locator('#index').fill('1')
    page.wait_for_selector(play.IDLE)
    assert at(page) == (1, length)
    page.click('#tab_future')
    page.select_option('#line', 'played')
    page.click('#imagine button')
    page.wait_for_selector('.future')
    assert page.locator('.future .thumb').count() == min(5, length - 1)
    # Taken over by a key, what came later is gone.
    page.check('#take_over')
    page.keyboard.press('ArrowLeft')
    page.wait_for_selector('#index[max="2"]', state='attached')
    page.wait_for_selector(play.IDLE)
    assert at(page) == (2, 2)
    page.close()
