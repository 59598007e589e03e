"""Gradients of convolutions inside a loop: XLA's own against ours.

python -m benchmarks.conv

Four updates in one `fori_loop`, at the shapes of a small Atari network, per
update and beside XLA's own outside of a loop.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import common
from muzero_jax.networks import conv

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'conv.json'
_BATCH, _LENGTH, _REPEATS = 64, 4, 3
# Height and width, input planes, output planes, stride.
_SHAPES = ((48, 4, 16, 2), (24, 16, 32, 2), (12, 32, 32, 1), (6, 32, 32, 1))


def _native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), 'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _milliseconds(run: Callable[..., Any], *arguments: Any) -> float:
  run = jax.jit(run)
  jax.block_until_ready(run(*arguments))
  times = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    times.append(time.perf_counter() - start)
  return 1000 * statistics.median(times)


def main() -> None:
  rows = []
  print('shape (size, in, out, stride)   XLA, no loop   XLA, loop   ours, loop')
  for size, inputs, outputs, stride in _SHAPES:
    x = jax.random.normal(jax.random.key(0), (_BATCH, size, size, inputs))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, inputs, outputs))

    def gradients(
      f: Any, x: jax.Array, kernel: jax.Array, stride: int = stride
    ) -> Any:
      loss = lambda x, w: jnp.sum(f(x, w, stride) ** 2)
      return jax.grad(loss, argnums=(0, 1))(x, kernel)

    def loop(f: Any, x: jax.Array, kernel: jax.Array) -> Any:
      def body(_: Any, carry: Any) -> Any:
        return jax.tree.map(
          lambda a, g: a - 1e-6 * g, carry, gradients(f, *carry)
        )

      return jax.lax.fori_loop(0, _LENGTH, body, (x, kernel))

    row = dict(
      shape=[size, inputs, outputs, stride],
      xla_no_loop_ms=_milliseconds(
        lambda a, b: gradients(_native, a, b), x, kernel
      ),
      xla_loop_ms=_milliseconds(lambda a, b: loop(_native, a, b), x, kernel)
      / _LENGTH,
      ours_loop_ms=_milliseconds(
        lambda a, b: loop(conv.conv, a, b), x, kernel
      ) / _LENGTH,
    )
    rows.append(row)
    print(
      f'{str(tuple(row["shape"])):30}{row["xla_no_loop_ms"]:12.1f} ms'
      f'{row["xla_loop_ms"]:9.1f} ms{row["ours_loop_ms"]:10.1f} ms'
    )
  common.store(_RESULTS, 'gradients', dict(
    command='python -m benchmarks.conv', batch=_BATCH, rows=rows,
    **common.machine(),
  ))


if __name__ == '__main__':
  main()
