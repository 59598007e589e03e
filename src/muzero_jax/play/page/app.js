// The page's state, and what the user can do with it.

const SPEEDS = [
  {name: '1 a second', delay: 1000, count: 1},
  {name: '3 a second', delay: 333, count: 1},
  {name: '10 a second', delay: 100, count: 1},
  {name: 'as fast as it goes', delay: 0, count: 1},
  {name: 'skipping, 10 at a time', delay: 0, count: 10},
];

const state = {
  info: null, view: null, analysis: null, tree: null, imagined: null,
  imaginedLine: '', hint: null, overlay: 'visits', speed: 1, tab: 'search',
  playing: false, takeOver: false, searching: true, depth: null,
  waiting: 0, moving: false, error: '',
  // Whether the analysis is of the position shown, not of one before it.
  fresh: false,
  // Number of the position shown: answers to calls of an earlier one are stale.
  place: 0,
  // Number of the latest start of `play`: an older loop ends by it.
  run: 0,
};

/** Parts of the page: of what they depend, and how they are drawn. */
const PARTS = [
  [(x) => [x.view, x.fresh, x.overlay, x.hint], () => drawPicture(
    byId('picture'), state, move)],
  [(x) => [x.view, x.hint, x.takeOver, x.fresh, x.overlay], () => drawMoves(
    byId('moves'), state, move)],
  [(x) => [x.view], () => drawCurves(byId('curves'), state, seek)],
  [(x) => [x.tree], () => {
    drawTree(byId('tree'), state, {toggle, more: showMore, key: treeKey});
    drawNode(byId('node'), state, showMore);
  }],
  [(x) => [x.fresh, x.analysis, x.view], () => {
    byId('search').classList.toggle(
      'stale', Boolean(state.analysis) && !state.fresh);
    byId('thought').hidden = !state.analysis;
    byId('verdict').textContent = verdict(state);
  }],
  [(x) => [x.analysis], () => {
    drawPolicy(byId('policy'), state);
    drawGumbel(byId('gumbel'), state);
  }],
  [(x) => [x.imagined, x.tab], () => drawFuture(byId('imagined'), state)],
  [(x) => [x.info], () => drawAgent(byId('agent'), state, diagnose)],
  [(x) => [x.view, x.playing, x.moving, x.waiting, x.error, x.takeOver],
    drawControls],
];
const drawnOf = PARTS.map(() => null);

/** Change the state, and draw the parts that depend on what changed. */
function set(changes) {
  Object.assign(state, changes);
  if (!state.view) {
    drawStatus();
    return;
  }
  PARTS.forEach(([inputs, draw], i) => {
    const now = inputs(state);
    if (drawnOf[i]?.every((x, k) => x === now[k])) return;
    drawnOf[i] = now;
    draw();
  });
}

function drawStatus() {
  const text = !state.view && state.waiting ? 'starting …'
    : state.playing ? 'playing' : state.waiting ? 'thinking …' : '';
  byId('status').textContent = text;
  document.body.setAttribute('aria-busy', String(state.waiting > 0));
  byId('error').textContent = state.error;
  byId('error').hidden = !state.error;
}

function drawControls() {
  const {view, info} = state;
  const watches = info.kind === 'single' || view.colour === null;
  drawStatus();
  document.body.dataset.turn = view.turn;
  byId('turn').textContent = turnText(state);
  byId('at').textContent = `${view.index} / ${view.length}`;
  byId('index').max = view.length;
  byId('index').value = view.index;
  byId('index').setAttribute(
    'aria-valuetext', `${view.index} of ${view.length}`);
  byId('watch').hidden = !watches;
  byId('play').textContent = state.playing ? 'Pause' : 'Play';
  byId('afresh').hidden = view.index === view.length;
  const isStart = view.index === 0;
  const isEnd = view.index === view.length;
  const off = {
    start: isStart, back: isStart, forward: isEnd, end: isEnd,
    play: view.is_last && isEnd, step: view.is_last && isEnd,
    undo: isStart && info.kind === 'single', hint: view.turn === 'over',
    resign: view.colour === null || view.turn === 'over',
  };
  for (const [id, isOff] of Object.entries(off)) byId(id).disabled = isOff;
}

/** Call the server; on an error, show its line and return null. */
async function ask(verb, body) {
  set({waiting: state.waiting + 1});
  try {
    return await post(verb, body);
  } catch (error) {
    set({error: error.message, playing: false});
    return null;
  } finally {
    set({waiting: state.waiting - 1});
  }
}

let lastChange = Promise.resolve();

/** Make a call that answers with a position, after those before it. */
function change(verb, body = {}) {
  lastChange = lastChange.then(() => changeNow(verb, body));
  return lastChange;
}

async function changeNow(verb, body) {
  set({moving: true, error: ''});
  const given = verb === 'new' ? body : {session: state.view.session, ...body};
  const view = await ask(verb, given);
  if (!view) {
    set({moving: false});
    return false;
  }
  const isElsewhere = !state.view || view.session !== state.view.session
    || view.index !== state.view.index || view.length !== state.view.length;
  // The old analysis stays in sight until the next one comes, if one will.
  const gone = view.turn === 'over' || verb === 'new' || !state.searching
    ? {analysis: null, tree: null} : {};
  const stale = isElsewhere ? {
    fresh: false, imagined: null, place: state.place + 1, ...gone,
  } : {};
  set({view, moving: false, hint: view.hint ?? null, ...stale});
  return true;
}

/** Let the opponent answer, then search the position. */
async function settle() {
  const {view, info} = state;
  const isTheirs = info.kind === 'board' && view.colour !== null
    && view.turn === 'agent' && view.index === view.length;
  if (isTheirs && !(await change('advance', {count: 1}))) return;
  if (isTheirs && state.view.turn === 'agent') {
    // Some games let one player move several times in a row.
    await settle();
    return;
  }
  await think();
}

/** Search the position shown; an answer for another one is dropped. */
async function think() {
  const {view, place} = state;
  if (!state.searching || view.turn === 'over') return;
  const body = {session: view.session};
  if (state.depth) body.simulations = state.depth;
  const analysis = await ask('analyse', body);
  if (!analysis || state.place !== place) return;
  // The analysis is a point of the value curve, too.
  const value = [...state.view.curves.value];
  value[view.index] = view.to_play === 1 && state.info.kind === 'board'
    ? -analysis.value : analysis.value;
  const told = {...state.view, curves: {...state.view.curves, value}};
  set({analysis, tree: makeTree(analysis), view: told, fresh: true});
  if (!state.playing) await openLine(place, analysis.line.slice(0, 2));
}

/** Open the tree along the most visited line. */
async function openLine(place, line) {
  for (const {node} of line) {
    const children = await fetchNode(node);
    if (!children || state.place !== place) return;
    set({tree: opened(children)});
  }
}

/** Take the user's action; one that comes while another is made is none. */
async function move(action) {
  if (state.moving) return;
  if (state.playing) set({playing: false});
  if (await change('move', {action})) await settle();
}

async function seek(index) {
  set({playing: false});
  if (await change('goto', {index})) await think();
}

/** Go one step on: what was played already is shown again, then play. */
async function forward(steps = 1) {
  const {view} = state;
  if (view.index < view.length) {
    const index = Math.min(view.length, view.index + steps);
    return change('goto', {index});
  }
  return !view.is_last && change('advance', {count: steps});
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

async function play() {
  const run = state.run + 1;
  set({playing: true, takeOver: false, run});
  byId('take_over').checked = false;
  const goesOn = () => state.playing && state.run === run;
  while (goesOn()) {
    const {delay, count: steps} = SPEEDS[state.speed];
    const start = performance.now();
    if (!(await forward(steps))) break;
    const {view} = state;
    if (view.is_last || (view.turn === 'over' && view.index === view.length)) {
      break;
    }
    if (steps === 1) await think();
    await pause(Math.max(0, start + delay - performance.now()));
  }
  if (state.run !== run) return;
  set({playing: false});
  if (!state.fresh) await think();
}

async function newGame(event) {
  event?.preventDefault();
  set({playing: false});
  const colour = byId('colour').value;
  const isBoard = state.info.kind === 'board';
  const body = {
    colour: isBoard && colour !== '' ? Number(colour) : null,
    simulations: Number(byId('simulations').value),
  };
  if (isBoard) body.opponent = byId('opponent').value;
  if (await change('new', body)) await settle();
}

/** Pass on what of a running game can be changed. */
async function changeOptions() {
  if (!byId('setup').reportValidity()) return;
  const body = {simulations: Number(byId('simulations').value)};
  if (state.info.kind === 'board') body.opponent = byId('opponent').value;
  await change('options', body);
}

async function save(format) {
  const found = await ask('record', {session: state.view.session, format});
  if (found) download(found.name, found.text);
}

async function diagnose() {
  const found = await ask('diagnose', {});
  if (found) set({info: {...state.info, diagnose: found.diagnose}});
}

async function imagine(event) {
  event.preventDefault();
  const line = byId('line').value;
  const steps = Number(byId('steps').value);
  const {view, place} = state;
  const imagined = await ask(
    'imagine', {session: view.session, steps, line});
  if (imagined && state.place === place) {
    set({imagined, imaginedLine: line});
  }
}

/** Fetch a node with more of its children. */
async function fetchNode(id, limit = 8) {
  return ask('node', {session: state.view.session, node: id, limit});
}

/** Return the tree with a fetched node, which is open. */
function opened(node) {
  const {tree} = state;
  const parent = tree.nodes.get(node.id)?.parent ?? null;
  return {
    ...tree, nodes: absorb(tree.nodes, node, parent),
    open: new Set([...tree.open, node.id]),
  };
}

async function toggle(id) {
  const {tree} = state;
  const node = tree.nodes.get(id);
  if (shownChildren(tree, id).length) {
    const open = new Set(tree.open);
    open.delete(id);
    set({tree: {...tree, open, selected: id}});
    return;
  }
  set({tree: {...tree, selected: id}});
  if (!node.num_children) return;
  const found = await fetchNode(id);
  if (found && state.tree?.nodes.has(id)) set({tree: opened(found)});
}

async function showMore(id) {
  const limit = (state.tree.nodes.get(id).ids?.length ?? 0) + 12;
  const found = await fetchNode(id, limit);
  if (found && state.tree?.nodes.has(id)) set({tree: opened(found)});
}

/** Open the nodes at the edge of the tree, as many as can be read. */
async function openLevel() {
  const {tree} = state;
  const room = Math.max(0, MOST_SHOWN - shownIds(tree).length);
  const ids = closedIds(tree).slice(0, Math.ceil(room / 4));
  const found = await Promise.all(ids.map((id) => fetchNode(id)));
  if (!state.tree || state.tree.root !== tree.root) return;
  let grown = state.tree;
  for (const node of found.filter((x) => x && grown.nodes.has(x.id))) {
    grown = {
      ...grown,
      nodes: absorb(grown.nodes, node, grown.nodes.get(node.id).parent),
      open: new Set([...grown.open, node.id]),
    };
  }
  set({tree: grown});
}

/** Show the root's children alone. */
function closeAll() {
  const {tree} = state;
  set({tree: {...tree, open: new Set([tree.root]), selected: tree.root}});
}

function treeKey(event, id) {
  if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    toggle(id);
    return;
  }
  if (event.key === 'ArrowRight' && !shownChildren(state.tree, id).length) {
    event.preventDefault();
    if (state.tree.nodes.get(id).num_children) toggle(id);
    return;
  }
  const to = walkTree(state.tree, id, event.key);
  if (to === null) return;
  event.preventDefault();
  set({tree: {...state.tree, selected: to}});
  byId('tree').querySelector(`[data-node="${to}"]`)?.focus();
}

function showTab(name) {
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const isShown = tab.id === `tab_${name}`;
    tab.setAttribute('aria-selected', String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
    byId(tab.getAttribute('aria-controls')).hidden = !isShown;
  }
  set({tab: name});
}

function tabKey(event) {
  const tabs = [...document.querySelectorAll('[role=tab]')];
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!step) return;
  const to = tabs[(tabs.indexOf(event.target) + step + tabs.length)
    % tabs.length];
  showTab(to.getAttribute('aria-controls'));
  to.focus();
}

/** Keys of the whole page: space plays, and the game's own if taken over. */
function pageKey(event) {
  const {info, view} = state;
  const isTyping = event.target.closest?.(
    'input:not([type=checkbox]), select, [role=tree], [role=tab]');
  if (!view || isTyping || event.ctrlKey || event.altKey || event.metaKey) {
    return;
  }
  // With Shift held a letter is a capital.
  const plain = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const key = event.shiftKey ? `Shift+${plain}` : event.key;
  if (state.takeOver && key in info.keys) {
    event.preventDefault();
    move(info.keys[key]);
    return;
  }
  const isPressing = event.target.closest?.('button, input');
  if (event.key === ' ' && !isPressing && !byId('watch').hidden) {
    event.preventDefault();
    if (state.playing) set({playing: false});
    else play();
  }
}

const on = (id, kind, listener) => byId(id).addEventListener(kind, listener);
const thenThink = async (isDone) => { if (await isDone) await think(); };

function listen() {
  on('setup', 'submit', newGame);
  on('opponent', 'change', changeOptions);
  on('simulations', 'change', changeOptions);
  on('start', 'click', () => seek(0));
  on('back', 'click', () => seek(state.view.index - 1));
  on('forward', 'click', () => seek(state.view.index + 1));
  on('end', 'click', () => seek(state.view.length));
  on('index', 'change', () => seek(Number(byId('index').value)));
  on('play', 'click', () => state.playing ? set({playing: false}) : play());
  on('step', 'click', () => {
    set({playing: false});
    return thenThink(forward());
  });
  on('afresh', 'click', () => thenThink(change('advance', {count: 1})));
  on('speed', 'change', () => set({speed: Number(byId('speed').value)}));
  on('take_over', 'change', () => set({
    takeOver: byId('take_over').checked, playing: false}));
  on('undo', 'click', () => {
    set({playing: false});
    return thenThink(change('undo'));
  });
  on('hint', 'click', () => change('hint'));
  on('resign', 'click', () => change('resign'));
  on('save_json', 'click', () => save('json'));
  on('save_sgf', 'click', () => save('sgf'));
  on('overlay', 'change', (event) => set({overlay: event.target.value}));
  on('think', 'change', () => {
    set({searching: byId('think').checked});
    if (state.searching && !state.fresh) think();
  });
  on('search_again', 'submit', (event) => {
    event.preventDefault();
    set({depth: Number(byId('depth').value) || null, searching: true});
    byId('think').checked = true;
    think();
  });
  on('imagine', 'submit', imagine);
  for (const tab of document.querySelectorAll('[role=tab]')) {
    tab.addEventListener(
      'click', () => showTab(tab.getAttribute('aria-controls')));
    tab.addEventListener('keydown', tabKey);
  }
  document.addEventListener('keydown', pageKey);
}

/** Fill in what depends on the agent alone. */
function introduce(info) {
  document.title = `${info.name}: muzero_jax`;
  byId('title').textContent = info.name;
  document.body.dataset.kind = info.kind;
  byId('about').textContent = `trained for ${plural(info.step, 'step')}`;
  for (const node of document.querySelectorAll('[data-for]')) {
    node.hidden = node.dataset.for !== info.kind;
  }
  byId('opponent').append(...info.opponents.map((x) => h('option', {}, x)));
  byId('simulations').value = info.simulations;
  byId('simulations').max = info.max_simulations;
  byId('depth').max = info.max_simulations;
  byId('speed').append(...SPEEDS.map(
    (x, i) => h('option', {value: i, selected: i === state.speed}, x.name)));
  byId('overlay').querySelector(`[value="${state.overlay}"]`).checked = true;
  byId('new').textContent = info.kind === 'board' ? 'New game' : 'New episode';
  byId('undo').textContent = info.kind === 'board' ? 'Undo' : 'One back';
  byId('undo').hidden = info.kind === 'single';
  // More than two numbers cannot be chosen by keys.
  byId('take_over').parentNode.hidden = info.kind === 'board'
    || (info.continuous && !Object.keys(info.keys).length);
  byId('save_sgf').hidden = !info.env_id.startsWith('go');
  mount(byId('tree_tools'),
    h('button', {type: 'button', id: 'open_level', onclick: openLevel},
      'Open one level more'),
    h('button', {type: 'button', id: 'close_all', onclick: closeAll},
      'Close all'),
    h('span', {class: 'note'}, `In a circle: the value${
      info.kind === 'board' ? ' for who moves there (double: the second player)'
        : ''}. On a line: move, visits, prior, reward. `
      + 'Orange: the most visited line.'));
}

async function begin() {
  const info = await ask('info', {});
  if (!info) return;
  introduce(info);
  state.info = info;
  listen();
  await newGame();
}

begin();
