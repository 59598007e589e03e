"""What a run needs, how fast it will be, and what is read of a file."""

import dataclasses
import json

import pytest
import tiny_run

from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.drivers import by_environment
from muzero_jax.drivers.cluster import stretches
from muzero_jax.errors import UserError
from muzero_jax.planning import forecast, needs, rates
from muzero_jax.planning.forecast import Layout

# Of a row: play 1 ms, an update 10 ms, a search again 2 ms; half of a core.
RATES = rates.Rates(
  device='gpu', cores=8, play_seconds=1e-3, play_core_seconds=5e-4,
  update_seconds=1e-2, update_core_seconds=5e-3, search_seconds=2e-3,
  search_core_seconds=1e-3)


def needed(**changes):
  return needs.Needs(**{**dict(
    rows=3_600_000, rows_per_iteration=100, updates_per_row=0.1,
    simulations_per_row=16, searched_per_row=0.0, row_bytes=1_000,
    replay_bytes=10**9, params_bytes=10**6, stretch_rows=0,
    sent_share=0.0), **changes})


def test_what_a_configuration_needs():
  config = config_lib.from_preset('cartpole', num_envs=64, num_steps=1_000)
  spec = envs.spec(config)
  config = by_environment.resolve(config, spec)
  found = needs.of(config, spec, num_actors=4)
  assert found.rows == 1_000 and found.rows_per_iteration == 64 * 16
  assert found.updates_per_row == 64 / 1_024
  assert found.simulations_per_row == 16 and found.searched_per_row == 0
  # Four floats, and what else a row has.
  assert 40 < found.row_bytes < 80
  plan = stretches.make_plan(config, 4)
  assert found.stretch_rows * found.sent_share == pytest.approx(plan.num_rows)
  assert needs.of(config, spec).stretch_rows == 0
  again = dataclasses.replace(config, reanalyse_fraction=0.5)
  assert needs.of(again, spec).searched_per_row == 64 * 128 * 6 / 1_024


def test_in_lockstep_all_takes_its_turn():
  found = forecast.make(needed(), RATES, Layout())
  # 1 ms of play and a tenth of 10 ms of an update.
  assert found.rows == pytest.approx(500)
  assert found.updates == pytest.approx(50) and found.hours == pytest.approx(2)
  assert found.network_bytes == 0 and found.num_messages == 0
  two = forecast.make(needed(), RATES, Layout(devices=2))
  assert two.rows == pytest.approx(1_000)
  searched = forecast.make(needed(searched_per_row=2.0), RATES, Layout())
  assert searched.rows == pytest.approx(1 / 6e-3)
  assert searched.bottleneck == 'reanalyse'


def test_between_hosts_gradients_take_time():
  slow = Layout(hosts=2, network=1e6)
  found = forecast.make(needed(), RATES, slow)
  assert found.bottleneck == 'network'
  # 8 Mbit for each update, at 1 Mbit/s.
  assert found.updates == pytest.approx(1 / 8, rel=0.01)
  assert found.network_bytes == pytest.approx(found.updates * 1e6)


@pytest.mark.parametrize('layout, changes, part, rows', [
  (Layout(num_actors=1), {}, 'learner', 1_000),
  (Layout(num_actors=1), dict(updates_per_row=0.0), 'play', 1_000),
  (Layout(num_actors=1, devices=2), dict(updates_per_row=0.01), 'play', 1_000),
  (Layout(num_actors=100), dict(updates_per_row=0.001), 'learner', 100_000),
  (Layout(num_actors=100), dict(updates_per_row=0.0), 'cores', 16_000),
  (Layout(num_actors=9, messages=1), dict(stretch_rows=800), 'control', 800),
  (Layout(num_actors=9, hosts=2, network=8e5), {}, 'network', 1e5 / 2_250),
])
def test_with_players_the_slowest_part_decides(layout, changes, part, rows):
  found = forecast.make(needed(**{
    **dict(stretch_rows=1_000, sent_share=1.25), **changes}), RATES, layout)
  # Of `learner` and `play` with equal limits either may be named.
  assert found.limits[part] == pytest.approx(rows)
  assert found.rows == pytest.approx(min(found.limits.values()))
  if len({round(x) for x in found.limits.values()}) == len(found.limits):
    assert found.rows <= rows


def test_a_cpu_that_learns_has_fewer_cores_to_play():
  layout = Layout(num_actors=100)
  given = needed(stretch_rows=1_000, sent_share=1.0)
  alone = dataclasses.replace(RATES, device='cpu')
  assert forecast.make(given, alone, layout).limits['cores'] == (
    pytest.approx(8 / (5e-4 + 0.1 * 5e-3)))


def test_lines_name_the_bottleneck():
  given = needed()
  text = '\n'.join(
    forecast.lines(forecast.make(given, RATES, Layout()), given))
  assert '500 steps/s' in text and '2.00 hours' in text
  assert 'first bottleneck' in text


@pytest.mark.parametrize('text', [
  '', '[]', '{"device": "cpu"}', '{"device": 1}', 'x' * 100,
  json.dumps({**dataclasses.asdict(RATES), 'cores': 'many'}),
  json.dumps({**dataclasses.asdict(RATES), 'play_seconds': -1}),
])
def test_a_file_that_holds_no_rates_is_refused(tmp_path, text):
  path = tmp_path / 'rates.json'
  path.write_text(text)
  with pytest.raises(UserError, match='rates = '):
    rates.read(path)
  with pytest.raises(UserError, match='rates = '):
    rates.read(tmp_path / 'none.json')


def test_rates_are_measured_written_and_read_again(tmp_path, monkeypatch):
  monkeypatch.setattr(rates, '_LEAST_SECONDS', 0.05)
  config = tiny_run.config(reanalyse_fraction=0.5)
  found = rates.measure(
    by_environment.resolve(config, envs.spec(config)), envs.make)
  assert 0 < found.play_seconds < 0.1 and 0 < found.update_seconds < 10
  assert 0 < found.search_seconds < 0.1
  rates.write(tmp_path / 'rates.json', found)
  assert rates.read(tmp_path / 'rates.json') == found


def test_the_command_reads_rates(tmp_path, capsys):
  rates.write(tmp_path / 'rates.json', RATES)
  done = tiny_run.answer(
    capsys, 'plan', '--preset=cartpole', '--hosts=8',
    f'--rates={tmp_path / "rates.json"}', f'--workdir={tmp_path / "no"}')
  assert done.returncode == 0, done.stderr
  assert 'hours of 200M and of 20,000M frames' in done.stdout
  assert '8 x 1: ' in done.stdout
