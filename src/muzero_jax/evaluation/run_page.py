"""One HTML page about one or several runs, with all that it needs inside.

Every text from a file is escaped, and the page forbids itself everything but
its own style, its own script and pictures that are part of it.
"""

import base64
import hashlib
import importlib.resources
from collections.abc import Iterable, Sequence
from typing import Any

from muzero_jax.evaluation import curves as curves_lib
from muzero_jax.evaluation import run_files, run_tables
from muzero_jax.evaluation.curves import Curve
from muzero_jax.evaluation.run_files import Film, RunFiles

# Title of a group -> names of columns, or how they begin; in this order.
_GROUPS: dict[str, tuple[str, ...]] = {
  'Return': ('return',),
  'Losses': ('loss', 'policy_loss', 'value_loss', 'reward_loss'),
  'Values': ('search_value', 'search_value_gap', 'search_error', 'value_error',
             'value_target', 'value_target_max'),
  'Search trust': ('search_trust',),
  'Entropy': ('search_entropy', 'policy_entropy', 'target_entropy', 'entropy',
              'policy_divergence'),
  'Speed': ('steps_per_second', 'simulations_per_second',
            'updates_per_second'),
}
_TITLES = {
  'return': 'return of training episodes; dots: evaluation without noise'}
_NOT_DRAWN = frozenset({
  'step', 'seconds', 'updates', 'eval_return', 'reanalysed_fraction'})
_MOST_OTHERS = 60  # Charts below "more".


def page(runs: Sequence[RunFiles], film: Film | None = None) -> str:
  """Return the page.

  Args:
    runs: at least one, as `run_files.read` returns them.
    film: shown near the top.
  """
  style, script = _asset('run_page.css'), _asset('run_page.js')
  title = ', '.join(run.label for run in runs)
  body = [
    _head(runs), _notes(runs), _charts(runs, film),
    run_tables.scores(runs), run_tables.ladders(runs),
    run_tables.diagnoses(runs), run_tables.all_settings(runs)]
  policy = (
    f"default-src 'none'; style-src '{_digest(style)}'; "
    f"script-src '{_digest(script)}'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'")
  return '\n'.join([
    '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="referrer" content="no-referrer">',
    f'<title>{run_tables.text(title)} - muzero_jax</title>',
    f'<style>{style}</style></head><body>',
    *filter(None, body), f'<script>{script}</script>', '</body></html>', ''])


def _head(runs: Sequence[RunFiles]) -> str:
  envs = dict.fromkeys(
    f'{run.config.family}/{run.config.env_id}' for run in runs)
  cards = [
    f'<label class="run"><input type="checkbox" checked data-run="{i}">'
    f'<i class="r{i}"></i><b>{run_tables.text(run.label)}</b> '
    f'{run_tables.text(_progress(run))}</label>'
    for i, run in enumerate(runs)]
  return (
    f'<header><h1>{run_tables.text(", ".join(envs))}</h1>'
    f'<div class="runs">{"".join(cards)}</div></header>')


def _progress(run: RunFiles) -> str:
  """Return how far a run has come, in words."""
  unit = 'updates' if run.is_offline else 'steps'
  if not run.rows:
    return f'{run.config.total_steps:,} {unit} planned'
  seconds = run.rows[-1].get('seconds', 0)
  words = f'{run.rows[-1]["step"]:,} of {run.config.total_steps:,} {unit}'
  return f'{words} in {_duration(seconds)}'


def _notes(runs: Sequence[RunFiles]) -> str:
  lines = [
    f'{run.label}: {note}' if len(runs) > 1 else note
    for run in runs for note in run.notes]
  if len({(run.config.family, run.config.env_id) for run in runs}) > 1:
    lines.insert(0, 'These runs are of different environments: their returns, '
                    'values and losses have different units.')
  if len({run.is_offline for run in runs}) > 1:
    lines.insert(0, 'Some of these runs learn from a dataset: their steps are '
                    'updates, those of the others steps of the environment.')
  items = ''.join(f'<li>{run_tables.text(line)}</li>' for line in lines)
  return f'<ul class="notes">{items}</ul>' if items else ''


def _film(film: Film | None) -> str:
  if film is None:
    return ''
  data = f'data:{film.mime};base64,{base64.b64encode(film.data).decode()}'
  if film.mime.startswith('video/'):
    picture = f'<video controls loop muted src="{data}"></video>'
  else:
    picture = f'<img alt="One episode" src="{data}">'
  return (f'<figure class="film"><figcaption>one episode</figcaption>{picture}'
          '</figure>')


def _charts(runs: Sequence[RunFiles], film: Film | None) -> str:
  """Return all charts: the groups, and the rest to be opened."""
  known = [
    name for name in run_files.columns(runs) if name not in _NOT_DRAWN]
  left = dict.fromkeys(known)
  parts = []
  for title, wanted in _GROUPS.items():
    names = [name for name in known if name in left and _is_in(name, wanted)]
    # In the order of the group, losses by name.
    names.sort(key=lambda name: (
      wanted.index(name) if name in wanted else len(wanted), name))
    if title == 'Return' and 'return' not in names and _has(
        runs, 'eval_return'):
      names = ['return']
    for name in names:
      left.pop(name, None)
    charts = [_chart(runs, name) for name in names]
    if title == 'Return' and film is not None:
      charts.append(_film(film))
    if charts:
      parts.append(_section(title, charts))
  others = [
    _chart(runs, name) for name in list(left)[:_MOST_OTHERS]
    if not name.startswith('return_of_agent/')]
  if others:
    parts.append('<details><summary>More curves</summary>'
                 f'<div class="charts">{"".join(others)}</div></details>')
  return ''.join(parts)


def _is_in(name: str, wanted: Sequence[str]) -> bool:
  return name in wanted or 'loss' in wanted and name.endswith('loss')


def _has(runs: Sequence[RunFiles], name: str) -> bool:
  return any(_points(run, name) for run in runs)


def _section(title: str, charts: Iterable[str]) -> str:
  return (f'<section><h2>{run_tables.text(title)}</h2>'
          f'<div class="charts">{"".join(charts)}</div></section>')


def _chart(runs: Sequence[RunFiles], name: str) -> str:
  found: list[Curve] = []
  for i, run in enumerate(runs):
    if name == 'return':
      found += [
        Curve(f'{run.label}, agent {k}', i, points, is_faint=True)
        for k in range(run.config.num_seeds)
        if (points := _points(run, f'return_of_agent/{k}'))]
      if points := _points(run, 'eval_return'):
        found.append(Curve(f'{run.label}, evaluation', i, points, True))
    if points := _points(run, name):
      found.append(Curve(run.label, i, points))
  if not found:
    return ''
  unit = 'updates' if all(run.is_offline for run in runs) else (
    'environment steps')
  title = _TITLES.get(name, name.replace('_', ' '))
  kind = ' class="first"' if name == 'return' else ''
  return (f'<figure{kind}><figcaption>{run_tables.text(title)}</figcaption>'
          f'{curves_lib.chart(title, found, unit, name.endswith("loss"))}'
          '<p class="told"></p>'
          '</figure>')


def _points(run: RunFiles, name: str) -> list[tuple[float, float]]:
  return [
    (row['step'], float(row[name])) for row in run.rows
    if run_files.is_number(row.get(name))]


def _duration(seconds: Any) -> str:
  seconds = seconds if run_files.is_number(seconds) else 0
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f'{hours}:{minute:02d}:{second:02d} h'


def _asset(name: str) -> str:
  """Return a file of this package's data."""
  return importlib.resources.files('muzero_jax').joinpath(
    'data', name).read_text(encoding='utf-8')


def _digest(text: str) -> str:
  """Return what a content security policy calls a text."""
  digest = hashlib.sha256(text.encode()).digest()
  return f'sha256-{base64.b64encode(digest).decode()}'
