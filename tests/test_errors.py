"""Errors: what they are, and the exit status that commands give them."""

import inspect

import pytest

from muzero_jax import errors
from muzero_jax.acting import host_worker


@pytest.mark.parametrize('error, builtin, status', [
  (errors.UserError, ValueError, 2),
  (errors.RunError, RuntimeError, 1),
  (errors.NotFiniteError, FloatingPointError, 1),
  (errors.MissingPackageError, ImportError, 1),
])
def test_errors_are_also_pythons_own(error, builtin, status):
  assert issubclass(error, errors.Error) and issubclass(error, builtin)
  assert error('words').exit_status == status
  assert str(error('words')) == 'words'


def test_no_others_are_raised_on_purpose():
  found = {
    name for name, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.Error)}
  assert found == {
    'Error', 'UserError', 'RunError', 'NotFiniteError', 'StoppedError',
    'MissingPackageError'}
  assert issubclass(host_worker.WorkerError, errors.RunError)
