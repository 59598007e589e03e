"""Each mistake through the real command line: one line, nothing lost."""

import re
import signal
import subprocess
import sys

import jax.numpy as jnp
import pytest
import tiny_game
import tiny_run

from benchmarks.drills import lives
from muzero_jax.evaluation import gtp
from muzero_jax.runs import checkpoint, lock, run_dir

# Mistakes that flags alone show are in test_flags; these need the package.
MISTAKES = {
  'unknown flag': (
    'classic', ['--num_envz=3'], 'unknown flag --num_envz; did you mean '
    '--num_envs?'),
  'missing flagfile': (
    'classic', ['--flagfile=none.flags'], 'none.flags|No such file'),
  'out of range': (
    'classic', ['--discount=1.5'],
    'discount = 1.5 is not a number from 0 to 1'),
  'unknown game': (
    'atari', ['--env_id=pongg'], "no atari environment 'pongg'; .*pong"),
  'game of another family': (
    'board', ['--family=classic'], "family = 'classic' is not one of board"),
  'a grid that cannot be turned': (
    'classic', ['--augment_symmetry'],
    'augment_symmetry = True: the symmetries of classic/cartpole are not'),
  'turns that nothing predicts': (
    'stochastic', ['--preset=backgammon', '--chance_codes=0'],
    'chance_codes=0: players of stochastic/backgammon do not alternate'),
  'devices that do not divide': (
    'classic', ['--num_devices=3'], 'not a multiple of num_devices = 3'),
  'devices that are not there': (
    'classic', ['--num_devices=64'], 'num_devices.*64'),
  'network and observations': (
    'classic', ['--network=board_resnet'], 'board_resnet.*needs images.*'
    r'\(4,\)'),
  'replay larger than memory': (
    'classic', ['--replay_capacity=1e12'], 'replay_capacity = 1000000000000'
    '.*GB are free'),
}


def run(script, *argv, **kwargs):
  return tiny_run.call(
    [sys.executable, '-m', f'experiments.{script}', *argv], **kwargs)


@pytest.mark.parametrize('name', MISTAKES)
def test_one_line_and_no_directory(tmp_path, name):
  script, argv, words = MISTAKES[name]
  workdir = tmp_path / 'run'
  done = run(script, f'--workdir={workdir}', *argv)
  _check_refusal(done, 2, words)
  assert not workdir.exists()
  # But for the word that something is loaded, nothing is said before.
  assert len(done.stdout.splitlines()) <= 1


def _check_refusal(done, status, words):
  assert done.returncode == status, done.stderr
  assert tiny_run.is_plain_line(done.stderr), done.stderr
  assert re.search(words, done.stderr), done.stderr


@pytest.mark.parametrize('where', ['file', 'file/below', '/proc/run'])
def test_unwritable_workdir(tmp_path, where):
  (tmp_path / 'file').write_text('mine')
  done = run('classic', f'--workdir={tmp_path / where}')
  _check_refusal(done, 2, 'workdir .* cannot be written')
  assert tiny_run.snapshot(tmp_path) == {'file': b'mine'}


@pytest.fixture(scope='module')
def go_run(tmp_path_factory):
  """The run directory of an agent that plays Go, with one snapshot."""
  workdir = tmp_path_factory.mktemp('go')
  config = tiny_game.config(env_id='go_9x9', augment_symmetry=False)
  tiny_game.store(workdir, config, snapshot_steps=(3,), step=3)
  return workdir


@pytest.mark.parametrize('script', ['evaluate', 'ladder'])
@pytest.mark.parametrize('opponent, status, words', [
  ('gnugo:1', 1, 'gnugo is not installed: it is neither on PATH nor in'),
  ('gnugo:99', 2, "'gnugo:99': its level must be a whole number from 1 to 10"),
  ('snapshot:7', 2, 'snapshot = 7: workdir .* nearest of its 1 is 3'),
  ('run:nowhere', 2, 'workdir nowhere is not a run directory'),
  ('alphago', 2, "'alphago' is not one of random, one_ply, mcts or"),
])
def test_opponents_that_are_not_there(
    go_run, script, opponent, status, words, monkeypatch, capsys):
  monkeypatch.setenv('PATH', '/nowhere')
  monkeypatch.setattr(gtp, '_MORE_PLACES', ('/nowhere/games',))
  before = tiny_run.snapshot(go_run)
  done = tiny_run.answer(
    capsys, script, f'--workdir={go_run}', f'--opponent={opponent}')
  _check_refusal(done, status, words)
  assert tiny_run.snapshot(go_run) == before


MISSING = '''
import sys
sys.modules['ale_py'] = None
sys.argv[0] = 'atari'
from muzero_jax.commands import train
train.main(families=('atari',), preset='atari_tiny')
'''


def test_missing_package_says_what_to_install(tmp_path):
  done = tiny_run.call(
    [sys.executable, '-c', MISSING, f'--workdir={tmp_path / "run"}'])
  _check_refusal(
    done, 1, r"family 'atari' needs ale-py: pip install \"muzero_jax\[atari\]")
  assert not (tmp_path / 'run').exists()


def test_workdir_of_another_configuration(tmp_path):
  run_dir.store(tmp_path, tiny_run.config())
  before = tiny_run.snapshot(tmp_path)
  done = tiny_run.call(
    tiny_run.command(tmp_path, seed=3, td_steps=7, num_steps=9))
  _check_refusal(done, 2, (
    'belongs to a run with another configuration: td_steps is 3 there and 7 '
    'here, seed is 0 there and 3 here'))
  assert tiny_run.snapshot(tmp_path) == before


def test_workdir_in_use(tmp_path):
  workdir = tmp_path / 'run'
  with lock.hold(workdir):
    done = tiny_run.call(tiny_run.command(workdir))
  _check_refusal(done, 2, 'workdir .*run is in use: another process')
  assert [*tiny_run.snapshot(workdir)] == [lock.LOCK_FILE]


def _harm(workdir, step, harm):
  """Harms the largest file of a checkpoint."""
  directory = workdir / 'checkpoints' / f'{step:012d}'
  path = max(
    (p for p in directory.rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(
    {'flip': data, 'truncate': data[:-9], 'empty': b''}[harm])


def test_damaged_checkpoints(tmp_path):
  workdir = tmp_path / 'run'
  tiny_run.store(workdir, tiny_run.config(), steps=(100, 200))
  _harm(workdir, 200, 'flip')
  # At its last step already, so that nothing has to be compiled.
  argv = tiny_run.command(workdir, num_steps=50)
  done = tiny_run.call(argv)
  assert done.returncode == 0 and 'Traceback' not in done.stderr
  assert re.search(
    '000000000200 is damaged .*has changed.*set aside as damaged-000000000200',
    done.stdout)
  assert 'resumed from the checkpoint at step 100' in done.stdout
  names = [path.name for path in (workdir / 'checkpoints').iterdir()]
  assert sorted(names) == ['000000000100', 'damaged-000000000200']

  _harm(workdir, 100, 'truncate')
  before = tiny_run.snapshot(workdir)
  done = tiny_run.call(tiny_run.command(workdir, num_steps=60))
  _check_refusal(done, 2, 'no checkpoint in .* is intact: set aside were '
                 'damaged-000000000100, damaged-000000000200')
  after = tiny_run.snapshot(workdir)
  assert sorted(after.values()) == sorted(before.values())
  assert after['config.json'] == before['config.json']


@pytest.mark.thorough
def test_loss_that_is_not_finite(tmp_path):
  workdir = tmp_path / 'run'
  tiny_run.store(workdir, tiny_run.config(), steps=(200,), scale=jnp.nan)
  done = tiny_run.call(tiny_run.command(workdir))
  _check_refusal(done, 1, (
    r'step \d+: 3 updates in a row had a loss or gradient that is not finite; '
    'the last checkpoint is untouched'))
  # The first iteration fills the replay, the second skips two updates: it is
  # not saved, since only what follows tells whether the run can recover.
  saved = re.findall(r'saved the checkpoint of step (\d+) ', done.stdout)
  assert [200, *map(int, saved)] == checkpoint.steps(workdir)
  assert len(saved) == 1
  state = tiny_run.restore(workdir, tiny_run.config())
  assert state.learner.num_skipped == 0


def _lines_with(lines, words):
  return [line for line in lines if words in line]


@pytest.mark.thorough
def test_sigterm_and_ctrl_c_save_and_resume(tmp_path):
  workdir, stopped_at = tmp_path / 'run', []
  for signum in (signal.SIGTERM, signal.SIGINT):
    process = subprocess.Popen(
      tiny_run.command(workdir, checkpoint_period=1e6),
      text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      preexec_fn=lives.default_signals)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
      lines.append(line)
      if len(_lines_with(lines, 'steps/s')) == 3:
        break
    process.send_signal(signum)
    out, err = process.communicate(timeout=120)
    lines += out.splitlines()
    assert process.returncode == 128 + signum, err
    assert 'Traceback' not in err
    assert lines[-1] == (
      f'stopped by {signum.name}; the same command resumes the run')
    # Nothing was due: it is the signal that made it save.
    newest = checkpoint.steps(workdir)[-1]
    saved = _lines_with(lines, 'saved the checkpoint')
    assert len(saved) == 1 and f'step {newest:,} in' in saved[0]
    resumed = _lines_with(lines, 'resumed from the checkpoint at step')
    assert [line.split()[-1] for line in resumed] == stopped_at
    stopped_at = [f'{newest:,}']
