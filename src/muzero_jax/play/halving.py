"""The rounds of Sequential Halving, read from what they have left."""

import numpy as np

from muzero_jax.search import selection


def rounds(
  visits: list[int], simulations: int
) -> list[tuple[list[int], int]]:
  """Return the rounds of Sequential Halving that left such visits.

  Args:
    visits: of each of k candidates.
    simulations: of the search.

  Returns:
    Of each round the candidates that it visited, and how often each. Its last
    round ends with the simulations, and may have visited some once less.
  """
  first = len(visits)
  if not first:
    return []
  # How many candidates get their visit number 1, 2 and so on: where that
  # changes, a new round begins.
  counts = np.bincount(selection.considered_visits(first, simulations)[first])
  starts = [0, *(1 + np.flatnonzero(np.diff(counts))), len(counts)]
  return [
    ([i for i, count in enumerate(visits) if count > start], int(stop - start))
    for start, stop in zip(starts, starts[1:])]
