"""Writes a trained agent as one file.

python -m experiments.export --workdir=runs/x --output=agent.safetensors
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('export')
