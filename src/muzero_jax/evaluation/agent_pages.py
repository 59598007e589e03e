"""Agents' cards as Markdown: one beside each file, and one for the Hub."""

import json
from collections.abc import Sequence

from muzero_jax.runs.agent_card import Card, CardScore
from muzero_jax.runs.agent_file import AgentFile


def describe(score: CardScore) -> str:
  """Returns a score in words."""
  interval = f'95 % interval {score.low:.2f} to {score.high:.2f}'
  if score.opponent:
    return (
      f'against {score.opponent}: {score.wins} won, {score.draws} drawn, '
      f'{score.losses} lost of {score.num_episodes}; mean outcome '
      f'{score.mean:.2f} ({interval}), seed {score.seed}')
  return (
    f'return {score.mean:.2f} ({interval}) over {score.num_episodes} episodes, '
    f'seed {score.seed}')


def page(
  name: str, found: AgentFile, num_bytes: int, sha256: str, *, level: int = 1
) -> str:
  """Returns a card as Markdown.

  Args:
    name: of the agent; a path for `agent.load`, or a shipped agent's name.
    found: what its file says.
    num_bytes: of the file.
    sha256: of the file.
    level: of the heading.
  """
  card = found.card
  rounded = '' if found.dtype == 'float32' else (
    f', rounded to {found.dtype}: the score is that of the rounded ones')
  total = found.config.total_steps
  of_all = f' of {total:,}' if found.step < total else ''
  trained = f'{found.step:,}{of_all} {card.unit}, agent {card.agent}, by'
  lines = [
    f'{"#" * level} {name}',
    '',
    f'A MuZero agent for `{card.environment}` (licence of the environment: '
    f'{card.environment_licence}). Play is greedy, without noise, with '
    f'{card.num_simulations} simulations a move.',
    '',
    *(f'- Score: {describe(score)}' for score in card.scores),
    *_random_play(card),
    f'- Parameters: {card.num_parameters:,}{rounded}; licence {card.licence}',
    f'- File: {num_bytes:,} bytes, SHA-256 `{sha256}`',
    *([f'- Commit: `{card.commit}`'] if card.commit else []),
    f'- Exported on {card.date} with '
    f'{", ".join(f"{name} {text}" for name, text in card.versions.items())}',
    f'- Trained for {trained}',
    '',
    '```',
    card.command,
    '```',
    '',
  ]
  return '\n'.join(lines)


def usage(name: str, env: str) -> str:
  """Returns how an agent is used, as Markdown."""
  return '\n'.join([
    '```python', 'from muzero_jax import agent', '',
    f'player = agent.load({name!r})',
    f'action = player.act(observation)  # A frame of {env}.', '```', ''])


def hub_page(
  name: str, file_name: str, found: AgentFile, num_bytes: int, sha256: str
) -> str:
  """Returns the README.md of a model on the Hub: front matter, then the card.

  Args:
    name: of the agent.
    file_name: of its file, beside this page.
    found: what its file says.
    num_bytes: of the file.
    sha256: of the file.
  """
  card = found.card
  text = json.dumps  # A text of JSON is one of YAML.
  metrics = [line for score in card.scores for line in (
    f'    - type: {_metric(score)}',
    f'      name: {text(_metric_name(score))}',
    f'      value: {score.mean:.4f}',
  )]
  front = [
    '---', 'library_name: muzero_jax', f'license: {card.licence.lower()}',
    'tags:', '- reinforcement-learning', '- deep-reinforcement-learning',
    '- muzero', '- jax', f'- {text(card.environment)}',
    'model-index:', f'- name: {text(name)}', '  results:', '  - task:',
    '      type: reinforcement-learning', '      name: reinforcement-learning',
    '    dataset:', f'      name: {text(card.environment)}',
    f'      type: {text(card.environment)}', '    metrics:', *metrics, '---',
    '']
  return '\n'.join(front) + '\n' + '\n'.join([
    page(name, found, num_bytes, sha256),
    usage(file_name, card.environment)])


def table(agents: Sequence[tuple[str, AgentFile, int]]) -> str:
  """Returns agents as a table in Markdown.

  Args:
    agents: of each its name, what its file says, and its bytes.
  """
  lines = [
    '| Name | Environment | Score | Random play | Trained for | Simulations | '
    'Kilobytes | Licence of the environment |',
    '|---|---|---|---|---|---|---|---|']
  for name, found, num_bytes in agents:
    card = found.card
    scores = '; '.join(map(_short, card.scores))
    chance = f'{card.random_play[0]:.2f}' if card.random_play else ''
    lines.append(
      f'| `{name}` | {card.environment} | {scores} | {chance} | '
      f'{found.step:,} {card.unit} | {card.num_simulations} | '
      f'{num_bytes / 1000:.0f} | {card.environment_licence} |')
  return '\n'.join(lines) + '\n'


def _short(score: CardScore) -> str:
  """Returns a score in the words of a table."""
  if score.opponent:
    return (f'{score.wins} won, {score.draws} drawn, {score.losses} lost '
            f'against {score.opponent}')
  return f'{score.mean:.2f} ({score.low:.2f} to {score.high:.2f})'


def _random_play(card: Card) -> list[str]:
  if not card.random_play:
    return []
  mean, error = card.random_play
  return [f'- Random play: return {mean:.2f} +- {error:.2f} (standard error)']


def _metric(score: CardScore) -> str:
  return 'mean_outcome' if score.opponent else 'mean_reward'


def _metric_name(score: CardScore) -> str:
  against = f' against {score.opponent}' if score.opponent else ''
  return (
    f'{_metric(score)}{against}, {score.low:.2f} to {score.high:.2f} (95 %), '
    f'{score.num_episodes} episodes')
