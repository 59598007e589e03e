"""Classic control, our own and gymnax's.

python -m experiments.classic --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('classic', 'gymnax'), preset='cartpole')
