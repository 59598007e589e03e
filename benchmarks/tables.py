"""Tables of docs/results.md from benchmarks that train nothing, in Markdown.

`report` puts them into the page; each function takes what the JSON file of its
benchmark holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NETWORKS = {
  'mlp': 'MLP of {width} units', 'atari': 'EfficientZero Atari',
  'muzero': 'MuZero Atari', 'go': 'ResNet, Go 9x9',
  'go_19x19': 'ResNet, Go 19x19',
}
_POLICIES = {'gumbel': 'Gumbel', 'puct': 'pUCT'}
_PARTS = (
  ('environment', 'Environment'), ('search', 'Search'),
  ('networks of the search', 'its networks alone'), ('updates', 'Updates'),
  ('sampling of the updates', 'their sampling'),
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a table in Markdown."""
  lines = ['| ' + ' | '.join(cells) + ' |' for cells in (header, *rows)]
  return '\n'.join([lines[0], '|---' * len(header) + '|', *lines[1:]])


def machine(record: Mapping[str, Any]) -> str:
  """Returns processor, cores and accelerators of a record."""
  hardware = record['hardware']
  text = f'{hardware["cpu"]}, {hardware["cores"]} cores'
  devices = hardware.get('devices', '')
  if devices and not devices.endswith('cpu'):
    text += f', {devices}'
  return text


def versions(record: Mapping[str, Any], names: Sequence[str]) -> str:
  """Returns the versions of Python and of packages."""
  labels = [name.capitalize() if name == 'python' else name for name in names]
  return ', '.join(
    f'{label} {record["versions"][name]}' for label, name in zip(labels, names)
  )


def random_policy(record: dict[str, Any]) -> str:
  """Returns random play through `envs.atari` beside a plain loop."""
  rows = []
  for game in record['games']:
    ours, plain = game['environment'], game['plain_loop']
    error = game['standard_error_of_difference']
    rows.append([
      game['game'].capitalize(),
      *(f'{side["mean"]:.2f} ± {side["standard_error"]:.2f}'
        for side in (ours, plain)),
      f'{abs(game["difference"]):.2f} ± {error:.2f}',
      'yes' if game['agree'] else 'no',
      f'{game["published_random"]:g}',
    ])
  return table(
    ('Game', '`envs.atari`', 'plain ALE loop', 'difference', 'within 3',
     'published random'), rows)


def kill(record: dict[str, Any]) -> str:
  """Returns what became of the run that was killed."""
  kills = record['kills']
  training = sum(one['moment'] == 'training' for one in kills)
  lost = sum(len(one['lost']) + one['damaged'] for one in kills)
  restored = (
    f'all of the {record["steps_reported"]} checkpoints reported as saved, or '
    'a newer one kept in their place'
  ) if not lost else f'all but {lost} of {record["steps_reported"]}'
  identical = (
    f'{"yes" if record["identical"] else "no"}: all {record["num_arrays"]} '
    f'arrays at step {record["last_step"]:,}, after '
    f'{record["num_updates"]:,} updates'
  )
  cells = [
    f'`{record["command"]}`', '0', machine(record),
    f'{len(kills)}: {training} while training, {len(kills) - training} while '
    'starting up', restored, identical,
  ]
  return table(
    ('Command', 'Seeds', 'Hardware', 'Kills', 'Restored', 'Bit for bit'),
    [cells])


def last_kill(record: dict[str, Any]) -> int:
  """Returns the newest checkpoint that any kill came after."""
  return max(step for one in record['kills'] for step in one['restored'])


def throughput(records: dict[str, Any]) -> str:
  """Returns speed and the shares of time, one row for each command."""
  rows = []
  for record in records.values():
    flags = record['command'].split('benchmarks.throughput ')[-1]
    whole, parts = record['iteration_seconds'], record['part_seconds']
    rows.append([
      f'`{flags.removeprefix("--preset=")}`',
      f'{record["num_envs"]} x {record["rollout_length"]} rows, '
      f'{record["num_simulations"]} simulations, '
      f'{record["updates_per_iteration"]} updates of {record["batch_size"]}',
      f'{whole:.3f} s', f'{record["rows_per_second"]:,.0f}',
      f'{record["simulations_per_second"]:,.0f}',
      f'{record["updates_per_second"]:.0f}',
      *(f'{parts[name]:.3f} s, {parts[name] / whole:.0%}'
        for name, _ in _PARTS),
      f'{parts["search"] / parts["networks of the search"]:.1f}',
    ])
  return table(
    ('Preset', 'One iteration', 'Time', 'Rows/s', 'Simulations/s', 'Updates/s',
     *(label for _, label in _PARTS), 'Search / its networks'), rows)


def scaling(records: dict[str, Any]) -> str:
  """Returns the speed at each batch, one row for each size."""
  rows = []
  for record in records.values():
    cells = ['out of memory'] + ['-'] * 4
    if 'rows_per_second' in record:
      cells = [
        f'{record["rows_per_second"]:,.0f}',
        f'{record["simulations_per_second"]:,.0f}',
        f'{record["updates_per_second"]:.0f}',
        f'{record["memory_bytes"] / 2**30:.2f} GiB',
        f'{record["compile_seconds"]:.0f} s',
      ]
    rows.append([
      record['environment'], record['hardware']['devices'],
      'in CUDA graphs' if 'WHILE' in record['xla_flags'] else '-',
      f'{record["num_envs"]:,} x {record["rollout_length"]} rows, '
      f'{record["num_simulations"]} simulations, '
      f'{record["updates_per_iteration"]} updates of '
      f'{record["batch_size"]:,}', *cells])
  return table(
    ('Environment', 'Device', 'Loops', 'One iteration', 'Steps/s',
     'Simulations/s', 'Updates/s', 'Memory', 'Compiling'), rows)


def drivers(record: dict[str, Any]) -> str:
  """Returns the rates of both drivers on the same environment."""
  found = record['drivers']
  first = found['anakin']['iteration_seconds']
  return table(
    ('Driver', 'One iteration', 'Rows/s', 'Simulations/s', 'Updates/s',
     'Of anakin'),
    [
      [name, f'{row["iteration_seconds"]:.3f} s',
       f'{row["rows_per_second"]:,.0f}',
       f'{row["simulations_per_second"]:,.0f}',
       f'{row["updates_per_second"]:.0f}',
       f'{first / row["iteration_seconds"]:.0%}']
      for name, row in found.items()
    ])


def strength(records: dict[str, Any]) -> str:
  """Returns matches of a Connect Four agent and moves judged by the solver."""
  rows = []
  for record in records.values():
    matches = [
      f'{name}: {found["wins"]}, {found["draws"]}, {found["losses"]}'
      for name, found in record.items()
      if isinstance(found, dict) and 'wins' in found
    ]
    judged = [
      f'{found["kept"]:.1%} of {found["positions"]:,} in '
      + name.removeprefix('moves in ')
      for name, found in record.items()
      if isinstance(found, dict) and 'kept' in found
    ]
    rows.append([
      f'{record["step"]:,}', str(record['num_simulations']),
      '; '.join(matches), '; '.join(judged), f'`{record["command"]}`',
    ])
  return table(
    ('Steps', 'Simulations', 'Won, drawn, lost', 'Moves that keep the value',
     'Command'), rows)


def gradients(record: dict[str, Any]) -> str:
  """Returns how much longer XLA's gradients of convolutions take than ours."""
  ratios = [
    row['xla_loop_ms'] / row['ours_loop_ms'] for row in record['rows']
  ]
  return f'{min(ratios):.0f} to {max(ratios):.0f}'


def search(records: dict[str, Any]) -> str:
  """Returns our search beside mctx's, one table for each device."""
  found = []
  for name, record in records.items():
    if not name.startswith('table'):
      continue
    rows = [
      [f'{_POLICIES[row["policy"]]}, '
       + _NETWORKS[row['network']].format(**row),
       *(str(row[size]) for size in ('batch', 'actions', 'simulations')),
       *(f'{row[f"{who}_ms"]:.1f} ± {row[f"{who}_spread_ms"]:.1f}'
         for who in ('ours', 'mctx', 'networks')),
       f'{row["speedup"]:.2f}', f'{row["over_networks"]:.2f}']
      for row in record['results']
    ]
    found.append(table(
      ('Policy, network', 'B', 'A', 'S', 'ours', 'mctx', 'networks',
       'mctx / ours', 'ours / networks'), rows
    ) + f'\n\n`{record["command"]}`, {machine(record)}.')
  return '\n\n'.join(found)


def search_aims(record: dict[str, Any], aims: Sequence[float]) -> str:
  """Returns which rows of a table are as much faster than mctx as aimed."""
  reached = [
    str(i + 1) for i, (row, aim) in enumerate(zip(record['results'], aims))
    if row['speedup'] >= aim
  ]
  listed = ', '.join(f'{aim:g}' for aim in aims[:-1]) + f' and {aims[-1]:g}'
  return (
    f'The aims were {listed} times mctx in the first {len(aims)} rows; '
    + (f'met in row {", ".join(reached)} alone.' if reached else 'none is met.')
  )
