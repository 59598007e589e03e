"""The report of runs: one page, whatever lies in a run directory."""

import html.parser
import json
import re

import pytest
import stored_run
import tiny_run

from muzero_jax import config as config_lib
from muzero_jax.evaluation import curves, run_files, run_page

_EVIL = '<script>alert(1)</script>"\'><img src=x onerror=alert(2)>'
_GIF = b'GIF89a' + b'\1' * 20


class _Parser(html.parser.HTMLParser):
  """Collects a page's elements, and whether all are closed."""

  _VOID = {'meta', 'img', 'input', 'line', 'circle', 'polyline'}

  def __init__(self, text):
    super().__init__()
    self.elements, self.open, self.text = [], [], ''
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in self._VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    if tag not in self._VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def _write(workdir, name, value):
  (workdir / name).write_text(json.dumps(value))


def _store(workdir, *, rows=None, **changes):
  fields = dict(num_steps=1000) | changes
  config = config_lib.from_preset(fields.pop('preset', 'cartpole'), **fields)
  stored_run.store(workdir, config)
  if rows is not None:
    (workdir / 'metrics.jsonl').write_text(
      ''.join(json.dumps(row) + '\n' for row in rows))
  return str(workdir)


def _page(*workdirs, film=None):
  text = run_page.page(run_files.read(list(map(str, workdirs))), film)
  return text, _Parser(text)


def _all_files(tmp_path):
  workdir = tmp_path / 'all'
  _store(workdir, num_seeds=2)
  one = dict(bias=0.25, error=1.5, explained=0.75, num_rows=321)
  _write(workdir, 'diagnose.json', dict(
    step=1000, search_value=one, values=[one, one], rewards=[one],
    end_value=one, policy_entropy=0.5, search_entropy=0.4, agreement=0.875))
  _write(workdir, 'ladder.json', dict(ratings=[
    dict(player='random', elo=0.0, low=-9.0, high=9.0, games=20, score=0.1,
         step=None),
    dict(player='step 500', elo=123.4, low=80.0, high=160.0, games=20,
         score=0.7, step=500)]))
  return workdir


def test_a_page_has_all_of_a_run(tmp_path):
  text, page = _page(_all_files(tmp_path))
  for words in (
    'classic/cartpole', 'all', '1,000 of 1,000 steps in 0:01:39 h',
    'num_steps', 'random', '123', '321', '0.75', '88 %', 'Ratings',
    'all 2 agents', 'agent 1', 'evaluation without noise', 'Settings',
  ):
    assert words in page.text, words
  assert 'differ from the preset cartpole' in page.text
  # Each setting is there, with its meaning.
  codes = re.findall(r'<code(?: title="[^"]+")?>(\w+)</code>', text)
  assert set(config_lib.FIELDS) <= set(codes)


def test_curves_of_runs_lie_over_each_other(tmp_path):
  rows = lambda scale: [
    {'step': 100 * i, 'seconds': 1.0 * i, 'return': scale * i,
     'loss': 1.0 / (i + 1), 'search_entropy': 0.5, 'steps_per_second': 9.0,
     'grad_norm': 2.0, 'note': 'text', 'flag': True, 'nothing': None}
    for i in range(5)]
  _, page = _page(
    _store(tmp_path / 'a', rows=rows(1.0)),
    _store(tmp_path / 'b', rows=rows(2.0), learning_rate=0.5))
  charts = [
    (attrs['aria-label'], json.loads(attrs['data-curves']))
    for tag, attrs in page.elements if tag == 'svg']
  assert [title.partition(' of')[0] for title, _ in charts] == [
    'return', 'loss', 'search entropy', 'steps per second', 'grad norm']
  first = charts[0][1]
  assert [(one['label'], one['run'], one['step'], one['y']) for one in first
          ] == [('a', 0, [0, 100, 200, 300, 400], [0, 1, 2, 3, 4]),
                ('b', 1, [0, 100, 200, 300, 400], [0, 2, 4, 6, 8])]
  assert 'What differs between the runs' in page.text
  assert '0.5' in page.text


def test_nothing_is_asked_of_a_network_and_nothing_else_runs(tmp_path):
  text, page = _page(_all_files(tmp_path))
  assert not re.search(r'(?:https?:)?//(?!\s)[\w.]+\.\w+', re.sub(
    r'//[^\n]*\n', '\n', text))
  loads = [attrs for _, attrs in page.elements
           if attrs.keys() & {'src', 'href', 'srcset', 'style', 'onclick'}]
  assert loads == []
  policy = next(attrs['content'] for tag, attrs in page.elements
                if 'Content-Security-Policy' in attrs.values())
  assert policy.startswith("default-src 'none'; style-src 'sha256-")
  assert "'unsafe" not in policy and 'http' not in policy
  scripts = re.findall(r'<script>(.*?)</script>', text, re.DOTALL)
  assert len(scripts) == 1
  assert f"script-src '{run_page._digest(scripts[0])}'" in policy


def test_hostile_files_stay_text(tmp_path):
  workdir = tmp_path / 'a'
  rows = [{'step': 1, 'return': 1.0, _EVIL: 2.0, f'{_EVIL}loss': 1.0,
           'text': _EVIL, 'n' * 5000: 1.0}]
  _store(workdir, rows=rows, family='gymnasium', env_id=f'evil:{_EVIL}')
  _write(workdir, 'evaluation.json', {
    'mean': _EVIL, 'standard_error': 2, 'step': _EVIL, 'agents': 3,
    _EVIL: {'wins': _EVIL, 'draws': [], 'losses': {}, 'interval': [_EVIL, 1]}})
  _write(workdir, 'diagnose.json', dict(
    search_value=dict(bias=_EVIL), values=_EVIL, rewards=[_EVIL, {}],
    agreement=_EVIL, step=_EVIL))
  _write(workdir, 'ladder.json', dict(ratings=[
    dict(player=_EVIL, elo=1.0, low=_EVIL, step=_EVIL), 7, dict(elo=True)]))
  text, page = _page(workdir)
  tags = [tag for tag, _ in page.elements]
  assert tags.count('script') == 1 and 'img' not in tags
  assert not any('onerror' in attrs for _, attrs in page.elements)
  assert _EVIL in page.text and _EVIL not in text
  assert 'n' * 300 not in text


@pytest.mark.parametrize('name, text, words', [
  ('metrics.jsonl', None, 'metrics.jsonl is missing'),
  ('metrics.jsonl', '{"step": ', 'metrics.jsonl holds no row'),
  ('evaluation.json', None, 'evaluation.json is missing'),
  ('evaluation.json', '{"mean": NaN}', 'evaluation.json is damaged'),
  ('evaluation.json', '[1]', 'evaluation.json is damaged'),
  ('diagnose.json', '{', 'diagnose.json is damaged'),
  ('ladder.json', '[' * 9000, 'ladder.json is damaged'),
])
def test_what_is_missing_or_damaged_is_one_line(tmp_path, name, text, words):
  _store(tmp_path / 'a')
  path = tmp_path / 'a' / name
  path.write_text(text) if text is not None else path.unlink()
  run, = run_files.read([str(tmp_path / 'a')])
  assert [words in note for note in run.notes] == [True]
  assert words in _page(tmp_path / 'a')[1].text


def test_runs_of_different_environments_get_a_note(tmp_path):
  _, page = _page(
    _store(tmp_path / 'x/run'), _store(tmp_path / 'y/run', preset='minatar'))
  assert 'different environments' in page.text
  assert 'x/run' in page.text and 'y/run' in page.text
  assert 'classic/cartpole, minatar/breakout' in page.text


@pytest.mark.parametrize('points', [
  [(0, 0.0)], [(5, 3.0), (9, 3.0)], [(0, -1e300), (2**53, 1e300)],
  [(0, 1e-300), (1, 1e300)], [(0, 5e-324), (1, 1.0)],
  [(i, float(i % 7)) for i in range(5000)],
  [(1, 1e15), (2, 1e15 + 1)],
])
@pytest.mark.parametrize('may_be_log', [False, True])
def test_whatever_the_numbers_they_lie_within_the_picture(points, may_be_log):
  text = curves.chart(
    'x', [curves.Curve('a', 0, points)], 'steps', may_be_log)
  drawn = re.findall(r'points="([^"]+)"', text) or [
    f'{x},{y}' for x, y in re.findall(r'cx="([^"]+)" cy="([^"]+)"', text)]
  places = [tuple(map(float, one.split(','))) for one in drawn[0].split()]
  assert 1 <= len(places) <= curves.MOST_POINTS
  assert all(0 <= x <= 440 and 0 <= y <= 250 for x, y in places)
  assert 1 <= text.count('class="grid"') <= 12


def test_films_are_what_they_say(tmp_path):
  good = tmp_path / 'film.gif'
  good.write_bytes(_GIF)
  film = run_files.read_film(good)
  assert (film.mime, film.data) == ('image/gif', _GIF)
  assert run_files.find_film(str(tmp_path)) == good
  _, page = _page(_store(tmp_path / 'a'), film=film)
  assert [attrs['src'][:26] for tag, attrs in page.elements if tag == 'img'
          ] == ['data:image/gif;base64,R0lG']
  for name, data in (('a.svg', b'<svg/>'), ('a.gif', b'<html>'),
                     ('a.mp4', b'GIF89a'), ('a.webp', b'RIFF')):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match='film = '):
      run_files.read_film(tmp_path / name)
  with pytest.raises(ValueError, match='cannot be read'):
    run_files.read_film(tmp_path / 'none.gif')


def test_a_film_that_is_too_large_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(run_files, 'MOST_FILM_BYTES', 10)
  (tmp_path / 'film.gif').write_bytes(_GIF)
  with pytest.raises(ValueError, match='at most 10'):
    run_files.read_film(tmp_path / 'film.gif')


def test_the_command_writes_the_page(tmp_path, capsys):
  _store(tmp_path / 'a')
  (tmp_path / 'a/film.webp').write_bytes(b'nothing')
  (tmp_path / 'b').mkdir()
  (tmp_path / 'b/film.gif').write_bytes(_GIF)
  _store(tmp_path / 'b')
  output = tmp_path / 'page.html'
  call = lambda *argv: tiny_run.answer(capsys, 'report', *argv)
  done = call(f'--workdir={tmp_path}/a', f'--workdir={tmp_path}/b',
              f'--output={output}')
  assert done.returncode == 0, done.stderr
  assert 'is no webp' in done.stdout and str(output) in done.stdout
  assert 'data:image/gif' in output.read_text()
  before = output.read_bytes()
  for argv, words in (
    ([], '--workdir'), ([f'--workdir={tmp_path}'], 'config.json'),
    ([f'--workdir={tmp_path}/a', f'--workdir={tmp_path}/a/'], 'twice'),
    ([f'--workdir={tmp_path}/a', f'--film={tmp_path}/a/config.json'], 'film'),
  ):
    done = call(f'--output={output}', *argv)
    assert done.returncode == 2 and words in done.stderr, argv
    assert tiny_run.is_plain_line(done.stderr)
  done = call(f'--workdir={tmp_path}/a', f'--output={tmp_path}/no/x.html')
  assert done.returncode == 2 and 'no directory' in done.stderr
  assert output.read_bytes() == before
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'a', 'b', 'page.html']


def test_a_damaged_configuration_is_one_line(tmp_path, capsys):
  _store(tmp_path / 'a')
  for text in ('{"num_envs": 0}', '[]', '{"no_such_field": 1}', '{'):
    (tmp_path / 'a/config.json').write_text(text)
    done = tiny_run.answer(
      capsys, 'report', f'--workdir={tmp_path}/a',
      f'--output={tmp_path}/x.html')
    assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert not (tmp_path / 'x.html').exists()
