"""Tables of a report: evaluation, ratings, diagnosis and settings, as HTML."""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

from muzero_jax import config as config_lib
from muzero_jax.config import Config, settings
from muzero_jax.evaluation import curves as curves_lib
from muzero_jax.evaluation import run_files
from muzero_jax.evaluation.curves import Curve
from muzero_jax.evaluation.run_files import RunFiles

_LONGEST_TEXT = 200


def scores(runs: Sequence[RunFiles]) -> str:
  """Return the evaluations as a table, one row an agent."""
  rows, matches = [], []
  for i, run in enumerate(runs):
    found = run.evaluation
    if found is None:
      continue
    agents = found.get('agents', [found])
    agents = agents if isinstance(agents, list) else [found]
    agents = [one for one in agents if isinstance(one, dict)]
    if len(agents) > 1:
      rows.append([name_of(i, run, f'all {len(agents)} agents'),
                   _mean(found, 'confidence', '95 %'), '', '', '', ''])
    for k, one in enumerate(agents):
      who = f'agent {k}' if len(agents) > 1 else ''
      rows.append([
        name_of(i, run, who), _mean(one, 'standard_error', 'standard error'),
        _random(one), *(
          value_of(one.get(key))
          for key in ('num_episodes', 'num_simulations', 'step'))])
      matches += [
        [name_of(i, run, who), value_of(against), *(
          value_of(match[key]) for key in ('wins', 'draws', 'losses')),
         _interval(match)]
        for against, match in one.items()
        if isinstance(match, dict) and {'wins', 'draws', 'losses'} <= {*match}]
  parts = []
  if rows:
    parts += ['<section><h2>Evaluation without noise</h2>', table(
      ['run', 'mean', 'random play', 'episodes', 'simulations', 'step'], rows)]
    if matches:
      parts.append(table(
        ['run', 'against', 'won', 'drawn', 'lost', '95 % of the points'],
        matches))
    parts.append('</section>')
  return ''.join(parts)


def _mean(found: Mapping[str, Any], key: str, what: str) -> str:
  mean, error = found.get('mean'), found.get(key)
  if not run_files.is_number(error):
    return value_of(mean)
  return f'{value_of(mean)} &plusmn; {value_of(error)} <small>{what}</small>'


def _random(found: Mapping[str, Any]) -> str:
  there = found.get('random_play')
  if not isinstance(there, dict):
    return ''
  return _mean(there, 'standard_error', '')


def _interval(match: Mapping[str, Any]) -> str:
  ends = match.get('interval')
  if not (isinstance(ends, list) and len(ends) == 2
          and all(map(run_files.is_number, ends))):
    return ''
  return ' to '.join(f'{100 * end:.1f} %' for end in ends)


def ladders(runs: Sequence[RunFiles]) -> str:
  found, rows = [], []
  for i, run in enumerate(runs):
    ratings = (run.ladder or {}).get('ratings')
    ratings = [
      one for one in ratings if isinstance(one, dict)
      and run_files.is_number(one.get('elo'))
    ] if isinstance(ratings, list) else []
    points = sorted(
      (float(one['step']), float(one['elo'])) for one in ratings
      if run_files.is_number(one.get('step')))
    if points:
      found.append(Curve(run.label, i, points))
    rows += [
      [name_of(i, run, ''), value_of(one.get('player')),
       *(value_of(_whole(one.get(key))) for key in ('elo', 'low', 'high')),
       value_of(one.get('games'))] for one in ratings]
  if not rows:
    return ''
  chart = ''
  if found:
    chart = ('<figure><figcaption>Elo of the snapshots</figcaption>'
             f'{curves_lib.chart("Elo", found, "environment steps")}'
             '<p class="told"></p></figure>')
  return '<section><h2>Ratings</h2>' + f'<div class="charts">{chart}</div>' + (
    table(['run', 'player', 'Elo', 'low', 'high', 'games'], rows)
  ) + '</section>'


def diagnoses(runs: Sequence[RunFiles]) -> str:
  rows, words = [], []
  for i, run in enumerate(runs):
    found = run.diagnosis
    if found is None:
      continue
    parts: list[tuple[str, Any]] = [
      ('value, searched', found.get('search_value'))]
    for name, first in (('value', 0), ('reward', 1)):
      each = found.get(f'{name}s')
      each = each if isinstance(each, list) else []
      parts += [(f'{name}, step {first + k}', one)
                for k, one in enumerate(each)]
    parts.append(('value, at the end', found.get('end_value')))
    rows += [
      [name_of(i, run, ''), what, *(
        value_of(one.get(key))
        for key in ('bias', 'error', 'explained', 'num_rows'))]
      for what, one in parts if isinstance(one, dict)]
    share = found.get('agreement')
    if isinstance(share, (int, float)):
      words.append(
        f'<p>{name_of(i, run, "")}: network and search prefer the same action '
        f'in {100 * share:.0f} % of rows, step {value_of(found.get("step"))}.'
        '</p>')
  if not rows:
    return ''
  return ('<section><h2>What the model imagines, and what followed</h2>'
          + table(['run', 'what', 'bias', 'error', 'explained', 'rows'], rows)
          + ''.join(words) + '</section>')


def all_settings(runs: Sequence[RunFiles]) -> str:
  """Return what differs between runs and from presets, and all settings."""
  parts = ['<section><h2>Settings</h2>']
  names = [
    name for name in config_lib.FIELDS
    if len({getattr(run.config, name) for run in runs}) > 1]
  if names:
    parts += ['<h3>What differs between the runs</h3>', _compared(runs, names)]
  elif len(runs) > 1:
    parts.append('<p>All settings of these runs are the same.</p>')
  for i, run in enumerate(runs):
    preset = config_lib.nearest_preset(run.config)
    usual = config_lib.from_preset(preset) if preset else Config()
    changed = config_lib.diff(run.config, usual)
    of = f'the preset {preset}' if preset else 'the defaults'
    rows = [
      [f'<code>{name}</code>', _code(value), _code(default)]
      for name, (value, default) in changed.items()]
    parts += [
      f'<h3>{name_of(i, run, "")}: {len(rows)} settings differ from {of}</h3>',
      table(['setting', 'here', 'there'], rows) if rows else '']
  parts.append('<details><summary>All settings</summary>')
  told: set[str] = set()  # Some parts share a field.
  for part in settings.PARTS:
    own = [x.name for x in dataclasses.fields(part) if x.name not in told]
    told.update(own)
    if own:
      parts += [f'<h3>{text((part.__doc__ or "").splitlines()[0])}</h3>',
                _compared(runs, own)]
  return ''.join([*parts, '</details></section>'])


def _compared(runs: Sequence[RunFiles], names: Sequence[str]) -> str:
  rows = []
  for name in names:
    values = [getattr(run.config, name) for run in runs]
    meaning = config_lib.FIELDS[name].metadata['help']
    rows.append([f'<code title="{text(meaning)}">{name}</code>',
                 *map(_code, values)])
  return table(
    ['setting', *(name_of(i, run, '') for i, run in enumerate(runs))], rows,
    is_html=True)


def table(
  head: Sequence[str], rows: Sequence[Sequence[str]], is_html: bool = False
) -> str:
  """Return a table of cells that are HTML already."""
  cells = ''.join(f'<th>{x if is_html else text(x)}</th>' for x in head)
  lines = ''.join(
    f'<tr>{"".join(f"<td>{x}</td>" for x in row)}</tr>' for row in rows)
  return (f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
          f'<tbody>{lines}</tbody></table></div>')


def name_of(index: int, run: RunFiles, who: str) -> str:
  words = f'{run.label} {who}'.strip()
  return f'<i class="r{index}"></i>{text(words)}'


def _code(value: Any) -> str:
  return f'<code>{text(config_lib.text(value)) or "&nbsp;"}</code>'


def value_of(value: Any) -> str:
  """Return a number or text of a file as a cell has it."""
  if isinstance(value, bool) or value is None:
    return '' if value is None else str(value).lower()
  if isinstance(value, int):
    return f'{value:,}' if abs(value) < 10**15 else curves_lib.short(value)
  if isinstance(value, float):
    return f'{value:.4g}' if abs(value) < 1e4 else f'{value:,.0f}'
  return text(value) if isinstance(value, str) else ''


def _whole(value: Any) -> Any:
  return round(value) if run_files.is_number(value) else value


def text(value: str) -> str:
  """Return a text, at most so long, that stands in HTML for itself."""
  cut = value if len(value) <= _LONGEST_TEXT else f'{value[:_LONGEST_TEXT]}...'
  return html.escape(''.join(
    letter if letter.isprintable() else '?' for letter in cut))
