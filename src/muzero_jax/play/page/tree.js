// The search's tree: circles and lines from left to right, walked by clicking.
//
// A tree is {nodes, root, open, selected, line}: `nodes` maps an id to what the
// server said of it, with `parent` and `ids`, its children as far as they were
// fetched (null if they were not); `open` holds the ids that show children;
// `line` those of the most visited line.

const TREE = {column: 190, row: 44, radius: 19, left: 28, top: 28};
// Length of the straight end of a line, above and below which is its text.
const LABEL = 116;
// More circles than this are not opened at once: nobody could read them.
const MOST_SHOWN = 400;

/** Return `nodes` with a node of the server and the children it came with. */
function absorb(nodes, node, parent) {
  const known = nodes.get(node.id);
  const ids = node.children.length
    ? node.children.map((x) => x.id) : known?.ids ?? null;
  const more = node.children.length ? node.more : known?.more ?? node.more;
  const found = new Map(nodes);
  found.set(node.id, {...node, children: undefined, parent, ids, more});
  for (const child of node.children) {
    const old = found.get(child.id);
    found.set(child.id, {
      ...child, children: undefined, parent: node.id, ids: old?.ids ?? null,
      more: old?.more ?? child.more,
    });
  }
  return found;
}

/** Make the tree of an analysis; the root shows its children. */
function makeTree(analysis) {
  const {root, line} = analysis;
  return {
    nodes: absorb(new Map(), root, null),
    root: root.id,
    open: new Set([root.id]),
    selected: root.id,
    line: new Set([root.id, ...line.map((x) => x.node)]),
  };
}

/** Return the ids of the children that a node shows. */
function shownChildren(tree, id) {
  return tree.open.has(id) ? tree.nodes.get(id).ids ?? [] : [];
}

/** Return the ids that are shown, each before its children. */
function shownIds(tree, id = tree.root) {
  return [id, ...shownChildren(tree, id).flatMap((x) => shownIds(tree, x))];
}

/** Place the nodes that are shown: children below each other, a parent beside
 * the first, so that the most visited line is straight and the root on top.
 * Returns [{id, x, y}] and the size of the whole. */
function layoutTree(tree) {
  const places = [];
  let row = 0;
  let deepest = 0;
  const place = (id, depth) => {
    deepest = Math.max(deepest, depth);
    const rows = shownChildren(tree, id).map((x) => place(x, depth + 1));
    const left = tree.open.has(id) && tree.nodes.get(id).more > 0
      && rows.length ? 1 : 0;
    const at = rows.length ? rows[0] : row++;
    // One line of text for the children that are left out.
    row += 0.5 * left;
    places.push({
      id,
      x: TREE.left + depth * TREE.column,
      y: TREE.top + at * TREE.row,
      below: left ? TREE.top + (row - 0.75) * TREE.row : null,
    });
    return at;
  };
  place(tree.root, 0);
  return {
    places,
    width: TREE.left + deepest * TREE.column + 60,
    height: TREE.top + Math.max(1, row) * TREE.row - 6,
  };
}

/** Return the class of a circle: by the sign of its value. */
function valueClass(value, scale) {
  if (!isNumber(value) || Math.abs(value) < 0.05 * scale) return 'even';
  return value > 0 ? 'good' : 'bad';
}

/** Draw the line to a node, with its action, prior, visits and reward. */
function makeEdge(node, from, to, most, isBest) {
  const start = to.x - TREE.radius - LABEL;
  const bend = (from.x + TREE.radius + start) / 2;
  const path = `M${from.x + TREE.radius} ${from.y}`
    + `C${bend} ${from.y} ${bend} ${to.y} ${start} ${to.y}`
    + `H${to.x - TREE.radius}`;
  const width = 1 + 5 * Math.sqrt(node.visits / most);
  const facts = [isNumber(node.prior) ? percent(node.prior) : null,
    isNumber(node.reward) ? `r ${number(node.reward)}` : null]
    .filter((x) => x !== null).join(' · ');
  return s('g', {class: isBest ? 'edge best' : 'edge'},
    s('path', {d: path, 'stroke-width': width.toFixed(1)}),
    s('text', {x: start, y: to.y - 6},
      s('tspan', {class: 'action'}, shorten(node.name, 10)),
      s('tspan', {dx: 6}, `${count(node.visits)}×`)),
    s('text', {x: start, y: to.y + 15, class: 'facts'}, facts));
}

/** Cut a long name; the whole one is told by the node that is selected. */
function shorten(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Draw a node: its value, and who moves there by its shape. */
function makeNode(tree, node, at, scale, actions) {
  const canOpen = node.num_children > 0;
  const isOpen = tree.open.has(node.id) && node.ids !== null;
  const kinds = ['node', valueClass(node.value, scale),
    tree.line.has(node.id) ? 'best' : '',
    tree.selected === node.id ? 'selected' : '',
    node.to_play === 1 ? 'second' : ''];
  const {radius} = TREE;
  return s('g', {
    class: kinds.filter(Boolean).join(' '),
    transform: `translate(${at.x} ${at.y})`,
    role: 'treeitem',
    tabindex: tree.selected === node.id ? '0' : '-1',
    'aria-selected': String(tree.selected === node.id),
    'aria-expanded': canOpen ? String(isOpen) : null,
    'aria-label': `${node.name || 'the position'}, value ${
      number(node.value)}, ${plural(node.visits, 'visit')}`,
    'data-key': `node${node.id}`,
    'data-node': node.id,
    onclick: () => actions.toggle(node.id),
    onkeydown: (event) => actions.key(event, node.id),
  },
  s('circle', {r: radius}),
  node.to_play === 1 ? s('circle', {r: radius - 3.5, class: 'ring'}) : null,
  s('text', {y: 4, 'text-anchor': 'middle'}, number(node.value)),
  canOpen && !isOpen
    ? s('text', {x: radius + 4, y: 5, class: 'sign'}, '+') : null);
}

/** Return the largest value of the nodes, for colours; tiny ones get none. */
function valueScale(nodes) {
  const values = [...nodes.values()].map((x) => Math.abs(x.value ?? 0));
  return values.reduce((a, b) => Math.max(a, b), 0.1);
}

/** Draw the tree. `actions` has toggle(id), more(id) and key(event, id). */
function drawTree(container, state, actions) {
  const {tree} = state;
  if (!tree) {
    container.places = null;
    mount(container);
    return;
  }
  const {places, width, height} = layoutTree(tree);
  const at = new Map(places.map((x) => [x.id, x]));
  const scale = valueScale(tree.nodes);
  const most = Math.max(1, ...shownChildren(tree, tree.root).map(
    (x) => tree.nodes.get(x).visits));
  // The best line last, so that it lies above the others.
  const ids = places.map((x) => x.id).sort(
    (a, b) => tree.line.has(a) - tree.line.has(b));
  const edges = ids.filter((id) => id !== tree.root).map((id) => {
    const node = tree.nodes.get(id);
    return makeEdge(
      node, at.get(node.parent), at.get(id), most, tree.line.has(id));
  });
  const circles = shownIds(tree).map((id) => makeNode(
    tree, tree.nodes.get(id), at.get(id), scale, actions));
  const rests = places.filter((x) => x.below !== null).map((x) => s('text', {
    class: 'rest', x: x.x + TREE.column - TREE.radius - LABEL, y: x.below,
    'data-more': x.id, onclick: () => actions.more(x.id),
  }, `${count(tree.nodes.get(x.id).more)} more …`));
  // What was looked at stays where it is while the tree grows around it.
  const before = container.places?.get(tree.selected);
  const {scrollLeft, scrollTop} = container;
  mount(container, s('svg', {
    width, height, role: 'tree', 'aria-label': 'The tree of the search',
  }, edges, circles, rests));
  const here = at.get(tree.selected) ?? at.get(tree.root);
  container.places = at;
  container.scrollLeft = before ? scrollLeft : 0;
  container.scrollTop = before
    ? scrollTop + here.y - before.y : here.y - container.clientHeight / 2;
}

/** Return the id to which a key leads from a node, or null. */
function walkTree(tree, id, key) {
  const node = tree.nodes.get(id);
  const order = layoutTree(tree).places;
  const here = order.find((x) => x.id === id);
  const column = order.filter((x) => x.x === here.x)
    .sort((a, b) => a.y - b.y);
  const row = column.indexOf(here);
  return {
    ArrowUp: column[row - 1]?.id,
    ArrowDown: column[row + 1]?.id,
    ArrowLeft: node.parent,
    ArrowRight: shownChildren(tree, id)[0],
    Home: tree.root,
  }[key] ?? null;
}

/** Return the nodes that may show their children next, most visited first. */
function closedIds(tree) {
  return shownIds(tree)
    .filter((id) => tree.nodes.get(id).num_children > 0
      && !shownChildren(tree, id).length)
    .sort((a, b) => tree.nodes.get(b).visits - tree.nodes.get(a).visits);
}

/** Say all that is known of the selected node. */
function drawNode(container, state, onMore) {
  const {tree, info} = state;
  if (!tree) {
    mount(container);
    return;
  }
  const node = tree.nodes.get(tree.selected);
  const isRoot = node.id === tree.root;
  const fact = (name, value, title) => value === null ? null
    : h('div', {title}, h('dt', {}, name), h('dd', {}, value));
  const known = (x, text) => isNumber(x) ? text(x) : null;
  const left = node.ids ? node.more : 0;
  mount(container,
    h('h3', {}, isRoot ? 'The position' : `After ${path(tree, node.id)}`),
    h('dl', {class: 'facts'},
      fact('value, searched', number(node.value, 3),
        'Mean of all that the search saw from here, for who moves here'),
      fact('value, network', number(node.network_value, 3),
        'What the network says without searching'),
      fact('visits', count(node.visits)),
      isRoot ? null : fact('prior', known(node.prior, percent)),
      isRoot ? null : fact('reward', known(node.reward, (x) => number(x, 3))),
      isRoot ? null : fact('q for who chose it',
        known(node.q, (x) => number(x, 3)),
        'Reward plus discounted value, as the node before sees it'),
      info.kind === 'board' ? fact('moves here', player(node.to_play)) : null,
      fact('moves tried', count(node.num_children))),
    left > 0 ? h('button', {
      type: 'button', 'data-key': 'more', onclick: () => onMore(node.id),
    }, `Show more of the ${count(left)} left out`) : null);
}

/** Name the actions that lead from the root to a node. */
function path(tree, id) {
  const names = [];
  for (let at = id; at !== tree.root; at = tree.nodes.get(at).parent) {
    names.unshift(tree.nodes.get(at).name);
  }
  return names.join(', ');
}
