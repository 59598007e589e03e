// The board or screen, the cells to click on, and the moves as buttons.

const SAFE_TAGS = new Set([
  'svg', 'g', 'defs', 'symbol', 'use', 'title', 'desc', 'path', 'rect',
  'circle', 'ellipse', 'line', 'polyline', 'polygon', 'text', 'tspan', 'image',
  'clipPath', 'mask', 'pattern', 'marker', 'linearGradient', 'radialGradient',
  'stop',
]);
const SAFE_LINK = /^(#|data:image\/(png|jpeg|gif|webp|svg\+xml)[;,])/;

/** Tell whether an attribute of a picture does nothing but draw. */
function isSafe(attribute) {
  const name = attribute.localName.toLowerCase();
  const value = attribute.value.trim();
  if (name.startsWith('on')) return false;
  if (name === 'href' || name === 'src') return SAFE_LINK.test(value);
  return !/url\(\s*['"]?(?!#)/i.test(value) && !/javascript:/i.test(value);
}

/** Parse a picture of the server; throws where it does more than draw. */
function parseSvg(text) {
  const root = new DOMParser().parseFromString(text, 'image/svg+xml')
    .documentElement;
  const all = [root, ...root.querySelectorAll('*')];
  if (root.namespaceURI !== SVG || root.localName !== 'svg') {
    throw new Error('The server sent a picture that is no SVG.');
  }
  for (const node of all) {
    const safe = node.namespaceURI === SVG && SAFE_TAGS.has(node.localName)
      && [...node.attributes].every(isSafe);
    if (!safe) throw new Error('The server sent a picture that is not safe.');
  }
  return document.importNode(root, true);
}

/** Return [width, height] of an SVG element, as far as it says. */
function svgSize(svg) {
  const box = svg.getAttribute('viewBox')?.trim().split(/[\s,]+/).map(Number);
  if (box?.length === 4 && box[2] > 0 && box[3] > 0) return [box[2], box[3]];
  const size = ['width', 'height'].map((x) => parseFloat(svg.getAttribute(x)));
  return size.every((x) => x > 0) ? size : [1, 1];
}

/** Return [width, height] of a PNG in base64, out of its first bytes. */
function pngSize(base64) {
  const bytes = atob(base64.slice(0, 32));
  const word = (i) => [0, 1, 2, 3].reduce(
    (sum, k) => 256 * sum + bytes.charCodeAt(i + k), 0);
  return [word(16) || 1, word(20) || 1];
}

/** Return the element of a picture, and its [width, height]. */
function makePicture(picture, name) {
  if (!picture.svg) {
    const source = `data:image/png;base64,${picture.png}`;
    return [h('img', {src: source, alt: name}), pngSize(picture.png)];
  }
  const svg = parseSvg(picture.svg);
  const size = svgSize(svg);
  svg.setAttribute('viewBox', svg.getAttribute('viewBox')
    ?? `0 0 ${size[0]} ${size[1]}`);
  svg.removeAttribute('width');
  svg.removeAttribute('height');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', name);
  return [svg, size];
}

/** Return what the agent thinks of an action: a text and a share of one. */
function thought(row, mode, most) {
  if (!row || !mode) return null;
  if (mode === 'visits') {
    return row.visits
      ? {text: count(row.visits), share: row.visits / most.visits} : null;
  }
  if (mode === 'prior') {
    return row.prior >= 0.005
      ? {text: percent(row.prior), share: row.prior / most.prior} : null;
  }
  return isNumber(row.q)
    ? {text: number(row.q), share: Math.min(1, Math.abs(row.q) / most.value),
      negative: row.q < 0}
    : null;
}

/** Return the largest visits, prior and value among actions. */
function largest(rows) {
  const most = (values) => Math.max(1e-9, ...values);
  return {
    visits: most(rows.map((x) => x.visits)),
    prior: most(rows.map((x) => x.prior)),
    value: most(rows.map((x) => Math.abs(x.q ?? 0))),
  };
}

/** Return the index of the cell next to one in a direction, or -1. */
function neighbour(cells, from, key) {
  const [dx, dy] = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  }[key];
  const centre = (c) => [c.x + c.w / 2, c.y + c.h / 2];
  const [x0, y0] = centre(cells[from]);
  let best = -1;
  let least = Infinity;
  cells.forEach((cell, i) => {
    const [x, y] = centre(cell);
    const along = (x - x0) * dx + (y - y0) * dy;
    const aside = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
    const cost = along + 3 * aside;
    if (along > 1e-6 && cost < least) [best, least] = [i, cost];
  });
  return best;
}

/** Move the focus between cells with the arrow keys. */
function walkCells(event, cells) {
  if (!event.key.startsWith('Arrow')) return;
  const buttons = [...event.currentTarget.querySelectorAll('button')];
  const from = buttons.indexOf(event.target);
  const to = from < 0 ? -1 : neighbour(cells, from, event.key);
  if (to < 0) return;
  event.preventDefault();
  buttons[to].focus();
}

/** Return a button for each click area, with the agent's thoughts in it. */
function makeCells(state, onMove) {
  const {view, analysis, overlay, hint, fresh} = state;
  const rows = fresh ? analysis.actions : [];
  const most = largest(rows);
  const told = new Set();
  return view.cells.map((cell, i) => {
    const name = actionName(cell.action, state.info, view);
    const isLegal = view.legal.some((x) => same(x, cell.action));
    // Several areas may stand for one action, as a column's squares do.
    const isFirst = !told.has(JSON.stringify(cell.action));
    told.add(JSON.stringify(cell.action));
    const row = rows.find((x) => same(x.action, cell.action));
    const idea = isFirst ? thought(row, overlay, most) : null;
    // In a column the thought stands above the pieces.
    const kinds = ['cell', isLegal ? 'legal' : '',
      cell.h > 2 * cell.w ? 'column' : '',
      same(view.last_action, cell.action) ? 'last' : '',
      hint !== null && same(hint, cell.action) ? 'hint' : ''];
    return h('button', {
      class: kinds.filter(Boolean).join(' '),
      type: 'button',
      'data-key': `cell${i}`,
      'data-action': JSON.stringify(cell.action),
      'aria-label': idea ? `${name}, ${overlay} ${idea.text}` : name,
      'aria-disabled': isLegal && view.turn === 'you' ? null : 'true',
      title: name,
      style: {
        left: `${100 * cell.x}%`, top: `${100 * cell.y}%`,
        width: `${100 * cell.w}%`, height: `${100 * cell.h}%`,
      },
      onclick: () => { if (isLegal) onMove(cell.action); },
    }, idea ? h('span', {
      class: ['idea', idea.negative ? 'negative' : '',
        idea.share < 0.5 ? 'faint' : ''].filter(Boolean).join(' '),
      'data-share': idea.share,
    }, idea.text) : null);
  });
}

/** Draw the picture with its cells. */
function drawPicture(container, state, onMove) {
  const {view} = state;
  const [picture, [width, height]] = makePicture(
    view.picture, `${state.info.name}, position ${view.index}`);
  const cells = view.cells ? makeCells(state, onMove) : [];
  const frame = h('div', {
    class: 'frame',
    style: {aspectRatio: `${width} / ${height}`},
    onkeydown: (event) => walkCells(event, view.cells ?? []),
  }, picture, cells);
  // A property of CSS cannot be set by Object.assign.
  frame.style.setProperty('--ratio', width / height);
  frame.querySelectorAll('.idea').forEach(
    (x) => x.style.setProperty('--share', x.dataset.share));
  mount(container, frame);
}

/** Draw a button for each legal move that has no cell. */
function drawMoves(container, state, onMove) {
  const {view, info, analysis, overlay, fresh} = state;
  const rows = fresh && info.kind === 'board' ? analysis.actions : [];
  const most = largest(rows);
  const inCells = (action) => view.cells?.some((x) => same(x.action, action));
  const isMine = view.turn === 'you' || (info.kind === 'single'
    && state.takeOver && !view.is_last);
  const actions = isMine ? view.legal.filter((x) => !inCells(x)) : [];
  const keys = Object.entries(info.keys ?? {});
  mount(container, actions.map((action) => {
    const key = keys.find(([, x]) => same(x, action))?.[0];
    const name = actionName(action, info, view);
    const row = rows.find((x) => same(x.action, action));
    const idea = thought(row, overlay, most);
    return h('button', {
      type: 'button',
      class: state.hint !== null && same(state.hint, action) ? 'hint' : '',
      'data-key': `move${JSON.stringify(action)}`,
      'data-action': JSON.stringify(action),
      onclick: () => onMove(action),
    }, name, key ? h('kbd', {}, keyName(key)) : null,
    idea ? h('small', {}, idea.text) : null);
  }));
}

/** Name a key as it is printed on keyboards. */
function keyName(key) {
  return {
    ArrowLeft: '←', ArrowRight: '→', ArrowUp: '↑', ArrowDown: '↓', ' ': 'space',
  }[key] ?? (key.startsWith('Shift+') ? `⇧ ${keyName(key.slice(6))}` : key);
}

/** Say whose turn it is, or how the game ended, and the hint. */
function turnText(state) {
  const {hint, analysis, info, view} = state;
  if (hint === null) return turnOf(state);
  // A vector has no number among the actions, but a name in the search.
  const name = analysis?.actions.find((x) => same(x.action, hint))?.name
    ?? actionName(hint, info, view);
  return `${turnOf(state)} Hint: ${name}.`;
}

function turnOf(state) {
  const {view, info} = state;
  if (view.result && view.index === view.length) return view.result.text;
  const earlier = view.index < view.length
    ? ` Position ${view.index} of ${view.length}: a move from here replaces `
      + 'what came later.' : '';
  if (info.kind === 'single') {
    const sums = `Return ${number(view.return)}, reward ${number(view.reward)}.`;
    return sums + (earlier && state.takeOver ? earlier : '');
  }
  const who = `the ${player(view.to_play)}`;
  if (view.turn === 'over') return 'The game is over.';
  if (view.turn === 'you') return `Your turn, as ${who}.${earlier}`;
  const name = view.colour === null ? 'The agent' : `The opponent (${
    view.opponent})`;
  return `${name} moves, as ${who}.${earlier}`;
}
