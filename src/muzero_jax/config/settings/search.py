"""Settings of the search: Gumbel or pUCT, and over which actions."""

import dataclasses

from muzero_jax.config.settings.base import Record, field
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulations(Record):
  """The size of a search."""

  num_simulations: int = field(
    16, 'Simulations per search.', low=1, high=10_000)
  max_depth: int = field(
    0, 'Deepest node of the tree; 0 for no limit.', low=0, high=10_000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gumbel(Simulations):
  """Gumbel MuZero: Sequential Halving and the improved policy."""

  max_considered_actions: int = field(
    16, 'Gumbel: actions considered at the root.', low=1, high=10_000)
  gumbel_value_scale: float = field(
    0.1, 'Gumbel: c_scale of sigma(q); 0.1 on Atari, 1 on boards.', low=0)
  gumbel_min_range: float = field(
    1e-8, 'Gumbel: q-values of a node are scaled to [0, 1], but never by less '
    'than this: what differs less is noise and must not decide. In units of '
    'reward; 0 to measure it while playing.',
    low=0)
  gumbel_prior_weight: float = field(
    1.0, 'Gumbel: weight of the network\'s logits in the policy target; below '
    '1 the policy stays open between actions of nearly equal value.',
    low=0, high=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PUCT(Simulations):
  """MuZero: pUCT, visit counts and Dirichlet noise at the root."""

  q_normalisation: str = field(
    'siblings', 'MuZero search: q scaled over a node\'s own children or over '
    'the whole tree.', choices=('siblings', 'tree'))
  pb_c_init: float = field(1.25, 'MuZero search: c1 of pUCT.', low=0)
  pb_c_base: float = field(19_652.0, 'MuZero search: c2 of pUCT.', low=1)
  dirichlet_alpha: float = field(
    0.25, 'MuZero search: root noise, legal actions only.', low=1e-6)
  dirichlet_fraction: float = field(
    0.25, 'MuZero search: share of root noise.', low=0, high=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling(Record):
  """Sampled MuZero: the candidates that a search is over."""

  num_sampled_actions: int = field(
    0, 'Sampled MuZero: actions drawn at each node, over which the search then '
    'is (20 there), as continuous actions need; 0 for all actions.', low=0,
    high=1_000)
  proposal_temperature: float = field(
    1.0, 'num_sampled_actions: temperature of the policy that they are drawn '
    'from; above 1 it is wider than the policy.', low=0.01, high=100)
  policy_head: str = field(
    'categorical', 'num_sampled_actions: distribution of the policy; discrete '
    'actions are categorical, continuous ones a squashed Gaussian.',
    choices=('categorical', 'tanh_gaussian'))

  def _check(self) -> None:
    if self.num_sampled_actions == 1:
      raise UserError(
        'num_sampled_actions = 1 leaves no choice: allowed are 0, for all '
        'actions, and 2 or more')
    for name, off in (
      ('policy_head', 'categorical'), ('proposal_temperature', 1),
    ):
      if getattr(self, name) != off and not self.num_sampled_actions:
        raise UserError(
          f'{name} = {getattr(self, name)!r} does nothing without '
          f'num_sampled_actions; allowed is {off!r}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Gumbel, PUCT, Sampling):
  """Which search, and the settings of either."""

  search: str = field('gumbel', 'Search policy.', choices=(
    'gumbel', 'muzero'))
