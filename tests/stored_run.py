"""A run directory as training leaves it, without its checkpoints."""

import json
import pathlib

from muzero_jax.runs import run_dir


def evaluation(mean):
  """What evaluation.json says of one agent."""
  return dict(
    environment='classic/cartpole', step=1000, num_episodes=2,
    num_simulations=4, mean=mean, standard_error=1.0, min=1.0, max=9.0,
    returns=[1.0, 9.0])


def store(workdir, config, *, num_rows=3, evaluated=True):
  """Writes config.json, metrics.jsonl and evaluation.json of 1,000 steps."""
  workdir = pathlib.Path(workdir)
  run_dir.store(workdir, config)
  agents = range(config.num_seeds)
  apart = min(10, 1000 // max(num_rows, 1))
  rows = [
    {'step': 1000 - apart * (num_rows - 1 - i), 'seconds': i + 1.5,
     'updates': 4 * i, 'return': float(i)}
    | {f'return_of_agent/{k}': 100.0 * k + i for k in agents}
    for i in range(num_rows)
  ]
  rows.append({'step': 1000, 'seconds': 99.0, 'eval_return': 5.0})
  (workdir / 'metrics.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows))
  found = evaluation(5.0)
  if config.num_seeds > 1:
    found = dict(mean=5.0, confidence=1.0,
                 agents=[evaluation(float(k)) for k in agents])
  if evaluated:
    (workdir / 'evaluation.json').write_text(json.dumps(found))
