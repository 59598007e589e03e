"""How fast a run will be on some machines, and what holds it back."""

from typing import NamedTuple

from muzero_jax.planning.needs import Needs
from muzero_jax.planning.rates import Rates


class Layout(NamedTuple):
  """The machines of a run."""

  hosts: int = 1
  devices: int = 1  # Of each host.
  num_actors: int = 0  # Players in processes of their own; 0: in lockstep.
  num_reanalyse_actors: int = 0
  network: float = 10e9  # Bits a second between hosts.
  latency: float = 1e-4  # Seconds of a message between hosts.
  messages: float = 150.0  # A second, that the control plane of Ray bears.


class Forecast(NamedTuple):
  """What is to be expected; rates are of a second."""

  rows: float
  limits: dict[str, float]  # Rows a second that each part allows.
  updates: float
  simulations: float  # Of play and Reanalyse.
  network_bytes: float
  num_messages: float
  replay_bytes: int
  hours: float

  @property
  def bottleneck(self) -> str:
    """Return the part that allows the fewest rows."""
    return min(self.limits, key=self.limits.__getitem__)


def make(needs: Needs, rates: Rates, layout: Layout) -> Forecast:
  """Forecast a run.

  In lockstep all devices share play and updates; with players, they, the
  reanalysers and the learner work at the same time, on CPUs but for the
  learner, and the slowest of them, or the cores of a machine that they share,
  is the bottleneck.
  """
  limits = _lockstep(needs, rates, layout)
  if layout.num_actors:
    limits = _with_players(needs, rates, layout)
  rows = min(limits.values())
  updates = rows * needs.updates_per_row
  network, messages = _traffic(needs, layout, rows)
  return Forecast(
    rows=rows, limits=limits, updates=updates,
    simulations=rows * needs.simulations_per_row * (
      1 + needs.searched_per_row),
    network_bytes=network, num_messages=messages,
    replay_bytes=needs.replay_bytes, hours=needs.rows / rows / 3600)


def _lockstep(
  needs: Needs, rates: Rates, layout: Layout
) -> dict[str, float]:
  """Return what one program over all devices allows."""
  devices = layout.hosts * layout.devices
  play = rates.play_seconds / devices
  search = needs.searched_per_row * rates.search_seconds / devices
  learn = needs.updates_per_row * rates.update_seconds / devices
  talk = 0.0
  if layout.hosts > 1:
    # A ring: each host sends and gets all gradients twice, less its own.
    share = 2 * (layout.hosts - 1) / layout.hosts
    talk = needs.updates_per_row * (
      share * needs.params_bytes * 8 / layout.network
      + 2 * layout.hosts * layout.latency)
  whole = 1 / (play + search + learn + talk)
  parts = dict(play=play, reanalyse=search, learner=learn, network=talk)
  # One after the other: what takes longest is named, and all count.
  longest = max(parts, key=parts.__getitem__)
  return {longest: whole}


def _with_players(
  needs: Needs, rates: Rates, layout: Layout
) -> dict[str, float]:
  """Return what each kind of job allows."""
  limits = dict(
    play=layout.num_actors / rates.play_seconds,
    control=layout.messages * needs.stretch_rows)
  if needs.updates_per_row:
    limits['learner'] = 1 / (
      needs.updates_per_row * rates.update_seconds / layout.devices)
  if layout.hosts > 1:
    each = needs.sent_share * needs.row_bytes + (
      needs.params_bytes / max(needs.stretch_rows, 1))
    limits['network'] = layout.network / 8 / each
  # What the cores of all machines must do for each row.
  cores = rates.play_core_seconds
  if rates.device == 'cpu':
    cores += needs.updates_per_row * rates.update_core_seconds
  limits['cores'] = layout.hosts * rates.cores / cores
  return limits


def _traffic(
  needs: Needs, layout: Layout, rows: float
) -> tuple[float, float]:
  """Return bytes and messages a second between processes."""
  if layout.num_actors:
    stretches = rows / needs.stretch_rows
    sent = rows * needs.sent_share * needs.row_bytes
    return sent + stretches * needs.params_bytes, stretches
  updates = rows * needs.updates_per_row
  if layout.hosts == 1:
    return 0.0, 0.0
  share = 2 * (layout.hosts - 1) / layout.hosts
  return updates * share * needs.params_bytes, updates * 2 * layout.hosts


def lines(found: Forecast, needs: Needs) -> list[str]:
  """Return a forecast as lines for a user."""
  limits = ', '.join(
    f'{name} {value:,.0f}' for name, value in sorted(
      found.limits.items(), key=lambda x: x[1]))
  return [
    f'{found.rows:,.0f} steps/s, {found.simulations:,.0f} simulations/s, '
    f'{found.updates:,.1f} updates/s',
    f'{needs.rows:,} steps take {found.hours:,.2f} hours',
    f'first bottleneck: {found.bottleneck} (steps/s that each part allows: '
    f'{limits})',
    f'replay {found.replay_bytes / 1e9:,.2f} GB, parameters '
    f'{needs.params_bytes / 1e6:,.2f} MB',
    f'between processes {found.network_bytes / 1e6:,.2f} MB/s in '
    f'{found.num_messages:,.1f} messages/s',
  ]
