"""docs/reliability.md, made of the drills' results.

  python -m benchmarks.drills.report
"""

import json
import pathlib
from typing import Any

from benchmarks import kill

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'reliability.md'
_NOT_RUN = 'No result of this drill is committed.'
_HEAD = """# Reliability

Made by `python -m benchmarks.drills.report` of the results in
[benchmarks/results](../benchmarks/results); `make drills` runs every drill in
full and makes this page anew. It takes about four hours, of which the run that
watches memory takes two. [tests/faults](../tests/faults) runs the same in
small with each `make test`.

What is promised: a step that a run reported as saved can be restored. A fault
ends in one line and a status that is not 0, nothing is lost or overwritten,
and no file of a run, an agent or a dataset is run as code. A stop that was
asked for ends with 128 + the number of its signal, with a checkpoint.
"""


def _result(name: str) -> dict[str, Any] | None:
  """Return a drill's result, or None where there is none."""
  path = kill.RESULT.with_name(f'{name}.json')
  return json.loads(path.read_text()) if path.exists() else None


def _section(title: str, name: str, body: Any) -> str:
  """Return the section of one drill."""
  result = _result(name)
  if result is None:
    return f'## {title}\n\n{_NOT_RUN}\n'
  versions = result['versions']
  return (
    f'## {title}\n\n`{result["command"]}` on {result["hardware"]["cores"]} '
    f'cores ({result["hardware"]["cpu"]}), Python {versions["python"]}, jax '
    f'{versions["jax"]}.\n\n{body(result)}\n')


def _table(head: list[str], rows: list[list[Any]]) -> str:
  """Return a table in Markdown."""
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join('| ' + ' | '.join(map(str, x)) + ' |' for x in lines)


def _signals(result: dict[str, Any]) -> str:
  """Return what became of runs that got a signal."""
  phases: dict[str, list[dict[str, Any]]] = {}
  for one in result['trials']:
    phases.setdefault(one['phase'], []).append(one)
  rows = [
    [phase, len(ones), sum(x['right'] for x in ones),
     sum(bool(x['lost']) for x in ones), sum(x['trace'] for x in ones),
     max(x['seconds'] for x in ones)]
    for phase, ones in phases.items()]
  compiling = result['compiling']
  return _table(
    ['phase', 'signals', 'right', 'lost a saved step', 'traceback',
     'most seconds to the end'], rows) + (
    f'\n\nWithin compilations: {compiling["signals"]} signals, of which '
    f'{compiling["noted"]} were noted; the process ended with status '
    f'{compiling["status"]}.')


def _kills(result: dict[str, Any]) -> str:
  """Return what became of a run that was killed again and again."""
  kills = result['kills']
  return (
    f'{len(kills)} kills with signal 9, {result["steps_reported"]:,} reports '
    f'of a saved step; {sum(bool(x["lost"]) for x in kills)} kills lost one, '
    f'{sum(x["damaged"] for x in kills)} left a damaged one. The parameters '
    f'at the end are {"" if result["identical"] else "not "}those of a run '
    'that was never killed, bit for bit.')


def _disk(result: dict[str, Any]) -> str:
  """Return what became of runs on a full disk."""
  rows = [
    [one['phase'], one['status'], one['resumed'],
     'yes' if one['right'] else 'no', f'`{one["error"]}`' if one['error']
     else ''] for one in result['trials']]
  return _table(
    ['phase', 'status', 'the same command, with space', 'right',
     'its line'], rows)


def _storage(result: dict[str, Any]) -> str:
  """Return what became of damaged files."""
  names = sorted({x for one in result['drills'] for x in one['outcomes']})
  rows = [
    [one['drill'], one['count'],
     *(one['outcomes'].get(name, 0) for name in names), len(one['faults'])]
    for one in result['drills']]
  return _table(['damage', 'files', *names, 'faults'], rows) + (
    '\n\n"Fell back": the older checkpoint was restored, and the run said so. '
    '"Other": a file whose hashes were made right again loads as what it '
    'says now.')


def _code(result: dict[str, Any]) -> str:
  """Return what became of files that carry code."""
  rows = [
    [name, one['trials'], one['ran'], one['line'], one['read'], one['other']]
    for name, one in result['rows'].items()]
  return _table(
    ['file', 'trials', 'ran code', 'one line', 'read as data', 'other'], rows)


def _blocking(result: dict[str, Any]) -> str:
  """Return how long training waits for a save."""
  at_once, background = result['at_once'], result['in_background']
  load = result['load'][0]
  state = 'busy' if load > result['hardware']['cores'] else 'idle'
  return _table(['save', 'training waits, s', 'whole save, s'], [
    ['in the background', background['blocked'], background['total']],
    ['at once, where memory is short', at_once['blocked'],
     at_once['total']]]) + (
    f'\n\nThe machine was {state} (load {load:.1f}).')


def _soak(result: dict[str, Any]) -> str:
  """Return how memory grew in a long run."""
  megabytes = result['megabytes']
  return (
    f'{result["minutes"]:g} minutes with {result["saves"]} saves, status '
    f'{result["status"]}: {megabytes[len(megabytes) // 10]} MB after a tenth '
    f'of the time, {megabytes[-1]} MB at the end, growth of the medians '
    f'{100 * result["growth"]:.1f} % (the bound is 5 %).')


def _processes(result: dict[str, Any]) -> str:
  """Return what became of runs of two processes."""
  rows = []
  for name in ('SIGKILL', 'SIGTERM'):
    ones = [x for x in result['trials'] if x['signal'] == name]
    rows.append([
      name, len(ones), sum(x['right'] for x in ones),
      sum(bool(x['lost']) for x in ones), sum(x['named'] for x in ones),
      max((x['seconds'] for x in ones), default='-')])
  return _table([
    'signal', 'trials', 'right', 'lost a saved step', 'told who is gone',
    'seconds to the last end, at most'], rows)


def _cluster(result: dict[str, Any]) -> str:
  """Return how a run with jobs fared."""
  base = result['phases']['alone']['steps_per_second']
  rows = [
    [name, one['steps_per_second'],
     f'{100 * one["steps_per_second"] / base:.0f} %',
     f'{100 * one["learner_idle"]:.0f} %', one['policy_lag'],
     int(one['lost_stretches']), int(one['repeated_stretches'])]
    for name, one in result['phases'].items()]
  return _table([
    'phase', 'steps/s', 'of `alone`', 'learner waits', 'lag, updates',
    'lost stretches', 'counted twice'], rows)


def page() -> str:
  """Return the whole page."""
  return '\n'.join([
    _HEAD,
    _section('Signals in each phase', 'drills_signals', _signals),
    _section(
      'Killed', 'drills_signals', lambda result: _kills(result['kills'])),
    _section('A full disk', 'drills_disk', _disk),
    _section('Damaged files', 'drills_storage', _storage),
    _section('Files that carry code', 'drills_code', _code),
    _section('How long a save stops training', 'drills_blocking', _blocking),
    _section('Memory of a long run', 'drills_soak', _soak),
    _section('Several processes', 'drills_processes', _processes),
    _section('Players and reanalysers as jobs', 'drills_cluster', _cluster)])


def main() -> None:
  PAGE.write_text(page())
  print(PAGE)


if __name__ == '__main__':
  main()
