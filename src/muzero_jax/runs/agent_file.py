"""One file for each agent: parameters, configuration and card, never pickled.

A safetensors file. Its tensors are the leaves of what a search takes, by their
paths; its metadata, all of it text:

  format, format_version  `FORMAT` and `VERSION`
  config       as config.json has it
  environment  facts of the spec that the parameters fit, as JSON
  step         environment steps of training; updates, if offline
  dtype        of the parameters; numbers without an axis stay float32
  card         as `agent_card.to_plain` has it, as JSON
  sha256       of all other metadata, of names, dtypes and shapes, and of the
               parameters

A file may come from anywhere. What it declares is checked before anything of
that size is made, and nothing in it is run. jax is never imported here, and
NumPy only where arrays are made: a mistake is told before anything slow starts.
"""

import hashlib
import json
import os
import pathlib
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

from muzero_jax import config as config_lib
from muzero_jax import files
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.runs import agent_card, safetensors_files
from muzero_jax.runs.agent_card import Card
from muzero_jax.runs.safetensors_files import Header, Tensor

if typing.TYPE_CHECKING:
  import numpy as np

  from muzero_jax.types import EnvSpec

FORMAT, VERSION = 'muzero_jax agent', 1
SUFFIX = '.safetensors'
DTYPES = ('float32', 'float16', 'bfloat16')
SEARCH_ERROR = 'search_error'  # Of `types.ScaledParams`.
_KEYS = ('format', 'format_version', 'config', 'environment', 'step', 'dtype',
         'card', 'sha256')
_NUMBER = re.compile(r'[1-9][0-9]{,8}')
_SHA256 = re.compile(r'[0-9a-f]{64}')
_CHUNK = 1 << 20
# Of a spec, what parameters and search depend on.
_FACTS = ('name', 'observation_shape', 'observation_dtype', 'num_actions',
          'num_players', 'action_low', 'action_high')


class AgentFile(NamedTuple):
  """All that a file holds but the parameters; its hash was right."""

  config: Config
  environment: dict[str, Any]  # Facts of the spec.
  step: int
  dtype: str
  card: Card
  sha256: str
  tensors: dict[str, Tensor]  # In the order in which they are stored.


def facts(spec: 'EnvSpec') -> dict[str, Any]:
  """Returns what a file says of the environment, as JSON has it."""
  import numpy as np

  plain = {name: getattr(spec, name) for name in _FACTS}
  plain['observation_dtype'] = str(np.dtype(spec.observation_dtype))
  return json.loads(json.dumps(plain, default=_number))


def cast(
  arrays: 'Mapping[str, np.ndarray]', dtype: str
) -> 'dict[str, np.ndarray]':
  """Returns parameters rounded to a dtype, those that have an axis.

  Args:
    arrays: by name; other dtypes than float32 stay as they are.
    dtype: one of DTYPES.

  Raises:
    UserError: no such dtype, or one that cannot hold a parameter.
  """
  import numpy as np

  if dtype not in DTYPES:
    raise UserError(f'dtype = {dtype!r} is not one of {", ".join(DTYPES)}')
  rounded = {}
  for name, array in arrays.items():
    array = np.asarray(array)
    if array.ndim and array.dtype == np.float32:
      with np.errstate(over='ignore'):
        small = array.astype(safetensors_files.dtype_of(dtype))
      if np.isfinite(array).all() and not safetensors_files.is_finite(small):
        raise UserError(
          f'dtype = {dtype!r} cannot hold {name}, which goes to '
          f'{np.abs(array).max():g}: take bfloat16 or float32')
      array = small
    rounded[name] = array
  return rounded


def write(
  path: str | os.PathLike,
  arrays: 'Mapping[str, np.ndarray]',
  *,
  config: Config,
  spec: 'EnvSpec',
  step: int,
  dtype: str,
  card: Card,
) -> bytes:
  """Writes an agent, whole or not at all; returns the bytes of the file.

  The same agent and card give the same bytes.

  Args:
    path: of the file.
    arrays: by name, as `cast` returns them.
    config: of one agent.
    spec: of its environment.
    step: it was trained for.
    dtype: that `cast` was given.
    card: of these parameters.

  Raises:
    UserError: a parameter is not finite, or there are too many.
    RunError: the file cannot be written.
  """
  files.check_path('output', path)
  # The widest first, so that each lies where its dtype may.
  names = sorted(arrays, key=lambda x: (-arrays[x].dtype.itemsize, x))
  tensors = {
    name: Tensor(str(arrays[name].dtype), arrays[name].shape) for name in names}
  for name in names:
    if tensors[name].dtype not in safetensors_files.DTYPES:
      raise UserError(
        f'parameter {name} is of {tensors[name].dtype}, which an agent file '
        'cannot hold')
    _refuse_infinite(str(path), name, arrays[name])
  data = b''.join(arrays[name].tobytes() for name in names)
  metadata = {
    'format': FORMAT, 'format_version': str(VERSION),
    'config': config_lib.to_json(config),
    'environment': json.dumps(facts(spec)), 'step': str(step), 'dtype': dtype,
    'card': json.dumps(agent_card.to_plain(card))}
  metadata['sha256'] = _digest(metadata, tensors, [data])
  whole = safetensors_files.header_bytes(metadata, tensors) + data
  if (len(whole) > safetensors_files.MAX_FILE_BYTES
      or len(whole) - len(data) > safetensors_files.MAX_HEADER_BYTES):
    raise UserError(
      f'output {path}: the agent takes {len(whole):,} bytes, of which at most '
      f'{safetensors_files.MAX_FILE_BYTES:,} are read again')
  with files.writing(f'output {path}'):
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(target, whole)
  return whole


def read(
  path: str | os.PathLike, *, allow_imports: str | Iterable[str] = ()
) -> AgentFile:
  """Returns what a file says of its agent; makes no array.

  Args:
    path: of the file.
    allow_imports: modules that its env_id may import, as in `agent.load`.

  Raises:
    UserError: it is no agent file, a damaged one, or of a newer version.
  """
  try:
    with safetensors_files.open_plain(path) as file:
      header = _read_header(file)
      metadata = header.metadata
      digest = _digest(metadata, header.tensors, iter(
        lambda: file.read(_CHUNK), b''))
    if digest != metadata['sha256']:
      raise ValueError('it has changed since it was written, its SHA-256 is '
                       'another')
    return AgentFile(
      config=_config(metadata['config'], allow_imports),
      environment=_environment(metadata['environment']),
      step=_step(metadata['step']),
      dtype=metadata['dtype'],
      card=agent_card.of_plain(files.parse_json(metadata['card'])),
      sha256=digest,
      tensors=header.tensors)
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'agent file {path}: {error}') from None


def check_environment(
  path: str | os.PathLike, found: AgentFile, spec: 'EnvSpec'
) -> None:
  """Raises UserError where a file's agent was made for another environment."""
  here = facts(spec)
  for name, value in found.environment.items():
    if value != here[name]:
      raise UserError(
        f'agent file {path} was trained where {name} is {str(value)[:200]}, '
        f'and {found.config.family}/{found.config.env_id} has {here[name]}: '
        'another version of its package, or an environment of your own, which '
        'is given from Python as make_env')


def read_arrays(
  path: str | os.PathLike, found: AgentFile, wanted: Mapping[str, Any]
) -> 'dict[str, np.ndarray]':
  """Returns the parameters of a file by name, in the dtypes wanted.

  Args:
    path: of the file.
    found: what `read` returned.
    wanted: what the configuration's network has: by name, whatever has a shape
      and a dtype.

  Raises:
    UserError: the file has others, or parameters that are not finite; nothing
      was made of the shapes that it declares.
  """
  try:
    _compare(found, wanted)
    with safetensors_files.open_plain(path) as file:
      header = _read_header(file)
      start = file.tell()
      file.seek(0)
      data = file.read(safetensors_files.MAX_FILE_BYTES)
    if _digest(header.metadata, header.tensors, [data[start:]]
               ) != found.sha256:
      raise ValueError('it has changed while it was read')
    arrays = {}
    for name, array in safetensors_files.read_arrays(data).items():
      _refuse_infinite(str(path), name, array)
      # A copy: of its own, and aligned.
      arrays[name] = array.astype(wanted[name].dtype)
    return arrays
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from None
  except UserError:
    raise
  except ValueError as error:
    raise UserError(f'agent file {path}: {error}') from None


def _compare(found: AgentFile, wanted: Mapping[str, Any]) -> None:
  """Raises ValueError at the first tensor that the network does not have."""
  for name in wanted:
    if name not in found.tensors:
      raise ValueError(
        f'it has no {name!r}, which the network of its configuration has')
  for name, tensor in found.tensors.items():
    if name not in wanted:
      raise ValueError(
        f'it has {name!r}, which the network of its configuration has not')
    shape, dtype = tuple(wanted[name].shape), str(wanted[name].dtype)
    stored = found.dtype if shape and dtype == 'float32' else dtype
    if tensor != Tensor(stored, shape):
      raise ValueError(
        f'{name!r} is {safetensors_files.text(tensor)}, but the network of its '
        f'configuration has {safetensors_files.text(Tensor(stored, shape))}')


def _read_header(file: BinaryIO) -> Header:
  """Returns what an open file declares, if it is of an agent.

  Raises:
    ValueError: it is none of ours, or a damaged one.
  """
  header = safetensors_files.read_header(file)
  metadata = header.metadata
  if not isinstance(metadata, dict) or metadata.get('format') != FORMAT:
    raise ValueError(
      f'it holds no agent: its metadata does not say format "{FORMAT}"')
  _check_version(metadata.get('format_version'))
  if {*metadata} != {*_KEYS} or not all(
      isinstance(text, str) for text in metadata.values()):
    raise ValueError(f'its metadata must be texts: {", ".join(_KEYS)}')
  if metadata['dtype'] not in DTYPES:
    raise ValueError(f'its dtype is not one of {", ".join(DTYPES)}')
  if not _SHA256.fullmatch(metadata['sha256']):
    raise ValueError('its sha256 is none')
  return header


def _check_version(version: Any) -> None:
  if not isinstance(version, str) or not _NUMBER.fullmatch(version):
    raise ValueError('its format_version is no number')
  if int(version) > VERSION:
    raise ValueError(
      f'it is of format_version {version}, and this version of muzero_jax '
      f'reads up to {VERSION}: install a newer one')


def _digest(
  metadata: Mapping[str, str],
  tensors: Mapping[str, Tensor],
  data: Iterable[bytes],
) -> str:
  """Returns the SHA-256 of all that a file holds, but for itself."""
  said = {name: text for name, text in metadata.items() if name != 'sha256'}
  declared = [[name, *tensor] for name, tensor in tensors.items()]
  found = hashlib.sha256(json.dumps([said, declared], sort_keys=True).encode())
  for chunk in data:
    found.update(chunk)
  return found.hexdigest()


def _config(text: str, allow_imports: str | Iterable[str]) -> Config:
  """Returns the configuration of a file.

  Raises:
    UserError: it is none, or would import a module that is not allowed.
  """
  try:
    config = config_lib.from_json(text, allow_imports=allow_imports)
  except UserError as error:
    hint = '; a newer version may have written it' if (
      'there is no field' in str(error)) else ''
    raise UserError(f'its configuration: {error}{hint}') from None
  if config.num_seeds != 1:
    raise ValueError(
      f'num_seeds = {config.num_seeds}, but a file holds one agent')
  return config


def _environment(text: str) -> dict[str, Any]:
  found = files.parse_json(text)
  if not isinstance(found, dict) or {*found} != {*_FACTS}:
    raise ValueError(f'its environment must say {", ".join(_FACTS)}')
  return found


def _step(text: str) -> int:
  if not re.fullmatch('[0-9]{1,18}', text):
    raise ValueError('its step is no number')
  return int(text)


def _refuse_infinite(path: str, name: str, array: 'np.ndarray') -> None:
  """Raises UserError where a parameter is not finite.

  The error of searched values is infinite before any was measured.
  """
  if name == SEARCH_ERROR:
    if not array > 0:  # Not of NaN either.
      raise UserError(f'agent file {path}: {name} is {array}: must be above 0')
  elif not safetensors_files.is_finite(array):
    raise UserError(f'agent file {path}: {name!r} holds numbers that are not '
                    'finite')


def _number(value: Any) -> Any:
  """Returns a number of NumPy as JSON has it."""
  return value.item()
