"""The errors that this library raises on purpose.

Commands print them as one line, without a traceback, and exit with their
`exit_status`. Every other exception is a defect and keeps its traceback.
"""


class Error(Exception):
  """Base class of all errors that are raised on purpose."""

  exit_status = 1


class UserError(Error, ValueError):
  """A wrong setting or argument: names the field, its value, what is allowed.

  Raised early; nothing was written or overwritten.
  """

  exit_status = 2


class RunError(Error, RuntimeError):
  """What was started rightly cannot go on, for example on a full disk."""


class NotFiniteError(Error, FloatingPointError):
  """Losses, observations or rewards are not finite."""


class StoppedError(Error):
  """Play or a run was asked to stop; all that can be saved is saved."""


class MissingPackageError(Error, ImportError):
  """An optional package is not installed; says which extra brings it."""
