"""Compares what a trained agent's model imagines with what really follows.

python -m experiments.diagnose --workdir=runs/x
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('diagnose')
