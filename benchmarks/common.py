"""What every benchmark says about itself, and where it says it."""

import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from typing import Any

import jax

PACKAGES = ('jax', 'jaxlib', 'flax', 'mctx', 'optax', 'numpy')


def machine() -> dict[str, Any]:
  """Returns hardware and versions, without names of hosts or paths."""
  return {'hardware': hardware(), 'versions': versions(PACKAGES)}


def hardware() -> dict[str, Any]:
  """Returns the processor, its cores and jax's devices."""
  model = platform.processor() or platform.machine()
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  if cpuinfo.exists():
    for line in cpuinfo.read_text().splitlines():
      if line.startswith('model name'):
        model = line.split(':', 1)[1].strip()
        break
  devices = jax.devices()
  return {
    'cpu': model,
    'cores': os.cpu_count(),
    'devices': f'{len(devices)} x {devices[0].device_kind}',
  }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
  """Returns the installed versions of packages, and Python's."""
  found = {'python': platform.python_version()}
  for package in packages:
    found[package] = importlib.metadata.version(package)
  return found


def argv() -> list[str]:
  """Returns the command line's arguments."""
  return sys.argv[1:]


def store(path: pathlib.Path, name: str, result: dict[str, Any]) -> None:
  """Adds a result to a JSON file under its name."""
  results = json.loads(path.read_text()) if path.exists() else {}
  results[name] = result
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(results, indent=1) + '\n')
