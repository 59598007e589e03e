"""Writes docs/results.md and its pictures from benchmarks/results/*.json.

python -m benchmarks.report

What no figure says stands in benchmarks/results.md.template, a text for
`str.format`: `{kill[num_arrays]}` is a figure of kill.json,
`{section[cartpole]}` the part that a learning record fills. What a record is
measured against is in benchmarks/results/goals.json: published figures and
bars, whose texts take their numbers from the bar and from the record's first
row; `afterstates` names what afterstates.json holds of its agents. A learning
record that the template does not name comes at the end, as ablations do.
"""

import json
import pathlib
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks import figures, learning, sections, tables

TEMPLATE = pathlib.Path(__file__).parent / 'results.md.template'
PAGE = learning.ROOT / 'docs' / 'results.md'
IMAGES = learning.ROOT / 'docs' / 'images'
_ABLATION = 'ablation_'


def read_results(folder: pathlib.Path = learning.RESULTS) -> dict[str, Any]:
  """Returns what every JSON file of the folder holds, by its name."""
  return {
    path.stem: json.loads(path.read_text(encoding='utf-8'))
    for path in sorted(folder.glob('*.json'))
  }


def page(results: Mapping[str, Any], template: str) -> str:
  """Returns the whole page.

  Args:
    results: as `read_results` returns them.
    template: text with fields in braces.
  """
  goals = results['goals']
  records = {
    name: {**record, **_beside(name, record, results)}
    for name, record in results.items() if 'seeds' in record
  }
  headings = dict(
    reversed(found) for found in
    re.findall(r'^## (.+)\n\n\{section\[(\w+)\]\}', template, re.MULTILINE)
  )
  named = [name for name in headings if name in records]
  others = [name for name in records if name not in headings]
  for name in others:
    headings[name] = sections.title(name, records[name], goals)
  parts = {
    name: sections.section(name, record, goals.get(name, {}))
    for name, record in records.items()
  }
  ablations = _ablations(results)
  last = len(re.findall(r'^## \d+\.', template, re.MULTILINE))
  text = template.format_map({
    **results,
    'overview': sections.overview(
      {name: records[name] for name in named + others}, goals, headings),
    'section': parts,
    'table': _tables(results),
    'ablations': _chapter(f'{last + 1}. Ablations', ablations),
    'others': _chapter(
      f'{last + 1 + bool(ablations)}. Other environments',
      {headings[name]: parts[name] for name in others}),
  })
  blocks = [_wrap(block) for block in re.split(r'\n{2,}', text.strip())]
  return '\n\n'.join(blocks) + '\n'


def _beside(
  name: str, record: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns what a record is measured against, of other files."""
  beside = {}
  uniform = results.get('uniform', {}).get(record['environment'])
  if uniform:
    beside['uniform'] = uniform
  goal = results['goals'].get(name, {})
  rival = goal.get('bar', {}).get('above')
  if rival in results:
    beside['rival'] = results[rival]
  afterstates = results.get('afterstates', {}).get(goal.get('afterstates'), {})
  # Of one of these agents, and of games that paid anything.
  if afterstates.get('bias') is not None and afterstates['step'] in [
      row['step'] for row in record['seeds']]:
    beside['afterstates'] = afterstates
  strength = [
    found for found in results.get(f'{name}_strength', {}).values()
    if found['step'] in [row['step'] for row in record['seeds']]]
  if strength:
    beside['strength'] = strength
  return beside


def _wrap(block: str) -> str:
  """Returns a paragraph in lines of 80; headings, tables, pictures as is."""
  if block.startswith(('#', '|', '![')):
    return block
  return textwrap.fill(
    ' '.join(block.split()), 80, break_on_hyphens=False,
    break_long_words=False)


def _machine(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
  return f'{tables.machine(record)}, {tables.versions(record, names)}'


def _tables(results: Mapping[str, Any]) -> dict[str, str | int]:
  """Returns the tables of benchmarks that train nothing."""
  search = results['search']
  return dict(
    random_policy=tables.random_policy(results['random_policy']),
    random_policy_machine=_machine(
      results['random_policy'], ('python', 'jax', 'ale-py')),
    kill=tables.kill(results['kill']),
    last_kill=tables.last_kill(results['kill']),
    kill_versions=tables.versions(results['kill'], ('python', 'jax')),
    throughput=tables.throughput(results['throughput']),
    throughput_machine=tables.machine(
      next(iter(results['throughput'].values()))),
    scaling=tables.scaling(results['scaling']),
    drivers=tables.drivers(results['drivers']['cartpole']),
    gradients=tables.gradients(results['conv']['gradients']),
    strength=tables.strength(results['connect_four_strength']),
    search=tables.search(search),
    search_aims=tables.search_aims(
      search['table, cpu'], results['goals']['search']['aims']),
  )


def _ablations(results: Mapping[str, Any]) -> dict[str, str]:
  """Returns each ablation's text by its heading."""
  return {
    name.removeprefix(_ABLATION).capitalize(): sections.ablation(name, record)
    for name, record in results.items() if name.startswith(_ABLATION)
  }


def _chapter(heading: str, parts: Mapping[str, str]) -> str:
  """Returns a section of several parts, or nothing if there is none."""
  if not parts:
    return ''
  told = [f'### {name}\n\n{text}' for name, text in parts.items()]
  return '\n\n'.join([f'## {heading}', *told])


def main() -> None:
  results = read_results()
  template = TEMPLATE.read_text(encoding='utf-8')
  PAGE.write_text(page(results, template), encoding='utf-8')
  drawn = figures.draw(results, IMAGES)
  print(f'wrote {PAGE.relative_to(learning.ROOT)} and {", ".join(drawn)}')


if __name__ == '__main__':
  main()
