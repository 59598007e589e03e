"""Scripts: flags to a Config to a run."""

import signal
import sys

# Before a command has handlers of its own, Ctrl-C would print the traceback of
# an import. Python's -m stands here while the script's package is imported.
if sys.argv[:1] == ['-m']:
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
