"""Plays a trained agent.

python -m experiments.evaluate --workdir=runs/x
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('evaluate')
