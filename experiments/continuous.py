"""Continuous control by Sampled MuZero, gymnax's and Brax's tasks.

python -m experiments.continuous --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('continuous', 'physics'), preset='pendulum')
