"""Continuous control by Sampled MuZero, gymnax's and Brax's tasks.

python -m experiments.continuous --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('continuous', 'physics'), preset='pendulum')
