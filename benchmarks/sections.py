"""Learning results in Markdown: the overview, one section each, their bars.

`report` puts them into the page; `learning` says what a record holds.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from benchmarks import figures, learning, tables


def overview(
  records: Mapping[str, Any],
  goals: Mapping[str, Any],
  headings: Mapping[str, str],
) -> str:
  """Returns the table of all learning records beside what is published."""
  rows = []
  for name, record in records.items():
    goal, agents = goals.get(name, {}), record['seeds']
    bar, fields = goal.get('bar'), _fields(record, goal)
    told = f' ({goal["score"]})' if 'score' in goal else ''
    rows.append([
      f'[{title(name, record, goals)}](#{anchor(headings[name])})',
      _score(record) + told, _steps(agents),
      _most(agents, 'updates'),
      _wall_clock(record), tables.machine(record), _seeds(record),
      _published(goal, fields),
      bar['short'].format(**fields) if bar else '-',
      ('no' if unmet(record, bar) else 'yes') if bar else '-',
      f'`{record["command"]}`',
    ])
  return tables.table(
    ('Environment', 'Score', 'Steps', 'Updates', 'Wall-clock', 'Hardware',
     'Seeds', 'Published', 'Bar', 'Met', 'Command'), rows)


def section(name: str, record: Mapping[str, Any], goal: dict[str, Any]) -> str:
  """Returns bar, table, verdict and picture of a learning record."""
  agents, bar = record['seeds'], goal.get('bar')
  note = record.get('note')
  hardware = tables.machine(record) + (f'; {note}' if note else '')
  columns = {
    'Command': f'`{record["command"]}`', 'Seeds': _seeds(record),
    'Hardware': hardware, 'Wall-clock': _wall_clock(record),
    'Steps': _steps(agents), 'Updates': _most(agents, 'updates'),
    **_score_columns(agents),
  }
  parts = [tables.table(list(columns), [list(columns.values())])]
  said = f'Over {agents[0]["num_episodes"]:,} noise-free episodes'
  said += ' on each seed' if len(agents) > 1 else ''
  said += f', with {agents[0]["num_simulations"]} simulations. '
  if 'random' in agents[0] and isinstance(agents[0]['random'], (int, float)):
    said += f'{errors_above_random(agents[0]):.0f} standard errors above random'
    said += f'; human-normalised {agents[0]["human_normalised"]:.2f}. '
  if 'uniform' in record:
    uniform = record['uniform']
    said += f'Uniformly random actions: {_number(uniform["mean"])} ± '
    error = _number(uniform['standard_error'], like=uniform['mean'])
    said += f'{error} (`{uniform["command"]}`). '
  if 'data' in record:
    said += f'The {record["data"]["num_episodes"]:,} episodes of the data have '
    said += f'{_number(record["data"]["mean_return"])} in the mean. '
  if 'afterstates' in record:
    said += _afterstates(record['afterstates'])
  if bar:
    failed = unmet(record, bar)
    verdict = f'not met: {", ".join(failed)}' if failed else 'met'
    said += f'The bar is {verdict}. '
    text = bar['text'].format(**_fields(record, goal))
    parts.insert(0, f'The bar: {text}.')
  said += f'[All figures](../benchmarks/results/{name}.json).'
  parts.append(said)
  if figures.has_curves(record):
    parts.append(f'![Training returns](images/{name}_curves.png)')
  if 'ladder' in record:
    parts += _ladder(name, record['ladder'])
  return '\n\n'.join(parts)


def _afterstates(found: Mapping[str, Any]) -> str:
  """Returns a sentence on searched values beside what followed."""
  off = f'{100 * abs(found["bias"]):.0f}'
  error = f'{100 * found["bias_standard_error"]:.0f}'
  return (
    f'Searched values of afterstates, of the agent of {found["step"]:,} steps: '
    f'{_number(found["mean_searched"])} in the mean of '
    f'{found["num_positions"]} positions, where '
    f'{_number(found["mean_real"])} followed, {off} ± {error} % too '
    f'{"low" if found["bias"] < 0 else "high"} (`{found["command"]}`). ')


def _ladder(name: str, found: Mapping[str, Any]) -> list[str]:
  """Returns command, ratings, the last agent's matches and picture."""
  ratings = tables.table(
    ('Player', 'Elo', '95 % interval', 'Games', 'Share of the points'),
    [[row['player'], f'{row["elo"]:.0f}',
      f'{row["low"]:.0f} to {row["high"]:.0f}', f'{row["games"]:,}',
      f'{100 * row["score"]:.1f} %'] for row in found['ratings']])
  last = _rated_agents(found)[-1]['player']
  told = []
  for match in found['matches']:
    if match['player'] == last and match['opponent'] in found['opponents']:
      counts = [match[k] for k in ('wins', 'draws', 'losses')]
      notes = []
      if sum(counts):
        notes.append(f'{100 * _share(match):.1f} % of the points')
      if match['broken']:
        notes.append(f'{match["broken"]} broken')
      told.append(
        f'{", ".join(map(str, counts))} against {match["opponent"]} '
        f'({"; ".join(notes)})')
  return [
    f'Its snapshots in a tournament, {found["anchor"]} rated 0: '
    f'{found["num_games"]} games a match, each opening of '
    f'{found["opening_moves"]} random moves with both colours, '
    f'{found["num_simulations"]} simulations (`{found["command"]}`). '
    f'The last agent won, drew and lost {"; ".join(told)}.',
    ratings,
    f'![Elo by steps](images/{name}_ladder.png)',
  ]


def ablation(name: str, record: Mapping[str, Any]) -> str:
  """Returns question, table, picture and what was learnt."""
  variants = record['variants']
  rows = [
    [label, _score(one), _most(one['seeds'], 'step'),
     _most(one['seeds'], 'updates'), _wall_clock(one), _seeds(one)]
    for label, one in variants.items()
  ]
  first = next(iter(variants.values()))
  parts = [
    f'{record["question"]} {first["environment"]}, `{record["command"]}`, '
    f'{tables.machine(first)}; '
    f'[all figures](../benchmarks/results/{name}.json).',
    tables.table(('Variant', 'Score', 'Steps', 'Updates', 'Wall-clock',
                  'Seeds'), rows),
    f'![{record["question"]}](images/{name}.png)',
  ]
  if record['learnt']:
    parts.append(record['learnt'])
  return '\n\n'.join(parts)


def unmet(record: Mapping[str, Any], bar: Mapping[str, Any]) -> list[str]:
  """Returns which conditions of a bar a record misses, in words.

  Conditions are `score` (a number, or the field of a row that holds it; of the
  mean, or of `each_seed`), `seeds`, `no_loss_to` an opponent, `percent` of the
  points against opponents, `points` likewise in at least so many `games` and
  `kept`, in percent of moves on at least so many `positions`, of a benchmark of
  the agent's strength with any number of simulations, `errors_above_random` and
  `errors_above_uniform` at least; `above_data`, that each seed surpasses what
  it learnt from; `above` another record, that each seed surpasses the same seed
  there; `afterstates_off`, in percent at most, of their searched values;
  `elo_rises`, that the last agent is beyond chance above the first in its
  ladder; `steps` and `seconds` at most. Of what a record does not hold, none is
  met.
  """
  agents: list[dict[str, Any]] = record['seeds']
  scores = [row['mean'] for row in agents]
  if not bar.get('each_seed'):
    scores = [learning.score(agents).mean]
  least: Any = bar.get('score', -math.inf)
  least = agents[0].get(least, math.inf) if isinstance(least, str) else least
  opponent: Any = bar.get('no_loss_to')
  percent: Any = bar.get('percent', {})
  strength: Any = record.get('strength', [])
  errors: Any = bar.get('errors_above_random')
  limit = lambda name: bar.get(name, math.inf)
  missed = {
    'the score': min(scores) < least,
    'the number of seeds': len(agents) < bar.get('seeds', 1),
    'games were lost': bool(opponent) and any(
      opponent not in row or row[opponent]['losses'] for row in agents),
    **{
      f'the points against {name}': any(
        name not in row or 100 * _share(row[name]) < wanted for row in agents)
      for name, wanted in percent.items()
    },
    **{
      f'the benchmark against {name}': not any(
        100 * _share(found[name]) >= wanted
        and _games(found[name]) >= bar.get('games', 1)
        for found in strength if name in found)
      for name, wanted in bar.get('points', {}).items()
    },
    'the moves that keep the value': 'kept' in bar and not any(
      100 * kept >= bar['kept'] and positions >= bar.get('positions', 1)
      for kept, positions in map(_kept, strength)),
    'the mean of the data': bool(bar.get('above_data')) and (
      'data' not in record or any(
        row['mean'] <= record['data']['mean_return'] for row in agents)),
    'the score of its rival': 'above' in bar and not _surpasses(
      agents, record.get('rival', {}).get('seeds', [])),
    'the values of afterstates': 'afterstates_off' in bar and not (
      100 * abs(record.get('afterstates', {}).get('bias', math.inf))
      <= bar['afterstates_off']),
    'the rise in Elo': bool(bar.get('elo_rises')) and not _rises(
      record.get('ladder')),
    'too near to random': errors is not None and any(
      'random' not in row or errors_above_random(row) < errors
      for row in agents),
    'too near to random actions': 'errors_above_uniform' in bar and (
      'uniform' not in record or any(
        errors_above_uniform(row, record['uniform'])
        < bar['errors_above_uniform'] for row in agents)),
    'the steps': max(row['step'] for row in agents) > limit('steps'),
    'the time': max(map(_seconds, agents)) > limit('seconds'),
  }
  return [name for name, failed in missed.items() if failed]


def _surpasses(
  agents: list[dict[str, Any]], rivals: list[dict[str, Any]]
) -> bool:
  """Returns whether each agent scores more than the rival of its seed.

  After as many steps, but for those by which a last iteration goes too far
  (within 1 %).
  """
  of = lambda row: (row['seed'], row.get('agent', 0))
  theirs = {of(row): row for row in rivals}
  return all(
    of(row) in theirs
    and row['mean'] > theirs[of(row)]['mean']
    and math.isclose(row['step'], theirs[of(row)]['step'], rel_tol=0.01)
    for row in agents
  )


def _rises(found: Mapping[str, Any] | None) -> bool:
  """Returns whether the intervals of the first and last agent are apart."""
  agents = _rated_agents(found) if found else []
  return len(agents) > 1 and agents[-1]['low'] > agents[0]['high']


def _rated_agents(found: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the ratings of the run's own agents, oldest first."""
  return sorted(
    (row for row in found['ratings'] if row['step'] is not None),
    key=lambda row: row['step'])


def _kept(strength: Mapping[str, Any]) -> tuple[float, int]:
  """Returns the share of moves that keep the value, and on how many
  positions."""
  judged = [
    found for found in strength.values()
    if isinstance(found, dict) and 'kept' in found]
  positions = sum(found['positions'] for found in judged)
  kept = sum(found['kept'] * found['positions'] for found in judged)
  return kept / max(positions, 1), positions


def _share(match: Mapping[str, Any]) -> float:
  """Returns the share of the points, half a point for a draw."""
  return (match['wins'] + match['draws'] / 2) / _games(match)


def _games(match: Mapping[str, Any]) -> int:
  return match['wins'] + match['draws'] + match['losses']


def errors_above_random(row: Mapping[str, Any]) -> float:
  """Returns how many standard errors a score is above published random's."""
  if not row['standard_error']:  # Of one episode, or of equal ones.
    return float('inf') if row['mean'] > row['random'] else 0.0
  return (row['mean'] - row['random']) / row['standard_error']


def errors_above_uniform(
  row: Mapping[str, Any], uniform: Mapping[str, Any]
) -> float:
  """Returns how many standard errors of the difference a score is above that
  of uniformly random actions."""
  error = math.hypot(row['standard_error'], uniform['standard_error'])
  gain = row['mean'] - uniform['mean']
  if not error:  # Of episodes that are all equal.
    return math.copysign(math.inf, gain) if gain else 0.0
  return gain / error


def _wall_clock(record: Mapping[str, Any]) -> str:
  """Returns the time of training, over all runs of a record."""
  agents = record['seeds']
  runs = {row['seed']: _seconds(row) for row in agents}
  if len(runs) > 2:
    text = f'at most {_duration(math.ceil(max(runs.values())))} a seed'
  else:
    text = ' and '.join(_duration(round(x)) for x in runs.values())
  if len(agents) > len(runs):
    text += f' for all {len(agents)}'
  if agents[0].get('training_seconds') is None:
    text += ', evaluation included'
  return text


def _seconds(row: Mapping[str, Any]) -> float:
  """Returns the seconds of training, or all there were if only they are
  known."""
  seconds = row.get('training_seconds')
  return row['all_seconds'] if seconds is None else seconds


def _score(record: Mapping[str, Any]) -> str:
  found = learning.score(record['seeds'])
  text = _number(found.mean)
  if found.spread is not None:
    text += f' ± {_number(found.spread, like=found.mean)}'
  if found.num_seeds > 1:
    return text
  return text + ' (1 seed' + (': standard error)' if found.spread else ')')


def _score_columns(agents: list[dict[str, Any]]) -> dict[str, str]:
  """Returns columns of scores: of each seed, their mean, and beside others."""
  columns = {}
  # What random play scored stands beside a score too, and is no match.
  matches = [
    name for name, x in agents[0].items()
    if isinstance(x, dict) and 'wins' in x]
  for name in matches:
    games = [
      ', '.join(str(row[name][k]) for k in ('wins', 'draws', 'losses'))
      for row in agents
    ]
    columns[f'Won, drawn, lost against {name}'] = _each([
      f'{text} ({100 * _share(row[name]):.1f} %)'
      for text, row in zip(games, agents, strict=True)
    ])
  if not matches:
    columns['Score'] = _each([_number(row['mean']) for row in agents])
  if len(agents) > 1:
    columns['Mean, 95 % interval'] = _score(dict(seeds=agents))
  elif not matches:
    columns['Score'] = _score(dict(seeds=agents))
    if 'min' in agents[0]:
      columns['Score'] += f'; {agents[0]["min"]:g} to {agents[0]["max"]:g}'
  if 'human' in agents[0]:
    columns['Random'] = f'{agents[0]["random"]:g}'
    columns['Human'] = f'{agents[0]["human"]:g}'
  return columns


def _each(texts: list[str]) -> str:
  """Returns what each seed scored, once where all scored the same."""
  if len(texts) > 1 and len(set(texts)) == 1:
    return f'{texts[0]} on each seed'
  return '; '.join(texts)


def _seeds(record: Mapping[str, Any]) -> str:
  agents = record['seeds']
  if agents[0]['num_agents'] > 1:
    return f'{len(agents)} agents, side by side in one program'
  return ', '.join(str(row['seed']) for row in agents)


def _steps(agents: list[dict[str, Any]]) -> str:
  """Returns the steps of the environment; none of what learnt from data."""
  return '-' if agents[0].get('unit') == 'updates' else _most(agents, 'step')


def _most(agents: list[dict[str, Any]], name: str) -> str:
  """Returns a count of all seeds, or the largest one of many."""
  counts = [row.get(name) for row in agents]
  known = [count for count in dict.fromkeys(counts) if count is not None]
  if None in counts:
    return '-'
  if len(known) > 2:
    return f'at most {max(known):,}'
  return ' and '.join(f'{count:,}' for count in known)


def _fields(
  record: Mapping[str, Any], goal: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns what the texts of a goal may name: figures of its bar, `time`
  for its seconds, and of the record's first row."""
  bar = goal.get('bar', {})
  time = _duration(bar['seconds']) if 'seconds' in bar else ''
  return {**record['seeds'][0], **bar, 'time': time}


def _published(goal: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
  found = goal.get('published')
  if not found:
    return '-'
  text = found['text'].format(**fields)
  if 'url' in found:
    text += f' ([{found["source"]}]({found["url"]}))'
  return text


def title(
  name: str, record: Mapping[str, Any], goals: Mapping[str, Any]
) -> str:
  return goals.get(name, {}).get('title', record['environment'])


def anchor(heading: str) -> str:
  """Returns what a link to a heading ends in."""
  return re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')


def _number(value: float, *, like: float | None = None) -> str:
  """Returns a score with as many decimals as its size, or `like`'s, needs."""
  size = abs(value if like is None else like)
  return f'{value:.{0 if size >= 1000 else 1 if size >= 10 else 2}f}'


def _duration(seconds: int) -> str:
  """Returns a time in its two largest units; below 5 minutes in seconds."""
  if seconds < 300:
    return f'{seconds} s'
  minutes, second = divmod(seconds, 60)
  hours, minute = divmod(minutes, 60)
  large, small = f'{hours} h', f'{minute} min'
  if not hours:
    large, small, minute = f'{minutes} min', f'{second} s', second
  return f'{large} {small}' if minute else large
