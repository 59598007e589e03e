"""Image augmentation: what moves, how far, and what stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import config
from muzero_jax.drivers import build
from muzero_jax.errors import UserError
from muzero_jax.learning import augment
from muzero_jax.types import EnvSpec


def test_shifts_move_by_up_to_so_many_pixels_and_repeat_the_edge():
  image = np.arange(5 * 6 * 2).reshape(1, 5, 6, 2)
  padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)), mode='edge')
  possible = {
    padded[i : i + 5, j : j + 6].tobytes() for i in range(3) for j in range(3)
  }
  images = jnp.asarray(np.repeat(image, 200, axis=0))
  shifted = np.asarray(augment.random_shift(
    jax.random.key(0), images, pixels=1
  )).astype(image.dtype)
  assert {x.tobytes() for x in shifted} == possible
  np.testing.assert_array_equal(
    augment.random_shift(jax.random.key(0), images, pixels=0), images
  )


def test_intensity_scales_each_image_by_one_cut_off_factor():
  images = jnp.full((2_000, 2, 2, 1), 0.5)
  changed = np.asarray(augment.random_intensity(
    jax.random.key(0), images, scale=0.05
  ))
  factors = changed.reshape(2_000, -1) / 0.5
  assert (factors == factors[:, :1]).all()
  assert factors.min() == pytest.approx(0.9, abs=1e-6)
  assert factors.max() == pytest.approx(1.1, abs=1e-6)
  assert factors.mean() == pytest.approx(1, abs=0.005)
  assert factors.std() == pytest.approx(0.048, abs=0.003)


def test_bytes_stay_bytes():
  images = jnp.full((50, 2, 2, 1), 250, jnp.uint8)
  changed = augment.random_intensity(jax.random.key(0), images, scale=0.05)
  assert changed.dtype == jnp.uint8
  # 250 * 1.1 would be 275, which is 19 in a byte.
  assert changed.max() == 255 and changed.min() >= 225


def test_augment_takes_any_batch_and_changes_each_image_by_itself():
  image = np.random.default_rng(0).random((6, 6, 1)).astype(np.float32)
  images = jnp.asarray(np.broadcast_to(image, (3, 4, 6, 6, 1)))
  changed = jax.jit(
    lambda key: augment.augment(key, images, pixels=2, scale=0.05)
  )(jax.random.key(1))
  assert changed.shape == images.shape
  flat = np.asarray(changed).reshape(12, -1)
  assert len({x.tobytes() for x in flat}) == 12


@pytest.mark.parametrize('fields, shape, dtype, words', [
  (dict(shift_pixels=4), (5,), np.float32, 'shift_pixels=4.*images are needed'),
  (dict(intensity_scale=0.1), (6, 6, 1), np.bool_, 'cannot be brightened'),
])
def test_observations_that_cannot_be_augmented(fields, shape, dtype, words):
  spec = EnvSpec('test/seen', shape, dtype, 3)
  with pytest.raises(UserError, match=words):
    build.make_system(config.from_fields(fields), spec)
