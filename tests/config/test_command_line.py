"""Command lines: what wins, what is refused, and what a refusal looks like."""

import json
import os
import pathlib
import resource
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from muzero_jax import config as config_lib
from muzero_jax.config import Config, command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir


@pytest.fixture(name='parse')
def _parse(tmp_path):
  def parse(*argv, defaults='atari_tiny'):
    values = absl_flags.FlagValues()
    command_line.define(
      defaults=defaults, workdir=str(tmp_path / 'run'), flag_values=values)
    return command_line.parse(['program', *argv], flag_values=values)
  return parse


def _write(path: pathlib.Path, *lines: str) -> str:
  path.write_text('\n'.join(lines) + '\n')
  return f'--flagfile={path}'


def _resolve_and_store(workdir, *arguments):
  config = run_dir.resolve(workdir, *arguments)
  run_dir.store(workdir, config)
  return config


def test_every_field_is_a_flag(parse):
  expected = config_lib.from_preset('atari_muzero', seed=7)
  argv = []
  for name in config_lib.FIELDS:
    value = getattr(expected, name)
    if isinstance(value, tuple):
      value = ','.join(map(str, value))
    argv.append(f'--{name}={value}')
  arguments = parse(*argv)
  assert Config(**arguments.given) == expected


def test_later_wins_over_flagfile_over_preset_over_default(parse, tmp_path):
  flagfile = _write(
    tmp_path / 'a.flags', '# a comment', '', '--num_envs=8', '--seed=5',
    '--nograyscale', '--temperature=1,0.5,0', '--temperature_at=0,0.2,0.4')
  config = _resolve_and_store(*parse(flagfile, '--seed=6'))
  assert config == config_lib.from_preset(
    'atari_tiny', num_envs=8, seed=6, grayscale=False,
    temperature=(1, 0.5, 0), temperature_at=(0, 0.2, 0.4))
  assert parse('--seed=6', flagfile).given['seed'] == 5
  assert parse('--preset=cartpole').base == config_lib.from_preset('cartpole')


@pytest.mark.parametrize('text, value', [
  ('80k', 80_000), ('1K', 1000), ('1.5k', 1500), ('2m', 2_000_000),
  ('0.25M', 250_000), ('3_0', 30), ('1e3', 1000)])
def test_thousands_and_millions_have_letters(parse, text, value):
  given = parse(f'--num_steps={text}').given
  assert given == dict(num_steps=value)
  assert type(given['num_steps']) is int


@pytest.mark.parametrize('text', ['k', '1kk', '1.0001k', '1g', 'm1', '-1k'])
def test_letters_that_mean_no_number(parse, text):
  with pytest.raises(UserError, match='num_steps = .* is not a whole number'):
    parse(f'--num_steps={text}')


def test_numbers_as_people_write_them(parse):
  given = parse('--num_steps=1e6', '--replay_capacity=50_000',
                '--discount=1', '--learning_rate=1e-3').given
  assert given == dict(num_steps=1_000_000, replay_capacity=50_000,
                       discount=1.0, learning_rate=1e-3)
  assert type(given['num_steps']) is int


def test_an_environment_may_have_a_preset_of_its_own(parse):
  base = lambda *argv, **kwargs: parse(*argv, **kwargs).base
  of = config_lib.from_preset
  assert base('--env_id=backgammon', defaults='2048') == of('backgammon')
  assert base('--env_id=othello', defaults='tic_tac_toe') == of('tic_tac_toe')
  # Whoever names a preset gets it.
  assert base(
    '--env_id=backgammon', '--preset=2048', defaults='2048') == of('2048')
  # Another family may have an environment of that name.
  assert base(
    '--env_id=connect_four', '--family=pettingzoo', defaults='tic_tac_toe'
  ) == of('tic_tac_toe')
  for (family, env_id), name in config_lib.presets.MADE_FOR.items():
    assert (of(name).family, of(name).env_id) == (family, env_id)


def test_defaults_may_be_a_config(parse):
  config = Config(seed=3)
  assert _resolve_and_store(*parse(defaults=config)) == config


@pytest.mark.parametrize('argv, words', [
  (['--num_envz=3'], 'unknown flag --num_envz; did you mean --num_envs?'),
  (['--nograyscal'], 'unknown flag --nograyscal; did you mean --grayscale?'),
  (['--flagfile=/nowhere/x.flags'], 'flagfile cannot be read: No such file'),
  (['--flagfile=/'], "flagfile cannot be read: '/' is no plain"),
  (['--flagfile='], '--flagfile= names no file'),
  (['--num_envs=0'], 'num_envs = 0 is not a whole number from 1 to 1048576'),
  (['--num_envs=x'], "num_envs = 'x' is not a whole number"),
  (['--num_envs=2.5'], 'num_envs = 2.5 is not a whole number'),
  (['--grayscale=7'], "grayscale = '7' is not true or false"),
  (['--discount=nan'], 'discount = nan is not a number from 0 to 1'),
  (['--temperature=1,a'], "temperature = '1,a' is not one or more numbers"),
  (['--search=gumble'], "search = 'gumble' is not one of gumbel, muzero"),
  (['--preset=atari_tinny'], 'did you mean atari_tiny?'),
  (['--seed'], 'seed'),
  (['num_envs=3'], "unexpected argument 'num_envs=3'"),
  (['--workdir='], '--workdir is needed'),
])
def test_refusals(parse, argv, words):
  with pytest.raises(UserError) as refusal:
    parse(*argv)
  assert words in str(refusal.value)
  assert '\n' not in str(refusal.value)


def test_binary_flagfile(parse, tmp_path):
  path = tmp_path / 'x.flags'
  path.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(UserError, match='flagfile cannot be read'):
    parse(f'--flagfile={path}')


def test_resume_takes_the_stored_config(parse):
  first = _resolve_and_store(*parse('--seed=3', '--num_steps=1000'))
  assert _resolve_and_store(*parse()) == first
  assert _resolve_and_store(*parse('--seed=3', '--num_steps=1000')) == first
  longer = _resolve_and_store(*parse('--num_steps=2000'))
  assert config_lib.diff(first, longer) == {'num_steps': (1000, 2000)}
  assert run_dir.read_config(parse().workdir) == longer


def test_resume_refuses_another_configuration(parse):
  arguments = parse('--seed=3')
  _resolve_and_store(*arguments)
  path = pathlib.Path(arguments.workdir) / run_dir.CONFIG_FILE
  stored = path.read_bytes()
  with pytest.raises(UserError, match=(
      'grayscale is true there and false here, seed is 3 there and 4 here')):
    _resolve_and_store(*parse('--seed=4', '--nograyscale', '--num_steps=9'))
  with pytest.raises(UserError, match='family is atari there and classic'):
    _resolve_and_store(*parse('--preset=cartpole'))
  assert path.read_bytes() == stored
  # The preset's own num_steps is no wish to change the run's.
  _resolve_and_store(*parse('--num_steps=9'))
  config = _resolve_and_store(*parse('--preset=atari_tiny', '--seed=3'))
  assert config.num_steps == 9


@pytest.mark.parametrize('text, words', [
  ('', 'not a configuration'),
  ('{"num_envz": 3}', 'num_envs'),
])
def test_damaged_config_is_kept_and_named(parse, text, words):
  arguments = parse()
  path = pathlib.Path(arguments.workdir) / run_dir.CONFIG_FILE
  path.parent.mkdir()
  path.write_text(text)
  with pytest.raises(UserError, match=f'config.json.*{words}'):
    _resolve_and_store(*arguments)
  assert path.read_text() == text


def test_workdirs_that_cannot_be_used(parse, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'):
    _resolve_and_store(*parse(f'--workdir={tmp_path}/file'))
  with pytest.raises(UserError, match='cannot be written'):
    _resolve_and_store(*parse(f'--workdir={tmp_path}/file/below'))
  with pytest.raises(UserError, match='cannot be written'):
    _resolve_and_store(*parse('--workdir=/proc/run'))
  (tmp_path / 'other' / 'checkpoints').mkdir(parents=True)
  with pytest.raises(UserError, match='but no config.json'):
    _resolve_and_store(*parse(f'--workdir={tmp_path}/other'))


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_read_only_workdir(parse, tmp_path):
  (tmp_path / 'run').mkdir(mode=0o500)
  with pytest.raises(UserError, match='cannot be written: permission denied'):
    _resolve_and_store(*parse())


def test_sizes_that_do_not_fit_leave_no_directory(parse, tmp_path):
  with pytest.raises(UserError, match='replay_capacity'):
    _resolve_and_store(*parse('--num_envs=1000000'))
  assert not (tmp_path / 'run').exists()


def test_config_json_is_plain_json(parse):
  arguments = parse()
  _resolve_and_store(*arguments)
  text = (pathlib.Path(arguments.workdir) / run_dir.CONFIG_FILE).read_text()
  assert json.loads(text)['env_id'] == arguments.base.env_id
  assert os.listdir(arguments.workdir) == [run_dir.CONFIG_FILE]


SCRIPT = '''"""Does nothing."""
from muzero_jax import errors
from muzero_jax.config import command_line
from muzero_jax.runs import run_dir
command_line.define(defaults='cartpole', workdir='run')
def main(arguments):
  config = run_dir.resolve(*arguments)
  run_dir.store(arguments.workdir, config)
  if config.seed == 1:
    raise errors.UserError('two\\nlines')
  if config.seed == 2:
    {}['no such key']
  if config.seed == 3:
    int('x' * 3)
  if config.seed == 4:
    raise errors.NotFiniteError('not finite')
  if config.seed == 5:
    raise errors.RunError('disk full')
  if config.seed == 6:
    raise ValueError('of our own')
if __name__ == '__main__':
  command_line.run(main)
'''


def _run(tmp_path, *argv):
  (tmp_path / 'script.py').write_text(SCRIPT)
  start = _children_seconds()
  done = subprocess.run(
    [sys.executable, 'script.py', *argv], cwd=tmp_path, text=True,
    capture_output=True)
  return done, _children_seconds() - start


def _children_seconds():
  """Processor time: wall-clock would fail on a busy machine."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


@pytest.mark.parametrize('argv, status, line', [
  (['--num_envz=3'], 2, 'error: unknown flag --num_envz; did you mean'),
  (['--flagfile=none.flags'], 2, 'error: flagfile cannot be read: No such'),
  (['--num_envs=0'], 2, 'error: num_envs = 0 is not a whole number'),
  (['--workdir=/proc/x'], 2, 'error: workdir /proc/x cannot be written'),
  (['--seed=1'], 2, 'error: two lines'),
  (['--seed=4'], 1, 'error: not finite'),
  (['--seed=5'], 1, 'error: disk full'),
])
def test_a_mistake_is_one_line_and_quick(tmp_path, argv, status, line):
  done, seconds = _run(tmp_path, *argv)
  assert done.returncode == status
  assert done.stdout == ''
  assert done.stderr.startswith(line) and done.stderr.count('\n') == 1
  assert seconds < 2


@pytest.mark.parametrize('seed, error', [
  (2, 'KeyError'), (3, 'ValueError'), (6, 'ValueError: of our own')])
def test_a_defect_keeps_its_traceback(tmp_path, seed, error):
  done, _ = _run(tmp_path, f'--seed={seed}')
  assert done.returncode == 1
  assert 'Traceback' in done.stderr and error in done.stderr


def test_run_succeeds_and_helps(tmp_path):
  done, _ = _run(tmp_path)
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
  assert run_dir.read_config(tmp_path / 'run') == config_lib.from_preset(
    'cartpole')
  done, _ = _run(tmp_path, '--help')
  assert done.returncode == 0 and done.stdout.startswith('Does nothing.')
  assert 'A number from 0 to 1; 0.997 by default.' in done.stdout


def test_jax_is_not_needed_to_refuse_a_mistake():
  code = ('import sys; from muzero_jax.config import command_line;'
          'sys.exit("jax" in sys.modules)')
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_help_lists_flags_by_parts_and_the_familys_own_first():
  def sections(preset):
    flag_values = absl_flags.FlagValues()
    command_line.define(defaults=preset, flag_values=flag_values)
    text = command_line._help('Usage.', flag_values)
    return [part.splitlines() for part in text.split('\n\n')]

  for preset, mine, other in (
    ('gymnasium', '--vectorisation', '--frame_size'),
    ('atari_tiny', '--frame_size', '--vectorisation')):
    found = sections(preset)
    titles = [part[0] for part in found]
    assert titles[:2] == ['Usage.', 'Flags:'] and len(titles) == 19
    assert titles[-1] == 'Of other families of environments:'
    place = {
      name: number for number, part in enumerate(found)
      for name in (mine, other) if f'  {name}' in part}
    assert place[mine] == titles.index(
      'Which environment, and how it is played.')
    assert place[other] == len(found) - 1
  names = [line.strip() for part in sections('gymnasium') for line in part
           if line.startswith('  --')]
  assert len(names) == len(set(names))
  bare = {name.removeprefix('--').removeprefix('[no]') for name in names}
  assert set(config_lib.FIELDS) < bare
