"""Runs mctx's own tests with our search and policies in mctx's place.

A script, since those tests change jax's settings. Prints how many ran.
"""

import functools
import os
import pathlib
import sys
import unittest

import mctx
from mctx._src.tests import mctx_test, policies_test, tree_test

from muzero_jax import search


def main() -> int:
  # The stored trees were made with mctx's keys.
  mctx.muzero_policy = functools.partial(
    search.muzero_policy, tie_break='node'
  )
  mctx.stochastic_muzero_policy = functools.partial(
    search.stochastic_muzero_policy, tie_break='node'
  )
  mctx.gumbel_muzero_policy = search.gumbel_muzero_policy
  mctx.search = search.search
  # Where the tests look for their data.
  os.chdir(pathlib.Path(mctx.__file__).parent)
  load = unittest.defaultTestLoader.loadTestsFromModule
  # Those of its transforms and schedules call nothing that was replaced.
  suite = unittest.TestSuite(
    load(module) for module in (mctx_test, policies_test, tree_test)
  )
  result = unittest.TextTestRunner(verbosity=0).run(suite)
  print(f'ran {result.testsRun}')
  return 0 if result.wasSuccessful() else 1


if __name__ == '__main__':
  sys.exit(main())
