"""Files of the safetensors format: their header, before any array is made.

`agent_file` says what it holds. A file may come from anywhere: what a header
declares must fit to the file's size. NumPy is imported where arrays are made.
"""

import json
import math
import os
import re
import stat
import typing
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from muzero_jax import files

if typing.TYPE_CHECKING:
  import numpy as np

MAX_HEADER_BYTES, MAX_FILE_BYTES = 1 << 20, 1 << 30
_CODES = {
  'F64': 'float64', 'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16',
  'I64': 'int64', 'I32': 'int32', 'I16': 'int16', 'I8': 'int8',
  'U64': 'uint64', 'U32': 'uint32', 'U16': 'uint16', 'U8': 'uint8',
  'BOOL': 'bool'}
_NAMES = {dtype: code for code, dtype in _CODES.items()}
DTYPES = tuple(_NAMES)
_BITS = re.compile('[0-9]+$')
_MOST_AXES, _MOST_ELEMENTS = 8, 1 << 40


class Tensor(NamedTuple):
  """An array as a header declares it."""

  dtype: str
  shape: tuple[int, ...]

  @property
  def num_bytes(self) -> int:
    """Returns its bytes in the file."""
    bits = _BITS.search(self.dtype)
    return math.prod(self.shape) * (int(bits[0]) // 8 if bits else 1)


class Header(NamedTuple):
  """What a file says in front of its arrays."""

  metadata: Any  # Texts by name, if it is as it should be; None without.
  tensors: dict[str, Tensor]  # In the order in which they are stored.


def open_plain(path: str | os.PathLike) -> BinaryIO:
  """Opens a plain file; a pipe or a device is never waited for.

  Raises:
    OSError: it is not there or cannot be read.
    ValueError: it is no plain file, or larger than any agent.
  """
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  file = open(descriptor, 'rb')
  state = os.fstat(descriptor)
  if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_FILE_BYTES:
    file.close()
    if not stat.S_ISREG(state.st_mode):
      raise ValueError('it is no plain file')
    raise ValueError(
      f'it has {state.st_size:,} bytes, of which at most {MAX_FILE_BYTES:,} '
      'are allowed')
  return file


def read_header(file: BinaryIO) -> Header:
  """Returns what an open file declares, once that fits to its size.

  What follows in the file are the arrays.

  Raises:
    ValueError: it is none, or a damaged one.
  """
  size = os.fstat(file.fileno()).st_size
  length = int.from_bytes(file.read(8), 'little')
  if size < 10 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
    raise ValueError(
      'it is no safetensors file, or was cut off: it does not begin with the '
      'length of a header')
  try:
    header = files.parse_json(file.read(length))
  except ValueError as error:
    raise ValueError(f'its header is damaged: {error}') from None
  if not isinstance(header, dict):
    raise ValueError('its header declares nothing')
  metadata = header.pop('__metadata__', None)
  return Header(metadata, _tensors(header, size - 8 - length))


def header_bytes(
  metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> bytes:
  """Returns a header as safetensors has it.

  That package's own writer orders metadata by chance, and an agent's file is
  to have one hash.
  """
  header: dict[str, Any] = {'__metadata__': metadata}
  at = 0
  for name, tensor in tensors.items():
    end = at + tensor.num_bytes
    header[name] = dict(dtype=_NAMES[tensor.dtype], shape=tensor.shape,
                        data_offsets=[at, end])
    at = end
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  return len(text).to_bytes(8, 'little') + text


def read_arrays(data: bytes) -> 'dict[str, np.ndarray]':
  """Returns the arrays of a whole file by name.

  Raises:
    ValueError: it is none.
  """
  import numpy as np
  import safetensors

  try:
    return {
      name: np.frombuffer(found['data'], dtype_of(_CODES[found['dtype']]))
      .reshape(found['shape'])
      for name, found in safetensors.deserialize(data)}
  except (safetensors.SafetensorError, KeyError) as error:
    raise ValueError(f'its arrays cannot be read: {error}') from None


def dtype_of(name: str) -> 'np.dtype':
  """Returns a dtype by its name, extended ones too."""
  import numpy as np

  if name == 'bfloat16':
    import ml_dtypes  # NumPy has none; jax brings it.

    return np.dtype(ml_dtypes.bfloat16)
  return np.dtype(name)


def is_finite(array: 'np.ndarray') -> bool:
  """Returns whether all numbers are finite, of extended dtypes too."""
  import numpy as np

  if array.dtype.kind in 'biu':
    return True
  return bool(np.isfinite(array.astype(np.float64)).all())


def text(tensor: Tensor) -> str:
  """Returns how a tensor is named in messages: float32[3,4]."""
  return f'{tensor.dtype}[{",".join(map(str, tensor.shape))}]'


def _tensors(
  header: Mapping[str, Any], num_bytes: int
) -> dict[str, Tensor]:
  """Returns the arrays that a header declares, one behind the other.

  Raises:
    ValueError: an entry is none, or they are not all of the file's bytes.
  """
  found = []
  for name, entry in header.items():
    if not name.isprintable() or not _is_tensor(entry):
      raise ValueError(f'its header declares no array as {name[:200]!r}')
    tensor = Tensor(_CODES[entry['dtype']], tuple(entry['shape']))
    start, end = entry['data_offsets']
    if end - start != tensor.num_bytes:
      raise ValueError(
        f'{name[:200]!r} is {text(tensor)}, but has {end - start:,} bytes')
    found.append((start, end, name, tensor))
  # Of those without elements several may start at one place.
  found.sort(key=lambda entry: entry[:3])
  at = 0
  for start, end, name, _ in found:
    if start != at:
      raise ValueError(f'{name[:200]!r} does not begin where the one before '
                       'it ends')
    at = end
  if at != num_bytes:
    raise ValueError(
      f'its arrays take {at:,} bytes, and {num_bytes:,} are there: it was cut '
      'off, or something was added')
  return {name: tensor for _, _, name, tensor in found}


def _is_tensor(entry: Any) -> bool:
  """Returns whether an entry of a header can be of an array."""
  is_counts = lambda values, most: isinstance(values, list) and all(
    type(x) is int and 0 <= x <= _MOST_ELEMENTS for x in values
  ) and len(values) <= most
  return (
    isinstance(entry, dict) and {*entry} == {'dtype', 'shape', 'data_offsets'}
    and isinstance(entry['dtype'], str) and entry['dtype'] in _CODES
    and is_counts(entry['shape'], _MOST_AXES)
    and is_counts(entry['data_offsets'], 2)
    and len(entry['data_offsets']) == 2)
