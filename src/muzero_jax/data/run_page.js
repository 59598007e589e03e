
'use strict';
// Shows the numbers below the pointer, and hides runs. Texts of files are set
// as text, never as HTML.
(function () {
  const width = 440;
  const hidden = new Set();
  const ends = [];

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return (value / 1e6).toPrecision(4) + 'M';
    if (size >= 1e4) return (value / 1e3).toPrecision(4) + 'k';
    return String(Number(value.toPrecision(4)));
  }

  function nearest(xs, x) {
    if (x === Infinity) return xs.length - 1;
    let best = 0;
    for (let i = 1; i < xs.length; i++) {
      if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i;
    }
    return best;
  }

  function tell(svg, curves, x) {
    const told = svg.parentNode.querySelector('.told');
    const cursor = svg.querySelector('.cursor');
    told.textContent = '';
    let at = -9, step = null;
    for (const curve of curves) {
      if (hidden.has(curve.run)) continue;
      const i = nearest(curve.x, x);
      if (step === null) { at = curve.x[i]; step = curve.step[i]; }
      const mark = document.createElement('i');
      mark.className = 'r' + curve.run;
      const value = document.createElement('b');
      value.textContent = short(curve.y[i]);
      value.title = curve.label;
      told.append(mark, value);
    }
    if (step !== null) {
      told.append(x === Infinity ? 'at the end' :
        'at ' + step.toLocaleString('en'));
    }
    cursor.setAttribute('x1', at);
    cursor.setAttribute('x2', at);
  }

  for (const svg of document.querySelectorAll('svg[data-curves]')) {
    const curves = JSON.parse(svg.dataset.curves);
    svg.addEventListener('pointermove', function (event) {
      const box = svg.getBoundingClientRect();
      tell(svg, curves, (event.clientX - box.left) * width / box.width);
    });
    // Without a pointer, the numbers at the end.
    const end = function () {
      tell(svg, curves, Infinity);
      svg.querySelector('.cursor').setAttribute('x1', -9);
      svg.querySelector('.cursor').setAttribute('x2', -9);
    };
    ends.push(end);
    svg.addEventListener('pointerleave', end);
    end();
  }

  for (const box of document.querySelectorAll('input[data-run]')) {
    box.addEventListener('change', function () {
      const run = Number(box.dataset.run);
      if (box.checked) hidden.delete(run); else hidden.add(run);
      for (const line of document.querySelectorAll('svg .r' + run)) {
        line.classList.toggle('gone', !box.checked);
      }
      for (const end of ends) end();
    });
  }
})();
