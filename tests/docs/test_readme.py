"""The words: what README.md, BUILD.md and docs/ show exists and runs."""

import configparser
import dataclasses
import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from muzero_jax.commands import main, train
from muzero_jax.config import command_line

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_DOCUMENTS = ('README.md', 'BUILD.md', 'docs/results.md')

# Compiles the least; what a user sees is one device, not eight.
_XLA_FLAGS = (
  '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false')

# A run directory as training leaves it, for the block that loads an agent.
_MAKE_RUN = '''
import jax
from muzero_jax import config, envs
from muzero_jax.drivers import build
from muzero_jax.runs import checkpoint, run_dir
small = config.from_preset(
  'cartpole', num_blocks=0, num_channels=8, num_simulations=2)
spec = envs.make(small, num_envs=1).spec
system = build.make_system(small, spec)
params = system.model.init(
  jax.random.key(0), build.example_observation(small, spec))
learner = build.make_learner(small, spec, system).init(params)
run_dir.store('runs/cartpole', small)
checkpoint.save('runs/cartpole', 0, {'learner': learner})
'''

_RUN_BLOCKS = '''
import sys
for block in sys.argv[1:]:
  print('---', block, flush=True)
  source = open(block, encoding='utf-8').read()
  exec(compile(source, block, 'exec'), {'__name__': block})
'''


def _read(name: str) -> str:
  return (_ROOT / name).read_text(encoding='utf-8')


def _blocks(name: str, language: str) -> list[str]:
  """Returns the fenced blocks of a document."""
  return re.findall(
    rf'^```{language}\n(.*?)^```$', _read(name), re.DOTALL | re.MULTILINE)


def _commands() -> list[tuple[str, ...]]:
  """Returns the words of every command shown."""
  commands = []
  for name in _DOCUMENTS:
    for block in _blocks(name, 'bash'):
      for line in block.replace('\\\n', ' ').splitlines():
        if words := shlex.split(line, comments=True):
          commands.append(tuple(words))
  return sorted(set(commands))


def _modules() -> list[tuple[str, ...]]:
  """Returns the shown commands of ours: the module, or `muzero-jax`, and words.
  """
  found = []
  for words in _commands():
    ours = words[2:3] and words[2].startswith(('experiments.', 'benchmarks.'))
    if words[:2] == ('python', '-m') and ours:
      found.append(words[2:])
    if pathlib.PurePath(words[0]).name == 'muzero-jax':
      found.append(('muzero-jax', *words[1:]))
  return found


def test_python_blocks_run(tmp_path):
  sources = [_MAKE_RUN, *_blocks('README.md', 'python')]
  assert len(sources) == 5
  for i, source in enumerate(sources):
    (tmp_path / f'block_{i}').write_text(source, encoding='utf-8')
  done = subprocess.run(
    [sys.executable, '-c', _RUN_BLOCKS,
     *(f'block_{i}' for i in range(len(sources)))],
    cwd=tmp_path, env={**os.environ, 'XLA_FLAGS': _XLA_FLAGS},
    text=True, capture_output=True)
  assert done.returncode == 0, done.stdout + done.stderr
  # The trained agent walks to the door.
  assert done.stdout.endswith('\n1\n')
  assert (tmp_path / 'runs/corridor/evaluation.json').exists()


def test_an_environment_takes_at_most_60_lines():
  assert len(_blocks('README.md', 'python')[-1].splitlines()) <= 60


def test_commands_are_shown():
  modules = {words[0] for words in _modules()}
  assert {'experiments.atari', 'experiments.board', 'experiments.classic',
          'experiments.diagnose', 'experiments.evaluate',
          'experiments.ladder', 'experiments.minatar'} <= modules
  assert ('make', 'atari') in _commands()


def _parse(command, argv, **defaults):
  """Parses a command line with the flags of a command."""
  values = absl_flags.FlagValues()
  importlib.import_module(f'muzero_jax.commands.{command}').define(
    values, **defaults)
  return command_line.parse([command, *argv], flag_values=values)


def _script_arguments(module, argv, monkeypatch):
  """Parses a command line with the flags of its script."""
  called = {}
  monkeypatch.setattr(main, 'run', lambda name: called.update(command=name))
  monkeypatch.setattr(train, 'main', lambda **kwargs: called.update(kwargs))
  runpy.run_module(module, run_name='__main__')
  if 'command' in called:
    return _parse(called['command'], argv), called
  return _parse('train', argv, preset=called['preset']), called


@pytest.mark.parametrize('words', _modules(), ids=' '.join)
def test_commands_name_what_exists(words, monkeypatch):
  module, *argv = words
  monkeypatch.chdir(_ROOT)
  if module == 'muzero-jax':
    if argv != ['--version']:
      assert argv[0] in main.COMMANDS
      _parse(argv[0], argv[1:])
    return
  assert importlib.util.find_spec(module) is not None
  if not module.startswith('experiments.'):
    return
  arguments, called = _script_arguments(module, argv, monkeypatch)
  config = dataclasses.replace(arguments.base, **arguments.given)
  assert config.family in called.get('families', (config.family,))


def test_flags_are_named_as_they_are():
  for name in _DOCUMENTS:
    for flag in re.findall(r'`--([a-z_]+)', _read(name)):
      assert flag in {
        *command_line.config_lib.FIELDS, 'preset', 'flagfile', 'workdir',
        'help', 'opening_moves', 'restart', 'allow_import',
        'log_to', 'snapshot'}, f'{name}: --{flag}'


def test_make_targets_and_extras_exist():
  targets = re.findall(r'^(\w+):', _read('Makefile'), re.MULTILINE)
  setup = configparser.ConfigParser()
  setup.read(_ROOT / 'setup.cfg')
  for words in _commands():
    if words[0] == 'make':
      assert {word for word in words[1:] if '=' not in word} <= set(targets)
    for extras in re.findall(r'\[([\w,]+)\]', ' '.join(words)):
      assert set(extras.split(',')) <= set(
        setup['options.extras_require']), words


@pytest.mark.parametrize('name', [
  *_DOCUMENTS, 'docs/algorithm.md', 'docs/api.md', 'docs/datasets.md',
  'docs/it_does_not_learn.md', 'docs/tune.md'])
def test_links_and_paths_exist(name):
  text = _read(name)
  for path in re.findall(r'\]\(([^)#]+)\)', text):
    # The picture is drawn by a run of `make atari`.
    if '://' not in path and not path.endswith('.png'):
      assert ((_ROOT / name).parent / path).exists(), path
  for path in re.findall(
      r'`((?:tests|docs|benchmarks|src|experiments|envs)/[\w./]+)`', text):
    assert (_ROOT / path).exists() or (
      _ROOT / 'src/muzero_jax' / path).exists(), path


def _find(dotted: str):
  """Returns what "losses.policy_loss" or "search/policies.f" names."""
  found = importlib.import_module('muzero_jax')
  for part in re.split(r'[./]', dotted):
    if inspect.ismodule(found) and not hasattr(found, part):
      found = importlib.import_module(f'{found.__name__}.{part}')
    else:
      found = getattr(found, part)
  return found


def test_functions_of_the_algorithm_exist():
  text = _read('docs/algorithm.md')
  cells = re.findall(r'^\|.*\| ([^|]+) \|$', text, re.MULTILINE)
  names = [
    name for cell in cells for name in re.findall(r'`(\w[\w./]+)`', cell)]
  assert len(names) > 20
  for name in names:
    _find(name)


def test_the_api_exists_as_written():
  entries = re.findall(r'^- `([\w./]+)(?:\(([^`]*)\))?`', _read('docs/api.md'),
                       re.MULTILINE)
  assert len(entries) > 50
  for name, parameters in entries:
    found = _find(name)
    if parameters:
      shown = re.findall(r'\*?\w+', parameters.replace('...', ''))
      known = list(inspect.signature(found).parameters)
      assert [x for x in shown if x in known] == shown, name


def _public_modules() -> set[str]:
  """Returns the modules of the package, as "replay/ring.py", by its files.

  `__init__.py`, and what begins with an underscore, is not among them.
  """
  source = _ROOT / 'src/muzero_jax'
  return {
    path.relative_to(source).as_posix() for path in source.rglob('*.py')
    if not path.name.startswith('_')}


def test_the_table_of_the_source_names_every_module_once():
  rows = re.findall(
    r'^\| (.+?) \| (.+) \|$', _read('BUILD.md').split('## The source')[1],
    re.MULTILINE)
  # A folder in the first column ends in a slash; modules of no package have
  # other words there, such as "the bottom".
  named = [
    (re.findall(r'^`([\w/]+/)`$', where) or [''])[0] + module
    for where, what in rows
    for module in re.findall(r'`(\w+\.py)`', what)]
  assert len(named) > 100
  assert len(set(named)) == len(named)
  assert set(named) == _public_modules()


def test_the_api_names_every_module():
  spans = re.findall(r'`([\w.]+)', _read('docs/api.md'))
  named = {span + '.' for span in spans}
  missing = [
    module for module in sorted(_public_modules())
    if not any(
      span.startswith(module.removesuffix('.py').replace('/', '.') + '.')
      for span in named)]
  assert missing == []


def test_the_api_has_a_section_for_every_package():
  headings = re.findall(r'^#+ (.+)$', _read('docs/api.md'), re.MULTILINE)
  packages = {
    module.split('/')[0] for module in _public_modules() if '/' in module}
  assert packages <= set(re.findall(r'\w+', ' '.join(headings)))


@pytest.mark.parametrize(
  'name', ['docs/algorithm.md', 'docs/api.md', 'docs/datasets.md'])
def test_dotted_names_in_the_text_exist(name):
  packages = {module.split('/')[0] for module in _public_modules()}
  packages |= {package.removesuffix('.py') for package in packages}
  found = [
    span for span in re.findall(r'`(\w+(?:\.\w+)+)', _read(name))
    if span.split('.')[0] in packages
    and span.split('.')[-1] not in ('py', 'json', 'jsonl')]
  assert found
  for span in found:
    _find(span)
