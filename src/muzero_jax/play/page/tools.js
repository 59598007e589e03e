// Elements, numbers as text, and the calls of the server.

const SVG = 'http://www.w3.org/2000/svg';

/** Give an element its attributes, listeners (on...) and children. */
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') {
      node.addEventListener(key.slice(2), value);
    } else if (key === 'style') {
      Object.assign(node.style, value);
    } else {
      node.setAttribute(key, value === true ? '' : value);
    }
  }
  node.append(...children.flat().filter((x) => x !== null));
  return node;
}

/** Make an HTML element; strings among the children become text. */
function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

const byId = (id) => document.getElementById(id);

/** Replace what an element holds; the focus stays on the same data-key. */
function mount(container, ...nodes) {
  const key = container.contains(document.activeElement)
    ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...nodes.flat().filter((x) => x !== null));
  if (key === undefined) return;
  const again = container.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again) again.focus({preventScroll: true});
}

const isNumber = (x) => typeof x === 'number' && Number.isFinite(x);

/** Write a number with so many decimals; a dash where there is none. */
function number(x, digits = 2) {
  if (!isNumber(x)) return '–';
  const shown = Math.abs(x) >= 1000 ? 0 : Math.abs(x) >= 100 ? 1 : digits;
  const text = x.toFixed(Math.min(shown, digits));
  return Number(text) === 0 ? text.replace('-', '') : text;
}

/** Write a share of one as a percentage. */
function percent(x) {
  if (!isNumber(x)) return '–';
  if (x > 0 && x < 0.005) return '<1 %';
  return `${Math.round(100 * x)} %`;
}

const count = (n) => isNumber(n) ? n.toLocaleString('en') : '–';
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;

/** Tell whether two actions are the same; continuous ones are lists. */
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const PLAYERS = ['first player', 'second player'];

/** Name a player; nobody moves at a chance node. */
const player = (i) => PLAYERS[i] ?? 'chance';

/** Name an action as the position, the environment or its number does. */
function actionName(action, info, view) {
  const key = Array.isArray(action) ? JSON.stringify(action) : String(action);
  return view?.names?.[key] ?? info?.action_names?.[action] ?? key;
}

/** Call the server; throws an Error that holds one line to show. */
async function post(verb, body) {
  const token = new URLSearchParams(location.search).get('token') ?? '';
  let answer;
  try {
    answer = await fetch(`/api/${verb}`, {
      method: 'POST',
      headers: {'Content-Type': 'application/json', 'X-Token': token},
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error('The server does not answer: is the command still running?');
  }
  const found = await answer.json().catch(() => null);
  if (!answer.ok) {
    throw new Error(found?.error ?? `The server answered ${answer.status}.`);
  }
  if (found === null) throw new Error('The server sent no JSON.');
  return found;
}

/** Offer a text as a file to keep. */
function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
  h('a', {href: url, download: name}).click();
  // Freed later: some browsers read the address only after the click.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
