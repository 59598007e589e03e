// The policy before and after the search, and Gumbel's tournament.

const MOST_ROWS = 12;

/** Return the actions worth a row: all of few, the best of many. */
function importantActions(rows, best) {
  if (rows.length <= MOST_ROWS + 2) return rows;
  const weight = (x) => (same(x.action, best) ? 1e9 : 0)
    + x.visits + x.prior + x.policy;
  return [...rows].sort((a, b) => weight(b) - weight(a)).slice(0, MOST_ROWS);
}

/** Make a bar of a share, with its percentage beside it. */
function bar(share, kind, name) {
  return h('div', {class: `bar ${kind}`, title: `${name}: ${percent(share)}`},
    h('span', {style: {width: `${100 * Math.max(0, Math.min(1, share))}%`}}),
    h('em', {}, percent(share)));
}

/** Draw a table of actions: prior, policy, visits, value. */
function drawPolicy(container, state) {
  const {analysis} = state;
  if (!analysis) {
    mount(container);
    return;
  }
  const rows = importantActions(analysis.actions, analysis.action);
  const left = analysis.actions.length - rows.length;
  const policies = ['policy ', h('span', {class: 'key before'}, 'before'),
    ' and ', h('span', {class: 'key after'}, 'after'), ' the search'];
  const head = ['move', policies, 'visits', 'q', 'reward'];
  mount(container,
    h('table', {class: 'policy'},
      h('thead', {}, h('tr', {}, head.map((x) => h('th', {scope: 'col'}, x)))),
      h('tbody', {}, rows.map((row) => h('tr', {
        class: same(row.action, analysis.action) ? 'best' : '',
      },
      h('th', {scope: 'row'}, row.name),
      h('td', {}, bar(row.prior, 'before', 'before'),
        bar(row.policy, 'after', 'after')),
      h('td', {}, count(row.visits)),
      h('td', {}, number(row.q)),
      h('td', {}, number(row.reward)))))),
    left > 0 ? h('p', {class: 'note'}, `${count(left)} other moves have less.`)
      : null);
}

/** Draw Gumbel's candidates and the rounds in which they were halved. */
function drawGumbel(container, state) {
  const {analysis} = state;
  const found = analysis?.gumbel;
  if (!found || !found.rounds.length) {
    mount(container);
    return;
  }
  const nameOf = (action) => analysis.actions.find(
    (x) => same(x.action, action))?.name ?? String(action);
  const isIn = (round, action) => round.actions.some((x) => same(x, action));
  mount(container,
    h('h3', {}, 'Gumbel: candidates and rounds'),
    h('p', {class: 'note'}, 'Candidates are drawn by prior and noise. Each '
      + 'round visits those that are left equally often and keeps the better '
      + 'half.'),
    h('div', {class: 'rounds'}, found.rounds.map((round, i) => h('div', {},
      h('strong', {}, `Round ${i + 1}`),
      h('span', {class: 'chips'}, found.candidates.map((action) => h('span', {
        class: isIn(round, action)
          ? same(action, analysis.action) ? 'chip in best' : 'chip in'
          : 'chip out',
      }, nameOf(action)))),
      h('span', {}, `${plural(round.visits_each, 'visit')} each`)))));
}

/** Say in one line what the search found. */
function verdict({analysis, view, info, searching}) {
  if (view.turn === 'over') {
    return 'It is over: there is nothing to search. Go back to an earlier '
      + 'position to see what the agent thought.';
  }
  if (!analysis) return searching ? '' : 'Nothing was searched here.';
  const best = analysis.actions.find((x) => same(x.action, analysis.action));
  const whose = info.kind === 'board' ? ', for who moves' : '';
  const line = analysis.line.slice(0, 6).map((x) => x.name).join(', ');
  return `Best: ${best?.name ?? analysis.action}. Value ${
    number(analysis.value)} after ${plural(analysis.simulations, 'simulation')
  }, ${number(analysis.network_value)} by the network alone${whose}.`
    + (line ? ` Most visited line: ${line}.` : '');
}
