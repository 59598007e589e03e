"""Arrays to disk and back: small ones together, large ones by themselves."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.runs import array_files
from muzero_jax.runs.manifest import DamageError


def _arrays():
  rng = np.random.default_rng(0)
  large = array_files._PACKED_BYTES // 4
  return {
    'net/w': rng.normal(size=(3, 5)).astype(np.float32),
    'net/b': np.asarray(jnp.arange(3, dtype=jnp.bfloat16)),
    'net/on': np.array([True, False, True]),
    'net/count': np.int64(7)[()] * np.ones((), np.int64),
    'net/empty': np.zeros((0, 3), np.int8),
    'net/large': rng.normal(size=large).astype(np.float32),
    'net/less': rng.normal(size=large - 1).astype(np.float32),
    'step': np.array(3, np.int32),
  }


def _offsets(folder):
  return json.loads((folder / 'net' / array_files._OFFSETS).read_text())


def test_small_arrays_are_one(tmp_path):
  arrays = _arrays()
  array_files.write(tmp_path / 'x', arrays)
  array_files.check_written(tmp_path / 'x', arrays)
  assert {*_offsets(tmp_path / 'x')} == {
    'net/w', 'net/b', 'net/on', 'net/count', 'net/less', array_files._PACKED}
  # One alone needs no company.
  assert not (tmp_path / 'x' / 'step' / array_files._OFFSETS).exists()
  for names in (arrays, ['net/b'], ['net/large', 'net/on'], ['net/empty']):
    found = array_files.read(
      tmp_path / 'x', {name: arrays[name] for name in names})
    assert {*found} == {*names}
    for name, array in found.items():
      assert array.dtype == arrays[name].dtype
      np.testing.assert_array_equal(array, arrays[name])


def test_what_differs_is_found(tmp_path):
  arrays = _arrays()
  array_files.write(tmp_path / 'x', arrays)
  for name in arrays:
    if arrays[name].size:
      other = {**arrays, name: np.zeros_like(arrays[name])}
      with pytest.raises(OSError, match=name):
        array_files.check_written(tmp_path / 'x', other)


@pytest.mark.parametrize('change', [
  lambda offsets: [], lambda offsets: {**offsets, 'net/w': -1},
  lambda offsets: {**offsets, 'net/w': True},
  lambda offsets: {**offsets, 'net/w': offsets[array_files._PACKED] - 1},
  lambda offsets: {**offsets, array_files._PACKED: 1 << 39},
  lambda offsets: {**offsets, array_files._PACKED: 0},
  lambda offsets: {k: x for k, x in offsets.items() if k != 'net/w'},
])
def test_offsets_that_nobody_wrote_are_damage(tmp_path, change):
  arrays = _arrays()
  array_files.write(tmp_path / 'x', arrays)
  path = tmp_path / 'x' / 'net' / array_files._OFFSETS
  path.write_text(json.dumps(change(_offsets(tmp_path / 'x'))))
  with pytest.raises(DamageError):
    array_files.read(tmp_path / 'x', arrays)
  path.unlink()
  with pytest.raises(DamageError):
    array_files.read(tmp_path / 'x', arrays)
