"""Agents as files: the same agent again, or one line that says why not."""

import copy
import json
import os
import pathlib
import pickle
import random
import re

import jax
import numpy as np
import pytest
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import agent, envs, errors
from muzero_jax import config as config_lib
from muzero_jax.drivers import build
from muzero_jax.errors import UserError
from muzero_jax.runs import (
  agent_card,
  agent_file,
  agent_source,
  leaves,
  safetensors_files,
)
from muzero_jax.runs.agent_card import Card, CardScore
from muzero_jax.types import ScaledParams

CARD = Card(
  environment='classic/cartpole', environment_licence='Apache-2.0',
  licence='Apache-2.0', scores=(CardScore(9.5, 9.0, 10.0, 8, 0),),
  random_play=(20.0, 1.5), num_simulations=4, num_parameters=1, unit='steps',
  command='muzero-jax train --preset=cartpole', agent='1 of 1', commit='',
  date='2026-01-31', versions={'python': '3.11.7'})


def _agent(**changes):
  """An agent of random parameters, which no head leaves at zero."""
  config = tiny_run.config(**changes)
  spec = envs.spec(config)
  abstract = build.abstract_params(
    config, spec, build.make_system(config, spec))
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(
    lambda x: np.asarray(0.3 * draw(size=x.shape), x.dtype), abstract)
  if isinstance(params, ScaledParams):
    params = params._replace(search_error=np.float32(0.25))
  return agent.Agent(config, spec, params, step=77)


def _write(path, player, dtype='float32', **changes):
  arrays = agent_file.cast(leaves.flatten(player.params), dtype)
  agent_file.write(path, arrays, **{**dict(
    config=player.config, spec=player.spec, step=player.step, dtype=dtype,
    card=CARD), **changes})
  return path


@pytest.fixture(scope='module')
def player():
  return _agent(gumbel_min_range=0.0)


@pytest.fixture(scope='module')
def good(player, tmp_path_factory):
  """The bytes of a file, and where it lies."""
  path = _write(tmp_path_factory.mktemp('good') / 'a.safetensors', player)
  return path, path.read_bytes()


def _parts(data):
  """Header and arrays of a file."""
  end = 8 + int.from_bytes(data[:8], 'little')
  return json.loads(data[8:end]), data[end:]


def _joined(header, arrays, *, seal=True):
  """A file of any header; with `seal`, of the hash that belongs to it."""
  header = copy.deepcopy(header)
  meta = header.get('__metadata__')
  if seal and isinstance(meta, dict):
    declared = [
      (x['data_offsets'], name, safetensors_files._CODES[x['dtype']],
       x['shape'])
      for name, x in header.items() if name != '__metadata__']
    tensors = {
      name: safetensors_files.Tensor(dtype, tuple(shape))
      for _, name, dtype, shape in sorted(declared)}
    meta['sha256'] = agent_file._digest(meta, tensors, [arrays])
  text = json.dumps(header).encode()
  return len(text).to_bytes(8, 'little') + text + arrays


def _refusal(path, data):
  """The one line that loading ends in."""
  path.write_bytes(data)
  with pytest.raises(UserError) as refused:
    agent.load(path)
  text = str(refused.value)
  assert '\n' not in text and len(text) < 1000, text
  return text


def test_the_same_agent_comes_back(player, good):
  path, data = good
  loaded = agent.load(path)
  assert_trees_equal(loaded.params, player.params)
  assert jax.tree.structure(loaded.params) == jax.tree.structure(player.params)
  assert (loaded.config, loaded.spec, loaded.step) == (
    player.config, player.spec, 77)
  assert float(loaded.params.search_error) == 0.25
  frames = np.random.default_rng(0).normal(size=(3, 16, 4))
  for one in (player, loaded):
    one.reset(seed=1)
  for frame in frames:
    np.testing.assert_array_equal(loaded.act(frame), player.act(frame))
  assert agent_file.read(path).card == CARD
  # The same agent is the same file.
  assert _write(path.with_name('b.safetensors'), player).read_bytes() == data


def test_others_read_the_file(player, good):
  from safetensors import numpy as safetensors_numpy

  found = safetensors_numpy.load_file(good[0])
  wanted = leaves.flatten(player.params)
  assert {*found} == {*wanted}
  for name, array in found.items():
    np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize('dtype, bits', [('float16', 11), ('bfloat16', 8)])
def test_rounded_parameters(player, tmp_path, dtype, bits):
  path = _write(tmp_path / 'a.safetensors', player, dtype)
  loaded = agent.load(path)
  assert float(loaded.params.search_error) == 0.25
  for name, array in leaves.flatten(loaded.params).items():
    assert array.dtype == np.float32
    np.testing.assert_allclose(
      array, leaves.flatten(player.params)[name], rtol=2.0**-bits, atol=1e-7)
  whole = _write(tmp_path / 'b.safetensors', player)
  assert len(_parts(path.read_bytes())[1]) < 0.6 * len(
    _parts(whole.read_bytes())[1])


def test_what_cannot_be_written(player, tmp_path):
  huge = player.with_params(
    jax.tree.map(lambda x: x + 1e6, player.params), 1)
  with pytest.raises(UserError, match='float16.* cannot hold'):
    _write(tmp_path / 'a.safetensors', huge, 'float16')
  bad = player.with_params(
    jax.tree.map(lambda x: x * np.nan, player.params), 1)
  with pytest.raises(UserError, match='finite|above 0'):
    _write(tmp_path / 'a.safetensors', bad)
  assert not [*tmp_path.iterdir()]


def test_every_flipped_bit_and_every_cut_is_noticed(good, tmp_path):
  _, data = good
  header_end = 8 + int.from_bytes(data[:8], 'little')
  draw = random.Random(0)
  places = [*range(8), *draw.sample(range(8, header_end), 90),
            *draw.sample(range(header_end, len(data)), 20)]
  for at in places:
    changed = bytearray(data)
    changed[at] ^= 1 << draw.randrange(8)
    _refusal(tmp_path / 'a.safetensors', bytes(changed))
  for end in (0, 1, 7, 8, 9, 100, header_end - 1, header_end, len(data) - 1):
    _refusal(tmp_path / 'a.safetensors', data[:end])
  _refusal(tmp_path / 'a.safetensors', data + b'\0')


def test_foreign_files(tmp_path, player, good):
  from safetensors import numpy as safetensors_numpy

  path = tmp_path / 'a.safetensors'
  assert 'no safetensors file' in _refusal(path, pickle.dumps({'a': 1}))
  assert 'no safetensors file' in _refusal(path, b'PK\3\4' + bytes(100))
  arrays = {'a': np.zeros(3, np.float32)}
  assert 'holds no agent' in _refusal(path, safetensors_numpy.save(arrays))
  assert 'holds no agent' in _refusal(
    path, safetensors_numpy.save(arrays, {'format': 'pt'}))
  header, _ = _parts(good[1])
  only = {'__metadata__': header['__metadata__']}
  assert "it has no 'params/" in _refusal(path, _joined(only, b''))
  os.remove(path)
  os.mkfifo(path)
  with pytest.raises(UserError, match='no plain file'):
    agent.load(path)


def _declares(change):
  """A change of the header's first array."""
  def changed(header, arrays):
    name = next(x for x in header if x != '__metadata__')
    change(header[name])
    return header, arrays
  return changed


def _says(**changes):
  def changed(header, arrays):
    header['__metadata__'].update(changes)
    return header, arrays
  return changed


def _with_config(**changes):
  def changed(header, arrays):
    meta = header['__metadata__']
    meta['config'] = json.dumps({**json.loads(meta['config']), **changes})
    return header, arrays
  return changed


def _with_card(**changes):
  def changed(header, arrays):
    meta = header['__metadata__']
    meta['card'] = json.dumps({**json.loads(meta['card']), **changes})
    return header, arrays
  return changed


def _extra(header, arrays):
  header['other'] = dict(
    dtype='F32', shape=[1], data_offsets=[len(arrays), len(arrays) + 4])
  return header, arrays + bytes(4)


def _renamed(header, arrays):
  name = next(x for x in header if x != '__metadata__')
  header['params/other'] = header.pop(name)
  return header, arrays


def _not_a_number(header, arrays):
  return header, np.float32(np.nan).tobytes() + arrays[4:]


def _no_error(header, arrays):
  start, end = header['search_error']['data_offsets']
  return header, arrays[:start] + np.float32(-1).tobytes() + arrays[end:]


HUGE = [2**20, 2**20]
HOSTILE = {
  'huge shape': (_declares(lambda x: x.update(shape=HUGE)), 'has .* bytes'),
  'huge shape and offsets': (_declares(lambda x: x.update(
    shape=HUGE, data_offsets=[0, 2**42])), 'declares no array|bytes|begin'),
  'negative': (_declares(lambda x: x.update(shape=[-1])), 'declares no array'),
  'many axes': (_declares(lambda x: x.update(shape=[1] * 99)), 'no array'),
  'shape is a text': (_declares(lambda x: x.update(shape='3')), 'no array'),
  'real shape': (_declares(lambda x: x.update(shape=[3.0])), 'no array'),
  'unknown dtype': (_declares(lambda x: x.update(dtype='F8')), 'no array'),
  'no dtype': (_declares(lambda x: x.pop('dtype')), 'no array'),
  'overlap': (_declares(lambda x: x.update(
    data_offsets=[x['data_offsets'][0] + 4, x['data_offsets'][1] + 4])),
    'does not begin'),
  'another dtype': (_declares(lambda x: x.update(dtype='I32')), 'is int32'),
  'another shape': (_declares(lambda x: x.update(shape=[
    1, *x['shape']])), 'but the network'),
  'one more': (_extra, "has 'other', which"),
  'one is missing': (_renamed, 'has no'),
  'not a number': (_not_a_number, 'not finite'),
  'an error below 0': (_no_error, 'above 0'),
  'newer format': (_says(format_version='2'), 'install a newer'),
  'no version': (_says(format_version='x'), 'no number'),
  'unicode version': (_says(format_version='\u0661'), 'no number'),
  'metadata of numbers': (_says(step=3), 'must be texts'),
  'more metadata': (_says(hooks='x'), 'must be texts'),
  'another dtype in words': (_says(dtype='float16'), 'but the network'),
  'no dtype in words': (_says(dtype='float8'), 'dtype is not one of'),
  'no step': (_says(step='-1'), 'no number'),
  'no environment': (_says(environment='[]'), 'environment must say'),
  'no JSON': (_says(config='{'), 'not a configuration'),
  'a list': (_says(config='[]'), 'JSON object is needed'),
  'deep JSON': (_says(config='[' * 10_000), 'nested'),
  'deep card': (_says(card='[' * 10_000), 'nested'),
  'long number': (_says(config='{"seed": ' + '9' * 5_000 + '}'), 'config'),
  'newer setting': (_with_config(setting_of_2030=1), 'newer version'),
  'bad setting': (_with_config(num_channels=10**9), 'num_channels'),
  'many simulations': (_with_config(eval_simulations=10**12),
                       'num_simulations'),
  'several agents': (_with_config(num_seeds=3), 'one agent'),
  'other network': (_with_config(num_channels=64), 'but the network'),
  'other environment': (_with_config(
    family='board', env_id='tic_tac_toe', network='mlp'), 'trained where'),
  'imports': (_with_config(
    family='gymnasium', driver='auto', env_id='os:Foo-v0'), 'allow_import'),
  'card without scores': (_with_card(scores=3), 'scores'),
  'card with more': (_with_card(html='<b>'), 'no others'),
  'card that clears the screen': (_with_card(command='\x1b[2J'), 'printed'),
  'card of no day': (_with_card(date='today'), 'no day'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files(name, good, tmp_path):
  change, words = HOSTILE[name]
  header, arrays = _parts(good[1])
  data = _joined(*change(header, arrays)) if name != 'unknown dtype' and (
    name != 'no dtype') else _joined(*change(header, arrays), seal=False)
  text = _refusal(tmp_path / 'a.safetensors', data)
  assert re.search(words, text), text


def test_headers_that_are_no_json(good, tmp_path):
  path = tmp_path / 'a.safetensors'
  whole = lambda text: len(text).to_bytes(8, 'little') + text
  for text in (
      b'[' * 200_000, b'{"a": 1, "a": 2}', b'\xff' * 50, b'[]', b'3',
      b'{"__metadata__": null}', b'{"a": NaN}', b'"\\ud800"'):
    _refusal(path, whole(text))
  # As long as it says, and no more is read.
  assert 'no safetensors file' in _refusal(
    path, (2**40).to_bytes(8, 'little') + b'{}')
  with open(path, 'wb') as file:
    file.truncate(safetensors_files.MAX_FILE_BYTES + 1)
  with pytest.raises(UserError, match='bytes, of which at most'):
    agent.load(path)


def test_a_duplicate_tensor(good, tmp_path):
  header, arrays = _parts(good[1])
  name = next(x for x in header if x != '__metadata__')
  text = json.dumps(header).replace(
    '{', '{' + f'{json.dumps(name)}: {json.dumps(header[name])}, ', 1).encode()
  assert 'twice' in _refusal(
    tmp_path / 'a.safetensors',
    len(text).to_bytes(8, 'little') + text + arrays)


def test_what_it_imports_has_to_be_allowed(good, tmp_path):
  header, arrays = _parts(good[1])
  header, arrays = _with_config(
    family='gymnasium', driver='auto', env_id='no_such_module:Foo-v0')(
    header, arrays)
  path = tmp_path / 'a.safetensors'
  path.write_bytes(_joined(header, arrays))
  with pytest.raises(UserError, match='--allow_import=no_such_module'):
    agent.load(path)
  with pytest.raises(errors.Error, match='cannot be imported'):
    agent.load(path, allow_imports='no_such_module')


def test_a_file_has_one_agent(good):
  with pytest.raises(UserError, match='no index = 1'):
    agent.load(good[0], index=1)
  with pytest.raises(UserError, match='no snapshots'):
    agent.load(good[0], snapshot=5)


def test_what_is_there_is_meant_before_a_name(good, tmp_path, monkeypatch):
  folder = tmp_path / 'shipped'
  folder.mkdir()
  (folder / 'cartpole.safetensors').write_bytes(good[1])
  monkeypatch.setattr(agent_source, 'FOLDER', folder)
  here = tmp_path / 'here'
  here.mkdir()
  monkeypatch.chdir(here)
  assert agent.shipped() == ('cartpole',)
  assert agent.load('cartpole').step == 77
  assert agent_source.read_config('cartpole').num_simulations == 4
  with pytest.raises(UserError, match='did you mean cartpole'):
    agent.load('cartpol')
  with pytest.raises(UserError, match='no such agent file'):
    agent.load('cartpole.safetensors')
  os.mkdir('cartpole')
  with pytest.raises(UserError, match='has no config.json; the shipped agent'):
    agent.load('cartpole')
  pathlib.Path('cartpole/config.json').write_text(
    config_lib.to_json(tiny_run.config()))
  with pytest.raises(UserError, match='no checkpoint yet'):
    agent.load('cartpole')
  pathlib.Path('other').write_text('')
  with pytest.raises(UserError, match='no safetensors file'):
    agent.load('other')


def test_a_card_is_what_it_was():
  plain = json.loads(json.dumps(agent_card.to_plain(CARD)))
  assert agent_card.of_plain(plain) == CARD
  plain['scores'][0]['low'] = 11.0
  with pytest.raises(ValueError, match='outside of its interval'):
    agent_card.of_plain(plain)
