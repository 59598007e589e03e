// The imagined future beside the real one, and the figures of the agent.

/** Return how wrong a prediction is: 'small', 'middle' or 'large'. */
function errorClass(error, scale) {
  const share = Math.abs(error) / scale;
  return share < 0.1 ? 'small' : share < 0.3 ? 'middle' : 'large';
}

/** Return the unit by which errors are judged: the size of what is real. */
function errorScale(values) {
  return values.filter(isNumber).reduce(
    (a, b) => Math.max(a, Math.abs(b)), 0.5);
}

/** Return half of the sum of differences: 0 of equal policies, at most 1. */
function policyDistance(a, b) {
  return a.reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0) / 2;
}

/** Make the cells of a figure: predicted, real, and how far they are apart. */
function comparison(predicted, real, scale) {
  if (!isNumber(real)) {
    return h('td', {}, h('span', {class: 'dream'}, number(predicted)));
  }
  const error = predicted - real;
  return h('td', {class: isNumber(predicted) ? errorClass(error, scale) : ''},
    h('span', {class: 'dream'}, number(predicted)), ' / ',
    h('span', {class: 'real'}, number(real)),
    isNumber(predicted)
      ? h('small', {}, `off by ${number(Math.abs(error))}`) : null);
}

/** Make bars of the likeliest actions, imagined above real. */
function policyCell(step, info) {
  if (step.note) return h('td', {}, h('small', {}, step.note));
  const real = step.real?.policy ?? [];
  const isPair = real.length === step.policy.length && real.length > 0;
  const weight = (i) => Math.max(step.policy[i], isPair ? real[i] : 0);
  const most = step.policy.map((_, i) => i)
    .sort((a, b) => weight(b) - weight(a)).slice(0, 4)
    .filter((i) => weight(i) >= 0.02);
  const distance = isPair ? policyDistance(step.policy, real) : null;
  return h('td', {class: isPair ? errorClass(distance, 1) : ''},
    most.map((i) => h('div', {class: 'pair'},
      h('span', {}, shorten(actionName(i, info, null), 9)),
      h('div', {}, bar(step.policy[i], 'dream', 'imagined'),
        isPair ? bar(real[i], 'real', 'real') : null))),
    isPair ? h('small', {}, `off by ${percent(distance)}`) : null);
}

/** Draw a column for each unrolled step. */
function drawFuture(container, state) {
  const {imagined, info, view} = state;
  if (!imagined) {
    mount(container, h('p', {class: 'note'},
      'The model unrolls the moves without seeing the board or screen again. '
      + 'Press "Imagine" to compare what it predicts with what really comes.'));
    return;
  }
  if (!imagined.length) {
    mount(container, h('p', {class: 'note'}, state.imaginedLine === 'played'
      ? 'No move was played from here yet: go back to an earlier position.'
      : 'The search has no line from here.'));
    return;
  }
  const known = imagined.filter((x) => x.real);
  const scale = (name) => errorScale(known.map((x) => x.real[name]));
  const row = (name, cells) => h('tr', {}, h('th', {scope: 'row'}, name),
    cells);
  const picture = (x) => h('td', {}, x.real?.picture
    ? h('div', {class: 'thumb'}, makePicture(
      x.real.picture, `The real position after step ${x.step}`)[0])
    : h('span', {class: 'note'}, 'not known'));
  mount(container,
    h('p', {class: 'legend'}, h('span', {class: 'dream'}, 'imagined'), ' / ',
      h('span', {class: 'real'}, 'real'), '. Errors: ',
      ['small', 'middle', 'large'].map((x) => h('span', {class: `key ${x}`},
        x))),
    h('div', {class: 'scroll'}, h('table', {class: 'future'},
      h('thead', {}, row('step', imagined.map((x) => h('th', {scope: 'col'},
        `${view.index + x.step}: ${x.name}`)))),
      h('tbody', {},
        known.length ? row('really', imagined.map(picture)) : null,
        row('reward', imagined.map((x) => comparison(
          x.reward, x.real?.reward, scale('reward')))),
        row('value', imagined.map((x) => comparison(
          x.value, x.real?.value, scale('value')))),
        row('policy', imagined.map((x) => policyCell(x, info)))))),
    known.length ? null : h('p', {class: 'note'},
      'What really comes is not known along this line.'));
}

/** Draw what is known of the agent: facts, and how its model was measured. */
function drawAgent(container, state, onDiagnose) {
  const {info} = state;
  const facts = {
    environment: info.name, 'trained for': `${plural(info.step, 'step')}`,
    players: count(info.players),
    actions: info.continuous
      ? `${plural(info.num_actions, 'number')} each` : count(info.num_actions),
    'simulations a move': count(info.simulations),
    discount: String(info.discount),
  };
  mount(container,
    h('dl', {class: 'facts'}, Object.entries(facts).map(
      ([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    h('h3', {}, 'How well the model predicts'),
    info.diagnose
      ? diagnosis(info.diagnose)
      : h('p', {}, h('button', {
        type: 'button', id: 'diagnose', 'data-key': 'diagnose',
        onclick: onDiagnose,
      }, 'Measure it (takes a while)')));
}

/** Show the figures of a diagnosis, and what is to be said about them. */
function diagnosis({note, ...found}) {
  return [figures(found), note ? h('p', {}, note) : null];
}

/** Make a table of figures; each is a number, or a record of numbers. */
function figures(found) {
  const rows = Object.entries(found).map(([name, x]) => [
    name, x !== null && typeof x === 'object' ? x : {figure: x}]);
  const columns = [...new Set(rows.flatMap(([, x]) => Object.keys(x)))];
  const show = (x) => Number.isInteger(x) ? count(x)
    : isNumber(x) ? number(x, 3) : x ?? '–';
  return h('table', {class: 'figures'},
    h('thead', {}, h('tr', {}, h('td'), columns.map(
      (x) => h('th', {scope: 'col'}, x)))),
    h('tbody', {}, rows.map(([name, x]) => h('tr', {},
      h('th', {scope: 'row'}, name),
      columns.map((column) => h('td', {}, show(x[column])))))));
}
