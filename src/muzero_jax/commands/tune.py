"""Search for better settings: many short trainings, chosen by Optuna.

muzero-jax tune --flagfile=x.flags --trials=50 --workdir=runs/tune
"""

import functools
import pathlib

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start, train
from muzero_jax.config import Config, command_line
from muzero_jax.errors import StoppedError, UserError
from muzero_jax.runs import signals
from muzero_jax.tuning import results, space, study


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags: those of a training, and of the search."""
  command_line.define(
    defaults=Config(), workdir='runs/tune', flag_values=flag_values)
  flags.DEFINE_integer(
    'trials', 50, 'Trials in all; the same command with more goes on.',
    lower_bound=1, upper_bound=100_000, flag_values=flag_values)
  flags.DEFINE_multi_string(
    'tune', [], 'A setting to try, as field=low:high, field=low:high:log or '
    'field=a,b,c; choices with commas in them are separated by |. Given again '
    'for each setting. By default a handful around the settings given.',
    flag_values=flag_values)
  flags.DEFINE_enum(
    'objective', None, list(study.OBJECTIVES), 'What is to be large: the mean '
    'of the evaluation at the end, or the training return in the last tenth; '
    'always over all of num_seeds. By default evaluation, unless eval_episodes '
    'is 0.', flag_values=flag_values)
  flags.DEFINE_bool(
    'prune', True, 'Give up trials whose training return is below the median '
    'of the others at the same step. Never in games of two players, whose '
    'return in self-play says nothing, nor with a dataset.',
    flag_values=flag_values)
  flags.DEFINE_integer(
    'tune_seed', 0, 'Of what is tried.', lower_bound=0,
    upper_bound=2**31 - 1, flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Make the trials, print and write the best settings; return the status."""
  wanted = _wanted(arguments, flag_values)
  workdir = pathlib.Path(arguments.workdir)
  study.check(workdir, wanted)
  with signals.as_a_command() as stop:
    try:
      over = _search(workdir, wanted, flag_values.trials, stop)
    except StoppedError:
      console.say('stopped; the same command goes on with the study')
      return 128 + stop.signum
  console.answer('\n'.join(results.describe(workdir, wanted, over)))
  return 0 if study.best(over) else 1


def _wanted(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> study.Wanted:
  """Return what is searched, as far as the command line says it."""
  if not flag_values['preset'].value:
    raise UserError('--preset is needed, or a --flagfile that has it')
  base = command_line.config_of(arguments)
  texts = flag_values.tune or space.default(base)
  objective = flag_values.objective or (
    'evaluation' if base.eval_episodes else 'return')
  if objective == 'evaluation' and not base.eval_episodes:
    raise UserError(
      "objective = 'evaluation' needs eval_episodes above 0, or take return")
  if objective == 'return' and base.dataset:
    raise UserError(
      "objective = 'return': with a dataset nothing is played; allowed is "
      'evaluation')
  return study.Wanted(
    base, space.parse(texts, base), objective, flag_values.prune,
    flag_values.tune_seed)


def _search(
  workdir: pathlib.Path, wanted: study.Wanted, num_trials: int,
  stop: signals.Stop,
) -> list[study.Trial]:
  """Load what training needs and make the trials."""
  base = wanted.base
  console.say(
    f'muzero_jax: {num_trials} trials on {base.family}/{base.env_id} in '
    f'{workdir}; what is tried:')
  for one in wanted.space:
    console.say(f'  --tune={one.text}')
  train.divide_cpu(base.num_devices)
  start.prepare()
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import envs
  from muzero_jax.tuning import trial

  stop.check()
  envs.check_env_id(base.family, base.env_id)
  is_self_play = envs.spec(base).num_players > 1
  if is_self_play and wanted.objective == 'return':
    raise UserError(
      "objective = 'return' says nothing of a game of two players, in which "
      'an agent plays itself; allowed is evaluation')
  return study.run(
    workdir, wanted, num_trials=num_trials,
    objective=functools.partial(trial.run, objective=wanted.objective),
    prunes=not (is_self_play or base.dataset),
    check_stop=stop.check,
    after_trial=functools.partial(results.write, workdir, wanted),
    say=console.say)
