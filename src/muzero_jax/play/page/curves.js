// Curves along a game: value, reward and return of each position.

const CHART = {width: 460, left: 42, right: 8, top: 8, bottom: 16};
// A board has one curve, an episode three.
const HEIGHTS = {board: 110, single: 72};

/** Return the range of a curve, with zero and never empty. */
function range(values, least = 0.1) {
  const known = values.filter(isNumber);
  const low = known.reduce((a, b) => Math.min(a, b), 0);
  const high = known.reduce((a, b) => Math.max(a, b), 0);
  return high - low < least ? [low - least / 2, high + least / 2] : [low, high];
}

/** Return the functions that place a position and a value in a chart. */
function scales(length, [low, high], height) {
  const across = CHART.width - CHART.left - CHART.right;
  const down = height - CHART.top - CHART.bottom;
  return {
    x: (i) => CHART.left + across * i / Math.max(1, length),
    y: (v) => CHART.top + down * (high - v) / (high - low),
    index: (x) => Math.max(0, Math.min(length, Math.round(
      (x - CHART.left) / across * Math.max(1, length)))),
  };
}

/** Return a curve as SVG path data, with a gap where a value is missing. */
function curvePath(values, at) {
  let pen = 'M';
  return values.map((v, i) => {
    if (!isNumber(v)) {
      pen = 'M';
      return '';
    }
    const part = `${pen}${at.x(i).toFixed(1)} ${at.y(v).toFixed(1)}`;
    pen = 'L';
    return part;
  }).join('');
}

/** Return a dot for each value that stands alone, which no line shows. */
function lonely(values, at) {
  return values.map((v, i) => isNumber(v) && !isNumber(values[i - 1])
    && !isNumber(values[i + 1])
    ? s('circle', {cx: at.x(i), cy: at.y(v), r: 2.5, class: 'dot'}) : null)
    .filter(Boolean);
}

/** Make one chart; a click on it calls onIndex. */
function makeChart(name, values, {view, info}, limits, onIndex) {
  const height = HEIGHTS[info.kind];
  const at = scales(view.length, limits, height);
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    onIndex(at.index((event.clientX - box.left) * CHART.width / box.width));
  };
  const label = (v, text) => s('text', {
    x: CHART.left - 5, y: at.y(v) + 4, 'text-anchor': 'end',
  }, text);
  const now = values[view.index];
  const right = CHART.width - CHART.right;
  return h('figure', {class: 'chart'},
    h('figcaption', {}, name, ' ', h('strong', {}, number(now))),
    s('svg', {
      viewBox: `0 0 ${CHART.width} ${height}`, role: 'img',
      'aria-label': `${name}: ${number(now)} at position ${view.index}`,
      onclick: place,
    },
    s('line', {x1: CHART.left, x2: right, y1: at.y(0), y2: at.y(0),
      class: 'axis'}),
    label(limits[1], number(limits[1], 1)), label(limits[0],
      number(limits[0], 1)),
    s('path', {d: curvePath(values, at), class: 'curve'}),
    lonely(values, at),
    s('line', {x1: at.x(view.index), x2: at.x(view.index), y1: CHART.top,
      y2: height - CHART.bottom, class: 'now'}),
    isNumber(now)
      ? s('circle', {cx: at.x(view.index), cy: at.y(now), r: 4,
        class: 'now'}) : null,
    s('text', {x: CHART.left, y: height - 2}, '0'),
    s('text', {x: right, y: height - 2, 'text-anchor': 'end'},
      count(view.length))));
}

/** Draw the curves of a game: board games have a value alone. */
function drawCurves(container, state, onIndex) {
  const {view, info} = state;
  const {value, reward, return: sums} = view.curves;
  if (info.kind === 'board') {
    const [low, high] = range(value);
    const most = Math.max(1, -low, high);
    mount(container, makeChart(
      'Value for the first player', value, state, [-most, most], onIndex));
    return;
  }
  mount(container,
    makeChart('Value', value, state, range(value), onIndex),
    makeChart('Reward', reward, state, range(reward), onIndex),
    makeChart('Return', sums, state, range(sums), onIndex));
}
