"""A convolution whose gradient is fast inside loops on the CPU too.

XLA's CPU backend computes the gradients of a convolution 15 to 70 times slower
inside a loop than outside (jax 0.10.2; `benchmarks/conv.py`), and the whole
training step is one loop. There, the gradients are forward convolutions and
matrix products instead; elsewhere they are XLA's own.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.types import Array

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_FEW_PLANES = 8  # With so few, an odd number costs nothing.


class Conv(nn.Module):
  """A convolution with 'SAME' padding and a bias.

  Attributes:
    features: output planes.
    kernel: height and width of the kernel.
    stride: of both axes.
    dtype: of the arithmetic; parameters stay float32.
  """

  features: int
  kernel: tuple[int, int] = (3, 3)
  stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return nn.Conv(
      self.features,
      self.kernel,
      strides=self.stride,
      dtype=self.dtype,
      conv_general_dilated=_flax_conv,  # type: ignore[arg-type]
    )(x)


def _flax_conv(
  x: Array, kernel: Array, strides: Sequence[int], padding: Any, **kwargs: Any
) -> Array:
  """`conv_general_dilated` as Flax calls it, for what `Conv` can ask for."""
  del padding, kwargs  # 'SAME', no dilation, one group.
  if kernel.shape[:2] == (1, 1) and tuple(strides) == (1, 1):
    return x @ kernel[0, 0]
  return conv(x, kernel, strides[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Array, kernel: Array, stride: int) -> Array:
  """Returns the convolution of x with 'SAME' padding.

  Args:
    x: [B, H, W, I]
    kernel: [h, w, I, O]
    stride: of both axes.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), O]
  """
  return _native(x, kernel, stride)


def _native(x: Array, kernel: Array, stride: int) -> Array:
  inputs = x.shape[-1]
  if inputs % 2 and inputs > _FEW_PLANES:
    # A plane of actions beside those of a state makes their number odd, which
    # halves the speed on a CPU; one more plane of zeros costs little.
    x = jnp.pad(x, ((0, 0),) * 3 + ((0, 1),))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), 'SAME', dimension_numbers=_LAYOUT
  )


def _by_patches(x: Array, kernel: Array, stride: int) -> Array:
  """The same convolution as one product over patches [B, H, W, h * w * I]."""
  height, width, inputs, outputs = kernel.shape
  pads, sizes = [(0, 0)], []
  for size, taps in zip(x.shape[1:3], (height, width)):
    out = -(-size // stride)
    total = max((out - 1) * stride + taps - size, 0)
    pads.append((total // 2, total - total // 2))
    sizes.append((out - 1) * stride + 1)
  x = jnp.pad(x, [*pads, (0, 0)])
  patches = [
    jax.lax.slice(
      x,
      (0, i, j, 0),
      (x.shape[0], i + sizes[0], j + sizes[1], inputs),
      (1, stride, stride, 1),
    )
    for i in range(height)
    for j in range(width)
  ]
  return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, outputs)


def _forward(
  x: Array, kernel: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
  return _native(x, kernel, stride), (x, kernel)


def _backward(
  stride: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  def pull_back(f: Any, x: Array, kernel: Array, g: Array) -> Any:
    return jax.vjp(lambda x, w: f(x, w, stride), x, kernel)[1](g)

  kernel = saved[1]
  # SAME pads an odd kernel by as much on either side.
  is_plain = stride == 1 and all(taps % 2 for taps in kernel.shape[:2])
  return jax.lax.platform_dependent(
    *saved,
    gradient,
    cpu=(
      _pull_back_plain
      if is_plain
      else functools.partial(pull_back, _by_patches)
    ),
    default=functools.partial(pull_back, _native),
  )


def _pull_back_plain(
  x: Array, kernel: Array, gradient: Array
) -> tuple[Array, Array]:
  """Returns the gradients at stride 1 and odd kernels, without patches.

  That of x is a convolution with the turned kernel; that of each tap of the
  kernel is one product over all positions.
  """
  height, width = x.shape[1:3]
  rows, columns = kernel.shape[:2]
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  padded = jnp.pad(
    x, ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2, (0, 0))
  )
  flat = gradient.reshape(-1, gradient.shape[-1])
  taps = [
    padded[:, i : i + height, j : j + width].reshape(flat.shape[0], -1).T
    @ flat
    for i in range(rows)
    for j in range(columns)
  ]
  return (
    _native(gradient, turned, 1),
    jnp.stack(taps).reshape(kernel.shape),
  )


conv.defvjp(_forward, _backward)
