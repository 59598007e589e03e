"""benchmarks.environments: its page is what its results say."""

import json

from benchmarks import environments
from muzero_jax.config import settings


def test_the_page_is_written_from_the_results():
  results = json.loads(environments.RESULT.read_text())
  assert environments.PAGE.read_text(encoding='utf-8') == environments.page(
    results)
  assert all(one['right'] for one in results['trials'])


def test_every_family_is_tried():
  fields = settings.Environment.__dataclass_fields__
  assert set(environments.ENVIRONMENTS) == set(
    fields['family'].metadata['choices'])
  names = [name for names in environments.ENVIRONMENTS.values()
           for name in names]
  assert len(names) > 60


def test_a_refusal_and_a_run_are_told_apart(tmp_path):
  found = environments._run(environments.command(
    'classic', 'cartpoles', tmp_path / 'run', 10), 60)
  assert found['status'] == 2 and found['lines'] == 1
  assert found['error'].endswith('nearest: cartpole')
