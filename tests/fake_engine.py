"""A GTP engine in a few lines, which tests write to disk and start.

It plays the first empty point from the top left corner, and can be told to
misbehave at the N-th `genmove` of a process.
"""

import sys

_SOURCE = '''
import os, sys, time
at, how, log = int(sys.argv[1]), sys.argv[2], sys.argv[3]
size, taken, count = 9, set(), 0
columns = 'ABCDEFGHJKLMNOPQRST'
for line in sys.stdin:
  number, command, *rest = line.split()
  with open(log, 'a') as file:
    file.write(' '.join([command, *rest]) + '\\n')
  answer = ''
  if command == 'boardsize':
    size = int(rest[0])
  elif command == 'clear_board':
    taken = set()
  elif command == 'known_command':
    answer = 'true'
  elif command == 'play':
    if how == 'refuse' and count + 1 >= at:
      print('?' + number, 'illegal move', end='\\n\\n', flush=True)
      continue
    taken.add(rest[1].upper())
  elif command == 'genmove':
    count += 1
    free = [f'{c}{r}' for r in range(size, 0, -1) for c in columns[:size]]
    free = [v for v in free if v not in taken]
    answer = free[0] if len(free) > 1 else 'pass'  # Never suicide.
    if count == at:
      if how == 'die':
        os._exit(3)
      if how == 'hang':
        time.sleep(1000)
      if how == 'rubbish':
        print('I think I shall play', answer, end='\\n\\n', flush=True)
        continue
      if how == 'flood':
        while True:
          print('more and more', flush=True)
      if how == 'vertex':
        answer = 'Z77'
      if how == 'illegal':
        answer = sorted(taken)[0] if taken else 'A9'
      if how == 'resign':
        answer = 'resign'
    if how == 'pass':
      answer = 'pass'
    taken.add(answer.upper())
  print('=' + number, answer, end='\\n\\n', flush=True)
'''


def write(folder, how='well', at=0):
  """Returns the command that starts such an engine."""
  script = folder / 'engine.py'
  script.write_text(_SOURCE, encoding='utf-8')
  return (
    sys.executable, '-S', '-E', str(script), str(at), how,
    str(folder / 'log'))


def log(folder):
  """Returns the commands that engines of a folder were sent."""
  return (folder / 'log').read_text(encoding='utf-8').splitlines()
