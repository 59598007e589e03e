"""Command lines and flagfiles in, a Config and its run directory out.

Every Config field is a flag. All that a user can get wrong here ends in one
line on stderr and exit status 2, before jax is imported: commands import it,
and whatever else is slow, inside the function that they hand to `run`.
"""

import dataclasses
import errno
import sys
import textwrap
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from absl import flags

from muzero_jax import config as config_lib
from muzero_jax import console, errors, paths
from muzero_jax.config import Config, flagfiles, imports, presets, settings
from muzero_jax.errors import UserError

# What a full or broken disk answers: nobody's defect.
_OF_DISKS = (
  errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
# What a number may end in.
_SUFFIXES = {'k': 10**3, 'm': 10**6}
_bases: weakref.WeakKeyDictionary[flags.FlagValues, Config] = (
  weakref.WeakKeyDictionary())


class Arguments(NamedTuple):
  """What a command line says; `resolve` makes a Config of it."""

  workdir: str
  given: dict[str, Any]  # Fields given by flag.
  base: Config  # The preset, or the script's default.
  preset: str = ''  # Its name where it was given by flag.
  # Modules that a stored configuration may have imported.
  allow_imports: tuple[str, ...] = ()


def define(
  *,
  defaults: Config | str = 'cartpole',
  workdir: str = '',
  flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Defines a flag for each Config field, --preset and --workdir.

  Args:
    defaults: the Config, or the preset, of a command line without flags.
    workdir: the run directory of a command line without --workdir; if empty,
      --workdir has to be given.
    flag_values: where the flags live.
  """
  if isinstance(defaults, str):
    base, preset = config_lib.from_preset(defaults), defaults
  else:
    base, preset = defaults, ''
  flags.DEFINE_string(
    'preset', preset or None, 'Where fields without a flag take their values: '
    f'one of {", ".join(presets.PRESETS)}.', flag_values=flag_values)
  define_workdir(workdir, flag_values=flag_values)
  for name, field in config_lib.FIELDS.items():
    text = (f'{field.metadata["help"]} {_capital(config_lib.allowed(name))}; '
            f'{config_lib.text(getattr(base, name))} by default.')
    if field.type is bool:
      flags.DEFINE_bool(name, None, text, flag_values=flag_values)
    else:
      flags.DEFINE(
        _FieldParser(name), name, None, text, flag_values=flag_values)
  _bases[flag_values] = base


def define_workdir(
  workdir: str = '', *, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
  """Defines --workdir alone, for scripts that read a run directory."""
  flags.DEFINE_string(
    'workdir', workdir or None, 'Run directory: configuration, checkpoints, '
    'metrics and curves. The same command run again resumes it. Where an agent '
    'is only read, a file that the command export wrote, or the name of an '
    'agent that comes with this package, will do.',
    flag_values=flag_values)
  flags.DEFINE_multi_string(
    'allow_import', [], 'Modules that the configuration stored in a run '
    'directory may import, and so run; several separated by commas. What '
    'env_id names on this command line is allowed anyway.',
    flag_values=flag_values)


def define_agent(
  *, snapshot: bool = False, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
  """Define --index and, if asked for, --snapshot: which agent of a run."""
  flags.DEFINE_integer(
    'index', 0, 'Which agent of a run of several.', lower_bound=0,
    flag_values=flag_values)
  if snapshot:
    define_snapshot(flag_values=flag_values)


def define_snapshot(*, flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Define --snapshot: which parameters of an agent."""
  flags.DEFINE_string(
    'snapshot', None, 'Read this instead of the newest checkpoint: best (of '
    'the evaluations during training), or the step of one of the run\'s '
    'snapshots.', flag_values=flag_values)
  flags.register_validator(
    'snapshot', lambda value: value in (None, 'best') or (
      value.isascii() and value.isdecimal()),
    message='must be best or a whole number of at least 0',
    flag_values=flag_values)


def define_workdirs(
  *, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
  """Define --workdir for scripts that look at several run directories."""
  flags.DEFINE_multi_string(
    'workdir', [], 'Run directory; given again for each further one.',
    flag_values=flag_values)


def parse(
  argv: Sequence[str] | None = None,
  *,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> Arguments:
  """Returns what the command line says; flags and flagfiles, the last wins.

  Args:
    argv: the program's name and its arguments; `sys.argv` by default.
    flag_values: where `define` or `define_workdir` put the flags.

  Raises:
    UserError: one line that names the flag, its value and what is allowed.
  """
  argv = list(sys.argv if argv is None else argv)
  _read(argv, flag_values)
  base, preset, given = _bases.get(flag_values, Config()), '', {}
  if flag_values in _bases:
    given = {
      name: flag_values[name].value for name in config_lib.FIELDS
      if flag_values[name].present
    }
    if flag_values['preset'].present:
      preset = str(flag_values['preset'].value)
      base = config_lib.from_preset(preset)
    elif flag_values['preset'].value:
      base = _made_for(base, given)
  workdir = flag_values['workdir'].value
  if isinstance(workdir, list):
    workdir = workdir[0] if all(workdir) and workdir else ''
  if not workdir:
    raise UserError('--workdir is needed: the directory of the run')
  if 'dataset' in given:
    given['dataset'] = paths.expand(str(given['dataset']), 'dataset')
  allowed = (
    flag_values['allow_import'].value if 'allow_import' in flag_values else [])
  return Arguments(
    paths.expand(workdir, 'workdir'), given, base, preset,
    imports.check_names(','.join(allowed)) if allowed else ())


def config_of(arguments: Arguments) -> Config:
  """Return the Config of a command line alone, whatever its workdir holds."""
  return dataclasses.replace(arguments.base, **arguments.given)


def _made_for(base: Config, given: dict[str, Any]) -> Config:
  """Returns the preset made for an environment, or the script's own."""
  asked = tuple(
    str(given.get(name, getattr(base, name))) for name in ('family', 'env_id'))
  found = presets.MADE_FOR.get((asked[0], asked[1]))
  return config_lib.from_preset(found) if found else base


def run(
  main: Callable[[Arguments], Any],
  argv: Sequence[str] | None = None,
  *,
  flag_values: flags.FlagValues = flags.FLAGS,
  usage: str = '',
) -> NoReturn:
  """Parses, calls `main` and exits with what it returns.

  An `errors.Error`, while parsing or in `main`, becomes one line on stderr and
  its own exit status; so does a disk that is full or broken. Every other
  exception keeps its traceback: it is a defect, not a user's mistake.

  Args:
    main: gets what the command line says and returns the exit status.
    argv: the program's name and its arguments; `sys.argv` by default.
    flag_values: where `define` or `define_workdir` put the flags.
    usage: what --help prints above the flags; by default the docstring of the
      script that runs.
  """
  argv = list(sys.argv if argv is None else argv)
  try:
    if {'--help', '-help', '-h'} & set(argv[1:]):
      console.answer(_help(usage or _docstring(argv[0]), flag_values))
      sys.exit(0)
    arguments = parse(argv, flag_values=flag_values)
    status = main(arguments)
  except errors.Error as error:
    status = tell(error)
  except OSError as error:
    if error.errno not in _OF_DISKS:
      raise
    where = f'{error.filename}: ' if error.filename else ''
    status = tell(errors.RunError(f'{where}{error.strerror}'))
  finally:
    console.finish()
  sys.exit(status)


def tell(error: errors.Error) -> int:
  """Prints an error as one line on stderr; returns its exit status."""
  console.say(f'error: {" ".join(str(error).split())}', sys.stderr)
  return error.exit_status


def value_of(name: str, text: str) -> Any:
  """Return the value of a Config field that a flag of this text would have.

  Raises:
    UserError: names the field, the text and what is allowed.
  """
  if config_lib.FIELDS[name].type is bool:
    known = {'true': True, 'false': False}
    return config_lib.check(name, known.get(text.lower(), text))
  return _FieldParser(name).parse(text)


class _FieldParser(flags.ArgumentParser):
  """Reads one Config field; its errors are those of Config."""

  syntactic_help = ''

  def __init__(self, name: str) -> None:
    super().__init__()
    self._name = name

  def parse(self, argument: Any) -> Any:
    """Returns the field's value."""
    kind = config_lib.FIELDS[self._name].type
    value: Any = argument
    try:
      if kind in (int, float):
        value = _number(argument)
      elif kind is not str:
        value = tuple(_number(entry) for entry in argument.split(','))
    except ValueError:
      value = argument  # For check to refuse, in its words.
    return config_lib.check(self._name, value)

  def flag_type(self) -> str:
    """Returns the type's name in absl's own listings."""
    return str(config_lib.FIELDS[self._name].type)


def _number(text: str) -> float:
  """Returns a number; 1k is a thousand and 1m a million."""
  try:
    return int(text)
  except ValueError:
    number = _with_suffix(text)
  # 1e6 and 1.5k are whole numbers to whoever types them.
  is_meant = text.lower().endswith(tuple(_SUFFIXES)) or 'e' in text.lower()
  return int(number) if number.is_integer() and is_meant else number


def _with_suffix(text: str) -> float:
  factor = _SUFFIXES.get(text[-1:].lower(), 0)
  return float(text[:-1]) * factor if factor else float(text)


def _read(argv: list[str], flag_values: flags.FlagValues) -> None:
  """Parses; every refusal of absl's becomes one ValueError."""
  argv = [*argv[:1], *flagfiles.expand(argv[1:])]
  try:
    rest = flag_values(argv)
  except flags.UnrecognizedFlagError as error:
    raise UserError(_unknown(error.flagname, flag_values)) from None
  except flags.IllegalFlagValueError as error:
    raise UserError(_illegal(str(error), flag_values)) from None
  except flags.Error as error:
    raise UserError(str(error)) from None
  except ValueError as error:
    raise UserError(str(error)) from None
  if len(rest) > 1:
    raise UserError(
      f'unexpected argument {rest[1]!r}: flags are --name=value, and comments '
      'in flagfiles start with # in the first column')


def _unknown(name: str, flag_values: flags.FlagValues) -> str:
  known = list(flag_values)
  bare = name.removeprefix('no')
  hint = config_lib.nearest(name, known) or config_lib.nearest(bare, known)
  return f'unknown flag --{name}' + hint.replace('mean ', 'mean --')


def _illegal(message: str, flag_values: flags.FlagValues) -> str:
  """Returns absl's "flag --name=value: why" in the words of Config."""
  flag, _, why = message.partition(': ')
  name, _, value = flag.removeprefix('flag --').partition('=')
  # A command without the configuration may have a flag of a field's name.
  if name not in config_lib.FIELDS or flag_values not in _bases:
    return message
  if why.startswith(f'{name} = '):
    return why
  return f'{name} = {value!r} is not {config_lib.allowed(name)}'


def _docstring(program: str) -> str:
  """Returns the docstring of the script that runs."""
  return (sys.modules['__main__'].__doc__ or f'{program} [flags]').strip()


def _own_flags(flag_values: flags.FlagValues) -> set[str]:
  """Returns the names of a script's flags, without those of libraries."""
  if flag_values is not flags.FLAGS:
    return set(flag_values)
  module_flags = flag_values.get_key_flags_for_module(sys.modules['__main__'])
  return {'allow_import', 'flagfile', 'preset', 'workdir', *config_lib.FIELDS,
          *(flag.name for flag in module_flags)}


def _help(usage: str, flag_values: flags.FlagValues) -> str:
  """Returns the usage and the flags, those of a configuration by its parts."""
  own = _own_flags(flag_values)
  given = [name for name in flag_values if name in own]
  has_config = flag_values in _bases
  fields = set(config_lib.FIELDS) if has_config else set()
  lines = [usage, '', 'Flags:']
  rest = [name for name in given if name not in fields]
  lines += _describe(rest, flag_values)
  if not has_config:
    return '\n'.join(lines)
  has_preset = flag_values['preset'].default is not None
  family = _bases[flag_values].family if has_preset else ''
  others: list[str] = []
  told: set[str] = set()  # Some parts share a field.
  for part in settings.PARTS:
    names = [
      item.name for item in dataclasses.fields(part) if item.name not in told]
    told.update(names)
    mine = [name for name in names if _is_for(name, family)]
    others += [name for name in names if name not in mine]
    lines += ['', (part.__doc__ or '').splitlines()[0]]
    lines += _describe(mine, flag_values)
  if others:
    lines += ['', 'Of other families of environments:']
    lines += _describe(others, flag_values)
  return '\n'.join(lines)


def _is_for(name: str, family: str) -> bool:
  """Returns whether a field does something for a family; '' is any."""
  families = config_lib.FIELDS[name].metadata['families']
  return not (family and families) or family in families


def _describe(names: Sequence[str], flag_values: flags.FlagValues) -> list[str]:
  """Returns lines on some flags."""
  lines = []
  for name in names:
    flag = flag_values[name]
    lines.append(f'  --{"[no]" if flag.boolean else ""}{name}')
    default = '' if flag.default is None else f' Default: {flag.default}.'
    lines += textwrap.wrap(
      ' '.join((flag.help or '').split()) + default, 78,
      initial_indent='      ', subsequent_indent='      ')
  return lines


def _capital(text: str) -> str:
  return text[0].upper() + text[1:]
