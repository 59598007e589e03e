"""Set before any test imports jax: the platform, its devices and its cache.

The CPU poses as eight devices so that sharding can be tested anywhere;
whatever names no device still runs on the first.
"""

import gc
import os
import pathlib
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_FLAGS = {
  '--xla_force_host_platform_device_count': '8',
  # Tests compile much and compute little: without LLVM's optimisations they
  # take a third less, without the emitters of fused loops 40 % less again.
  '--xla_backend_optimization_level': '0',
  '--xla_cpu_use_fusion_emitters': 'false',
}

if 'jax' in sys.modules:
  raise RuntimeError('jax was imported before tests/conftest.py')

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
for _name, _value in _FLAGS.items():
  if _name not in os.environ.get('XLA_FLAGS', ''):
    os.environ['XLA_FLAGS'] = ' '.join(
      filter(None, [os.environ.get('XLA_FLAGS'), f'{_name}={_value}'])
    )
# Compiling is what tests spend their time on.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_ROOT / '.jax_cache'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')
# Subprocesses started by tests find the package as the tests do.
os.environ['PYTHONPATH'] = os.pathsep.join(
  filter(None, [str(_ROOT / 'src'), str(_ROOT), os.environ.get('PYTHONPATH')])
)
# What jax has compiled is never garbage; to look at all of it takes long.
gc.set_threshold(100_000, 50, 100)
# Bars and pictures never ask for a display.
os.environ.setdefault('MPLBACKEND', 'Agg')
