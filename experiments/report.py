"""Writes one page about one or several runs.

python -m experiments.report --workdir=runs/a [--workdir=runs/b]
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('report')
