"""Classic control, our own and gymnax's.

python -m experiments.classic --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('classic', 'gymnax'), preset='cartpole')
