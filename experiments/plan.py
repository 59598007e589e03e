"""Forecasts a run before it is paid for.

python -m experiments.plan --flagfile=... --hosts=8 --rates=gpu.json
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('plan')
