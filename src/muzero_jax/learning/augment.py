"""Images shifted and brightened at random, before the learner sees them.

EfficientZero (arXiv 2111.00210, appendix A), after Schwarzer et al. 2021 and
Yarats et al. 2021: without it, few frames are learnt by heart.
"""

import jax
import jax.numpy as jnp

from muzero_jax.types import Array

# EfficientZero's: normal noise is cut off here.
_MAX_DEVIATIONS = 2.0


def random_shift(rng_key: Array, images: Array, *, pixels: int) -> Array:
  """Returns each image moved by up to `pixels` in both directions.

  What moves in from outside repeats the edge.

  Args:
    rng_key: for the draw.
    images: [N, H, W, C]
    pixels: at least 0.
  """
  offsets = jax.random.randint(
    rng_key, (images.shape[0], 2), 0, 2 * pixels + 1, jnp.int32
  )
  margin = (pixels, pixels)
  padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)), mode='edge')

  def crop(image: Array, offset: Array) -> Array:
    start = (offset[0], offset[1], jnp.zeros((), offset.dtype))
    return jax.lax.dynamic_slice(image, start, images.shape[1:])

  return jax.vmap(crop)(padded, offsets)


def random_intensity(rng_key: Array, images: Array, *, scale: float) -> Array:
  """Returns each image times 1 + scale e, e normal and cut off at +-2.

  Args:
    rng_key: for the draw.
    images: [N, H, W, C]; uint8 stays uint8, rounded and kept within 0..255.
    scale: EfficientZero has 0.05.
  """
  noise = jax.random.normal(rng_key, (images.shape[0], 1, 1, 1), jnp.float32)
  noise = jnp.clip(noise, -_MAX_DEVIATIONS, _MAX_DEVIATIONS)
  changed = images * (1 + scale * noise)
  if jnp.issubdtype(images.dtype, jnp.integer):
    changed = jnp.clip(jnp.round(changed), 0, 255)
  return changed.astype(images.dtype)


def augment(
  rng_key: Array, images: Array, *, pixels: int, scale: float
) -> Array:
  """Returns images of any batch [..., H, W, C], each changed by itself."""
  shift_key, intensity_key = jax.random.split(rng_key)
  flat = images.reshape(-1, *images.shape[-3:])
  if pixels:
    flat = random_shift(shift_key, flat, pixels=pixels)
  if scale:
    flat = random_intensity(intensity_key, flat, scale=scale)
  return flat.reshape(images.shape)
