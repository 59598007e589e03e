"""House rules: what is imported how, and how long anything may be."""

import ast
import pathlib
import subprocess
import sys

import muzero_jax

ROOT = pathlib.Path(muzero_jax.__path__[0])
PATHS = sorted(ROOT.rglob('*.py'))
MOST_PARAMETERS, MOST_LINES, MOST_FILE_LINES, MOST_NESTING = 10, 60, 400, 2

_MCTX = 'mctx.* has these parameters, and a caller of it must not notice'
# (rule, file, function) -> why. One that is not needed any more fails, too.
EXCEPTIONS = {
  ('parameters', 'search/engine.py', 'search'): _MCTX,
  ('parameters', 'search/engine.py', 'search_with_root'): _MCTX,
  ('parameters', 'search/policies.py', 'muzero_policy'): _MCTX,
  ('parameters', 'search/policies.py', 'gumbel_muzero_policy'): _MCTX,
  ('parameters', 'search/stochastic.py', 'stochastic_muzero_policy'): _MCTX,
  ('parameters', 'search/stochastic.py', 'gumbel_stochastic_muzero_policy'):
    _MCTX,
}

# Each package by itself: an import of one must not make modules of another
# reachable.
REACH = '''
import importlib, pkgutil, sys

def names(package):
  return [x for x in pkgutil.iter_modules(package.__path__)
          if not x.name.startswith('_')]

def check(path):
  for name in [x for x in sys.modules if x.split('.')[0] == 'muzero_jax']:
    del sys.modules[name]
  package = importlib.import_module(path)
  here, inside = dir(package), names(package)
  for one in inside:
    print('KNOWN' if one.name in here else 'NOT', f'{path}.{one.name}')
  for one in inside:
    if one.ispkg:
      check(f'{path}.{one.name}')

def load(package):
  for one in names(package):
    try:
      found = getattr(package, one.name)
    except ImportError as error:
      if (error.name or '').split('.')[0] == 'muzero_jax':
        raise
      continue  # An optional package is not installed.
    print('REACHED', found.__name__)
    if one.ispkg:
      load(found)

check('muzero_jax')
load(importlib.import_module('muzero_jax'))
print('DONE')
'''


def test_every_module_is_reached_by_attributes():
  done = subprocess.run(
    [sys.executable, '-c', REACH], text=True, capture_output=True)
  assert done.returncode == 0, done.stderr
  # Some packages print when they are imported.
  told = [x.split() for x in done.stdout.splitlines()]
  assert [x for x in told if x[:1] in (['NOT'], ['DONE'])] == [['DONE']]
  reached = {x[1] for x in told if x[:1] == ['REACHED']}
  assert len(reached) > 200 and 'muzero_jax.play.gtp.engine' in reached


def _count_parameters(function):
  given = function.args
  return len([
    *given.posonlyargs, *given.args, *given.kwonlyargs,
    *filter(None, [given.vararg, given.kwarg])])


def _count_lines(function):
  """Lines of the body, without the docstring."""
  body = function.body
  if ast.get_docstring(function, clean=False) is not None:
    body = body[1:]
  return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def _functions(node, depth=0, names=()):
  """Each function definition, its depth among functions and its name."""
  for child in ast.iter_child_nodes(node):
    if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
      inside = (*names, child.name)
      yield child, depth + 1, '.'.join(inside)
      yield from _functions(child, depth + 1, inside)
    elif isinstance(child, ast.ClassDef):
      yield from _functions(child, depth, (*names, child.name))
    else:
      yield from _functions(child, depth, names)


def breaches(text, name):
  """What of a file breaks a rule, by how much."""
  found = {}
  if (num_lines := len(text.splitlines())) > MOST_FILE_LINES:
    found['file', name, ''] = num_lines
  for function, depth, path in _functions(ast.parse(text)):
    if (count := _count_parameters(function)) > MOST_PARAMETERS:
      found['parameters', name, path] = count
    if (count := _count_lines(function)) > MOST_LINES:
      found['lines', name, path] = count
    if depth > MOST_NESTING:
      found['nesting', name, path] = depth
  return found


def test_nothing_is_too_long_or_too_deep():
  found = {}
  for path in PATHS:
    found |= breaches(path.read_text(), path.relative_to(ROOT).as_posix())
  assert {key: found[key] for key in found if key not in EXCEPTIONS} == {}
  not_needed = {*EXCEPTIONS} - {*found}
  assert not not_needed, 'exceptions that are not needed any more'


def test_breaches_are_found():
  parameters = ', '.join(f'x{i}' for i in range(9))
  body = '\n'.join(['  pass'] * 61)
  text = f'''
class A:
  def many(self, {parameters}, **rest):
    """Says something."""
    lambda: 0

  def few(self, {parameters}):
    def inner():
      if True:
        async def innermost():
          pass

def long():
  """One
  docstring."""
{body}

def short():
{body.removesuffix("  pass")}
''' + '\n' * 400
  assert breaches(text, 'a.py') == {
    ('file', 'a.py', ''): len(text.splitlines()),
    ('parameters', 'a.py', 'A.many'): 11,
    ('nesting', 'a.py', 'A.few.inner.innermost'): 3,
    ('lines', 'a.py', 'long'): 61,
  }
