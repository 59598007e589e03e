"""docs/results.md: what the committed JSON says, and nothing else."""

import copy
import re

import numpy as np
import pytest

from benchmarks import figures, learning, report, sections
from muzero_jax import config as config_lib

RESULTS = report.read_results()
TEMPLATE = report.TEMPLATE.read_text(encoding='utf-8')


def _row(mean, **fields):
  return dict(
    seed=0, agent=0, num_agents=1, step=100, updates=7, training_seconds=61.2,
    num_episodes=10, num_simulations=4, mean=mean, standard_error=0.5,
    training_return_by_step=[[10, 1.0], [20, 3.0]]) | fields


def _record(*rows):
  return dict(
    environment='test/counting', command='python -m x',
    hardware=dict(cpu='a CPU', cores=2, devices='1 x cpu'), seeds=list(rows))


def test_the_page_is_what_the_command_makes():
  assert report.PAGE.read_text(encoding='utf-8') == report.page(
    RESULTS, TEMPLATE), 'run python -m benchmarks.report'


def _configurations():
  """Each stored configuration, by the name of its record."""
  for name, record in RESULTS.items():
    parts = {name: record} | {
      f'{name}, {part}': x for part, x in record.get('variants', {}).items()}
    for part, x in parts.items():
      if 'configuration' in x:
        yield part, x['configuration']


@pytest.mark.parametrize('name, fields', list(_configurations()))
def test_the_configuration_of_a_record_is_whole_and_can_be_run(name, fields):
  config = config_lib.from_fields(fields)
  told = learning.configuration(config)
  assert len(told) > 80 and {'family', 'env_id', 'num_steps'} <= set(fields)
  assert told['num_steps'] == fields['num_steps']


@pytest.mark.parametrize('name', [
  name for name, record in RESULTS.items()
  if any(len(row.get('returns', [])) > 1 for row in record.get('seeds', []))])
def test_the_scores_of_a_record_are_those_of_its_episodes(name):
  for row in RESULTS[name]['seeds']:
    returns = np.asarray(row['returns'])  # All seeds of a record, or none.
    assert len(returns) == row['num_episodes']
    assert row['mean'] == pytest.approx(returns.mean())
    error = returns.std(ddof=1) / len(returns) ** 0.5
    assert row['standard_error'] == pytest.approx(error)


def test_its_pictures_exist_and_links_lead_to_headings():
  text = report.page(RESULTS, TEMPLATE)
  for path in re.findall(r'!\[[^]]*\]\(([^)]+)\)', text):
    assert (report.PAGE.parent / path).exists(), path
  headings = [
    sections.anchor(x) for x in re.findall(r'^#+ (.+)$', text, re.MULTILINE)
  ]
  for anchor in re.findall(r'\]\(#([^)]+)\)', text):
    assert anchor in headings
  assert '9-search-against-mctx' in headings  # README links to it.


@pytest.mark.parametrize('name', ['cartpole', 'throughput', 'kill', 'search'])
def test_a_figure_changed_in_json_changes_the_page(name):
  changed = copy.deepcopy(RESULTS)
  record = changed[name]
  if name == 'cartpole':
    record['seeds'][3]['mean'] = 480.0
  elif name == 'throughput':
    record['--preset=tic_tac_toe']['rows_per_second'] = 1234.0
  elif name == 'kill':
    record['num_arrays'] = 99
  else:
    record['table, cpu']['results'][0]['speedup'] = 7.77
  before, after = (report.page(x, TEMPLATE) for x in (RESULTS, changed))
  told = {'cartpole': '500.0; 480.0; 500.0', 'throughput': '1,234',
          'kill': 'all 99 arrays', 'search': '7.77'}[name]
  assert after.count(told) == before.count(told) + 1


def test_a_new_record_comes_at_the_end_and_into_the_overview():
  text = report.page({**RESULTS, 'mine': _record(_row(2.0))}, TEMPLATE)
  head, tail = text.split('## 1. A random policy', 1)
  assert '[test/counting](#testcounting) | 2.00 ± 0.50 (1 seed: ' in head
  assert re.search(
    r'\n## \d+\. Other environments\n\n### test/counting\n', tail)
  assert '![Training returns](images/mine_curves.png)' in tail


def _rated(player, elo, step=None):
  return dict(
    player=player, elo=elo, low=elo - 5.0, high=elo + 5.0, games=24, score=0.5,
    step=step)


def test_a_ladder_is_shown_and_drawn(tmp_path):
  match = dict(wins=5, draws=2, losses=1, broken=0)
  found = dict(
    command='python -m y', environment='test/counting', num_games=8,
    opening_moves=2, num_simulations=4, anchor='random',
    opponents=['random', 'gnugo:1', 'one_ply'],
    ratings=[
      _rated('step 200', 90.4, 200), _rated('gnugo:1', 12.0),
      _rated('random', 0.0), _rated('step 100', -3.0, 100)],
    matches=[
      dict(match, player='step 100', opponent='random'),
      dict(match, player='step 200', opponent='random'),
      dict(match, player='step 200', opponent='gnugo:1', wins=1, broken=4),
      dict(player='step 200', opponent='one_ply', wins=0, draws=0, losses=0,
           broken=8),
      dict(match, player='step 200', opponent='step 100')])
  record = dict(_record(_row(2.0)), ladder=found)
  text = sections.section('mine', record, {})
  assert '| step 200 | 90 | 85 to 95 | 24 | 50.0 % |' in text
  assert text.count(' against ') == 3
  assert (
    'The last agent won, drew and lost 5, 2, 1 against random (75.0 % of the '
    'points); 1, 2, 1 against gnugo:1 (50.0 % of the points; 4 broken); 0, 0, '
    '0 against one_ply (8 broken).'
  ) in text
  assert '![Elo by steps](images/mine_ladder.png)' in text
  assert figures.draw(dict(mine=record), tmp_path) == [
    'mine_curves.png', 'mine_ladder.png']
  assert (tmp_path / 'mine_ladder.png').read_bytes().startswith(b'\x89PNG')


def test_afterstates_are_told_and_held_to_their_bar():
  found = dict(
    command='python -m z', bias=0.201, bias_standard_error=0.03, step=100,
    num_positions=8, mean_searched=120.1, mean_real=100.0)
  record = dict(_record(_row(1.0)), afterstates=found)
  text = sections.section('mine', record, {})
  assert (
    'Searched values of afterstates, of the agent of 100 steps: 120.1 in the '
    'mean of 8 positions, where 100.0 followed, 20 ± 3 % too high (`python '
    '-m z`).') in text
  missed = ['the values of afterstates']
  assert sections.unmet(record, dict(afterstates_off=20)) == missed
  assert sections.unmet(_record(_row(1.0)), dict(afterstates_off=20)) == missed
  results = {
    **RESULTS, 'mine': _record(_row(1.0)),
    'goals': {**RESULTS['goals'], 'mine': dict(afterstates='run')},
    'afterstates': dict(run=dict(found, bias=-0.07))}
  assert '7 ± 3 % too low' in report.page(results, TEMPLATE)
  # Not of these agents, or of nothing.
  for change in (dict(step=99), dict(bias=None)):
    results['afterstates'] = dict(run=dict(found, **change))
    page = report.page(results, TEMPLATE)
    assert page.count('Searched values of afterstates') == 0


def test_strength_is_of_the_agent_that_was_recorded():
  match = dict(wins=3, draws=0, losses=1)
  results = {
    **RESULTS, 'mine': _record(_row(1.0)),
    'goals': {**RESULTS['goals'], 'mine': dict(bar=dict(
      points={'mcts:9': 75}, short='s', text='beaten'))},
    'mine_strength': dict(first={'step': 100, 'mcts:9': match})}
  after = report.page(results, TEMPLATE).split('The bar: beaten')[1]
  assert 'The bar is met. ' in after
  results['mine_strength']['first']['step'] = 99
  page = ' '.join(report.page(results, TEMPLATE).split())
  assert 'The bar is not met: the benchmark against mcts:9.' in page


@pytest.mark.parametrize('elo, missed', [
  (7.1, []), (6.9, ['the rise in Elo'])])
def test_elo_rises_where_intervals_are_apart(elo, missed):
  ratings = [
    _rated('random', 0.0), _rated('step 200', elo, 200),
    _rated('step 100', -3.0, 100)]
  record = dict(_record(_row(1.0)), ladder=dict(ratings=ratings))
  assert sections.unmet(record, dict(elo_rises=True)) == missed
  del ratings[2]
  assert sections.unmet(record, dict(elo_rises=True)) == ['the rise in Elo']


def test_scores_over_seeds():
  found = learning.score([_row(1.0), _row(2.0), _row(6.0)])
  # t(0.975, 2) = 4.3027; the standard error is sqrt(7 / 3).
  assert found.mean == 3.0
  assert found.spread == pytest.approx(4.3027 * (7 / 3) ** 0.5, rel=1e-4)
  assert learning.score([_row(1.0)]) == (1.0, 0.5, 1)


def test_curves_meet_where_all_reach():
  steps, returns = learning.on_common_steps(
    [[[0, 0.0], [10, 10.0]], [[5, 1.0], [20, 4.0]]])
  np.testing.assert_array_equal(steps, [5, 10])
  np.testing.assert_allclose(returns, [[5.0, 10.0], [1.0, 2.0]])


@pytest.mark.parametrize('bar, missed', [
  (dict(score=2.5), ['the score']),
  (dict(score=2.0), []),
  (dict(score=2.0, each_seed=True), ['the score']),
  (dict(score='human'), ['the score']),
  (dict(seeds=3), ['the number of seeds']),
  (dict(steps=99), ['the steps']),
  (dict(seconds=61), ['the time']),
  (dict(errors_above_random=3), ['too near to random']),
  (dict(errors_above_random=2, seeds=2, steps=100, seconds=62), []),
  (dict(no_loss_to='perfect'), ['games were lost']),
  (dict(percent=dict(perfect=62.5)), []),
  (dict(percent=dict(perfect=63)), ['the points against perfect']),
  (dict(above_data=True), ['the mean of the data']),
  (dict(errors_above_uniform=0.5), ['too near to random actions']),
  (dict(errors_above_uniform=0.4), []),
  (dict(above='lower'), []),
  (dict(above='as_high'), ['the score of its rival']),
  (dict(above='of_one_seed'), ['the score of its rival']),
  (dict(above='after_fewer_steps'), ['the score of its rival']),
  (dict(above='after_more_steps'), ['the score of its rival']),
  (dict(above='missing'), ['the score of its rival']),
  (dict(elo_rises=True), ['the rise in Elo']),
  (dict(points={'mcts:9': 75}), []),
  (dict(points={'mcts:9': 75}, games=4), []),
  (dict(points={'mcts:9': 75}, games=5), ['the benchmark against mcts:9']),
  (dict(points={'mcts:9': 76}), ['the benchmark against mcts:9']),
  (dict(points={'mcts:8': 0}), ['the benchmark against mcts:8']),
  (dict(kept=87.5, positions=40), []),
  (dict(kept=87.6), ['the moves that keep the value']),
  (dict(kept=87.5, positions=41), ['the moves that keep the value']),
  (dict(afterstates_off=15), []),
  (dict(afterstates_off=14), ['the values of afterstates']),
])
def test_bars(bar, missed):
  extra = dict(
    random=0.0, human=9.0, perfect=dict(wins=2, draws=1, losses=1))
  record = dict(
    _record(_row(1.0, **extra), _row(3.0, seed=1, **extra)),
    data=dict(mean_return=1.0), uniform=dict(mean=0.5, standard_error=1.0),
    afterstates=dict(bias=-0.145),
    strength=[
      {'step': 1, 'mcts:9': dict(wins=1, draws=0, losses=1)},
      {'step': 1, 'mcts:9': dict(wins=3, draws=0, losses=1),
       'moves in games of x': dict(kept=0.9, positions=30),
       'moves in games of y': dict(kept=0.8, positions=10)}])
  rivals = dict(
    lower=_record(_row(0.9), _row(2.9, seed=1)),
    as_high=_record(_row(0.9), _row(3.0, seed=1)),
    of_one_seed=_record(_row(0.9)),
    after_fewer_steps=_record(_row(0.9, step=50), _row(2.9, seed=1, step=50)),
    after_more_steps=_record(_row(0.9), _row(2.9, seed=1, step=102)))
  if bar.get('above') in rivals:
    record['rival'] = rivals[bar['above']]
  assert sections.unmet(record, bar) == missed


@pytest.mark.parametrize('bar', [
  dict(errors_above_random=0), dict(errors_above_uniform=0),
  dict(above_data=True), dict(no_loss_to='perfect'),
  dict(percent=dict(perfect=0)), dict(score='human'),
  dict(points=dict(perfect=0)), dict(kept=0),
])
def test_what_a_record_does_not_hold_meets_no_bar(bar):
  assert len(sections.unmet(_record(_row(1.0)), bar)) == 1


def test_an_ablation_is_shown_and_drawn(tmp_path):
  pytest.importorskip('matplotlib')
  variants = {
    f'{search} {n}': dict(
      _record(_row(1.0), _row(2.0, seed=1)),
      varied=dict(search=search, num_simulations=n))
    for search in ('gumbel', 'muzero') for n in (2, 4)
  }
  record = dict(question='Why?', command='python -m y', learnt='Little.',
                variants=variants)
  others = {k: v for k, v in RESULTS.items() if not k.startswith('ablation_')}
  text = report.page({**others, 'ablation_search': record}, TEMPLATE)
  assert re.search(
    r'\n## \d+\. Ablations\n\n### Search\n\nWhy\? test/counting,', text)
  assert '| muzero 4 | 1.50 ± 6.35 | 100 | 7 |' in text
  assert '(images/ablation_search.png)\n\nLittle.\n' in text
  other = dict(record, variants={
    name: dict(one, varied={}) for name, one in variants.items()})
  drawn = figures.draw(
    dict(ablation_search=record, ablation_other=other, mine=variants['gumbel 2']
         ), tmp_path)
  assert drawn == [
    'ablation_search.png', 'ablation_other.png', 'mine_curves.png']
  assert all((tmp_path / name).stat().st_size > 1000 for name in drawn)
