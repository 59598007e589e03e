"""What a built wheel needs: its command, every package and its data."""

import configparser
import importlib.metadata
import pathlib

import muzero_jax
from muzero_jax.commands import main

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SOURCE = _ROOT / 'src/muzero_jax'


def _setup() -> configparser.ConfigParser:
  setup = configparser.ConfigParser()
  setup.read(_ROOT / 'setup.cfg')
  return setup


def test_the_command_resolves():
  lines = _setup()['options.entry_points']['console_scripts'].split('\n')
  name, _, value = next(filter(None, lines)).partition(' = ')
  assert name == 'muzero-jax'
  entry = importlib.metadata.EntryPoint(name, value, 'console_scripts')
  assert entry.load() is main.main


def test_every_folder_with_modules_is_a_package():
  folders = {path.parent for path in _SOURCE.rglob('*.py')}
  assert len(folders) > 10
  assert [folder for folder in sorted(folders)
          if not (folder / '__init__.py').exists()] == []


def test_every_other_file_is_package_data():
  patterns = _setup()['options.package_data']['muzero_jax'].split()
  listed = {path for pattern in patterns for path in _SOURCE.glob(pattern)}
  others = {path for path in _SOURCE.rglob('*')
            if path.is_file() and path.suffix not in ('.py', '.pyc')}
  assert listed == others and len(listed) > 1
  assert _SOURCE / 'data/agents/cartpole.safetensors' in listed


def test_the_version_is_that_of_the_metadata():
  assert muzero_jax.__version__ == importlib.metadata.version('muzero_jax')
