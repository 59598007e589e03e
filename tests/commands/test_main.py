"""The installed command: dispatch, help, version and what is refused."""

import subprocess
import sys

import pytest
from absl import flags as absl_flags

import muzero_jax
from muzero_jax import config as config_lib
from muzero_jax.commands import (
  cluster,
  dataset,
  diagnose,
  evaluate,
  export,
  gtp,
  ladder,
  main,
  plan,
  play,
  report,
  train,
  tune,
)
from muzero_jax.config import command_line

_MODULES = dict(
  train=train, cluster=cluster, plan=plan, evaluate=evaluate, ladder=ladder,
  diagnose=diagnose, dataset=dataset, play=play, gtp=gtp, export=export,
  report=report, tune=tune)

# Exits with the command's status, or with 99 where it has loaded jax.
_WITHOUT_JAX = '''
import sys
from muzero_jax.commands import main
try:
  status = main.main()
except SystemExit as exited:
  status = exited.code
sys.exit(99 if {'jax', 'numpy', 'mctx'} & set(sys.modules) else status)
'''


def _call(*argv, **kwargs):
  return subprocess.run(
    [sys.executable, '-c', _WITHOUT_JAX, *argv], text=True,
    capture_output=True, **kwargs)


def test_commands_are_modules():
  assert tuple(_MODULES) == main.COMMANDS


def test_help_lists_the_commands(capsys):
  assert main.main(['muzero-jax', '--help']) == 0
  shown = capsys.readouterr().out
  for name, module in _MODULES.items():
    assert name in shown and module.__doc__.splitlines()[0] in shown
  assert max(map(len, shown.splitlines())) <= 80


def test_version(capsys):
  assert main.main(['muzero-jax', '--version']) == 0
  assert capsys.readouterr().out == f'{muzero_jax.__version__}\n'


@pytest.mark.parametrize('argv, named', [
  (['trian'], 'train'), (['evalute', '--workdir=x'], 'evaluate'),
  (['xyz'], 'ladder'), (['--preset=cartpole'], 'train'), ([], 'diagnose'),
])
def test_no_such_command(capsys, argv, named):
  assert main.main(['muzero-jax', *argv]) == 2
  shown = capsys.readouterr()
  assert shown.out == ''
  assert shown.err.startswith('error: ') and shown.err.count('\n') == 1
  assert named in shown.err


def test_the_nearest_command_is_named(capsys):
  main.main(['muzero-jax', 'lader'])
  nearest = config_lib.nearest('lader', main.COMMANDS)
  assert 'ladder' in nearest and nearest in capsys.readouterr().err


@pytest.mark.parametrize('name', main.COMMANDS)
def test_help_of_a_command(capsys, name):
  with pytest.raises(SystemExit) as exited:
    main.main(['muzero-jax', name, '--help'])
  assert exited.value.code == 0
  shown = capsys.readouterr().out
  assert shown.startswith(_MODULES[name].__doc__.splitlines()[0])
  values = absl_flags.FlagValues()
  _MODULES[name].define(values)
  assert 'workdir' in values
  for flag in values:
    assert f'--{flag}\n' in shown or f'--[no]{flag}\n' in shown


@pytest.mark.parametrize('argv, named', [
  (['train', '--num_envz=3'], '--num_envs'),
  (['train', '--preset=cartpole', '--discount=2'], 'discount'),
  (['train'], '--preset'),
  (['train', '--workdir='], '--workdir'),
  (['cluster', '--preset=cartpole', '--num_actors=0'], 'num_actors'),
  (['cluster'], '--preset'),
  (['plan', '--preset=cartpole'], 'rates, measure'),
  (['plan', '--rates=x.json'], '--preset'),
  (['evaluate', '--num_episode=3'], '--num_episodes'),
  (['evaluate'], 'config.json'),
  (['ladder', '--num_games=0'], 'num_games'),
  (['diagnose', '--num_steps=2'], 'num_steps'),
  (['dataset'], '--output'),
  (['play', '--port=70000'], 'port'),
  (['export'], '--output'),
  (['export', '--output=a.safetensors'], 'config.json'),
  (['export', '--dtype=float8'], 'bfloat16'),
  (['tune', '--preset=cartpole', '--tune=td_step=1,2'], 'td_steps'),
  (['tune'], '--preset'),
  (['train', '--preset=cartpole', '--log_to=wandbb'], 'wandb'),
])
def test_a_mistake_is_told_before_jax_is_loaded(tmp_path, argv, named):
  workdir = tmp_path / 'run'
  done = _call(argv[0], f'--workdir={workdir}', *argv[1:])
  assert done.returncode == 2, done.stderr
  assert done.stdout == ''
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert named in done.stderr
  assert not workdir.exists()


@pytest.mark.parametrize('argv', [['--help'], ['--version'], ['train', '-h']])
def test_help_needs_no_jax(argv):
  done = _call(*argv)
  assert done.returncode == 0 and done.stderr == ''


def test_commands_have_flags_of_their_own():
  """In one process, one after the other; nothing is left in absl's flags."""
  before = set(absl_flags.FLAGS)
  for name, kind in [('diagnose', 8), ('train', 9), ('diagnose', 8)]:
    values = absl_flags.FlagValues()
    _MODULES[name].define(values)
    command_line.parse(
      [name, f'--num_steps={kind}', '--workdir=x'], flag_values=values)
    assert values.num_steps == kind
  assert set(absl_flags.FLAGS) == before


def test_a_flag_that_shares_its_name_has_its_own_range(capsys):
  with pytest.raises(SystemExit):
    main.main(['muzero-jax', 'diagnose', '--num_steps=7', '--workdir=x'])
  assert '8' in capsys.readouterr().err


def test_what_a_command_returns_is_the_exit_status(monkeypatch):
  seen = []

  def run(arguments, flag_values):
    seen.append((arguments.workdir, flag_values.index))
    return 5

  monkeypatch.setattr(ladder, 'run', run)
  with pytest.raises(SystemExit) as exited:
    main.main(['muzero-jax', 'ladder', '--workdir=x', '--index=3'])
  assert exited.value.code == 5 and seen == [('x', 3)]


def test_a_page_without_pillow_is_not_started(monkeypatch, capsys):
  find = play.importlib.util.find_spec
  monkeypatch.setattr(
    play.importlib.util, 'find_spec',
    lambda name: None if name == 'PIL' else find(name))
  with pytest.raises(SystemExit) as ended:
    main.run('play', ['play', '--workdir=cartpole'])
  assert ended.value.code == 1
  assert capsys.readouterr().err == (
    "error: the page needs pillow: pip install 'muzero_jax[play]'\n")
