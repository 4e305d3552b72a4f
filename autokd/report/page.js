(function () {
  'use strict';
  var settings = {responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false, doubleClick: 'reset'};
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  var colours = JSON.parse(document.getElementById('dark').textContent);
  function all(selector, within) { return Array.from((within || document).querySelectorAll(selector)); }

  // ---- charts
  function spec(figure, night) {
    var text = figure.querySelector('script').textContent;
    if (night) text = text.replace(/"(#[0-9a-fA-F]{6}|rgba\([0-9.,]+\))"/g, function (whole, colour) { return '"' + (colours[colour] || colour) + '"'; });
    return JSON.parse(text);
  }
  function lift(plot) {  // the line under the pointer, drawn once more on top
    var top = plot.data.findIndex(function (t) { return t.meta === 'highlight'; });
    if (top < 0) return;
    plot.on('plotly_hover', function (e) {
      var p = e.points[0], t = plot.data[p.curveNumber], a = p.pointNumber, b = p.pointNumber;
      while (a > 0 && t.y[a - 1] !== null) a--;
      while (b < t.y.length - 1 && t.y[b + 1] !== null) b++;
      Plotly.restyle(plot, {x: [t.x.slice(a, b + 1)], y: [t.y.slice(a, b + 1)]}, [top]);
    });
    plot.on('plotly_unhover', function () { Plotly.restyle(plot, {x: [[null]], y: [[null]]}, [top]); });
  }
  function draw(figure) {
    if (figure.dataset.chart) return;
    var plot = figure.querySelector('.plot'), own = spec(figure, dark.matches);
    figure.dataset.chart = 'drawing';
    Plotly.newPlot(plot, own.data, own.layout, settings).then(function () { figure.dataset.chart = 'drawn'; lift(plot); });
  }
  function drawShown() {  // what is folded away is drawn when it is opened: only then has it a width
    all('figure[data-chart=""]').filter(function (f) { return f.offsetParent; }).forEach(draw);
  }
  function drawn() { return all('figure[data-chart="drawn"]').filter(function (f) { return f.offsetParent; }); }
  function again(night, width) {
    drawn().forEach(function (f) {
      var plot = f.querySelector('.plot'), own = spec(f, night), least = parseFloat(plot.style.minWidth || 0);
      if (width) {
        var small = Math.min(1, width / (least || width));  // of print beside the screen: names of axes are not to meet
        Object.assign(own.layout, {width: width, autosize: false});
        own.layout.xaxis.tickfont = {size: Math.floor(13 * small)};
      }
      Plotly.react(plot, own.data, own.layout, settings);
    });
  }

  // ---- one of several
  all('.one-of').forEach(function (box) {
    var select = box.querySelector('select'), parts = Array.from(box.children).slice(1);
    function show() {
      parts.forEach(function (part, i) { part.classList.toggle('unchosen', i !== select.selectedIndex); });
      drawShown();
    }
    select.addEventListener('change', show);
    show();
  });

  // ---- tables
  function value(row, i) {
    var text = row.cells[i].textContent.trim(), number = parseFloat(text.replace(/[\u202f,]/g, ''));
    return isNaN(number) ? text : number;
  }
  function before(a, b) {  // numbers come before words, and nothing comes last
    if (a === '' || b === '') return (a === '') - (b === '');
    return typeof a === typeof b ? (a < b ? -1 : +(a > b)) : (typeof a === 'number' ? -1 : 1);
  }
  all('table.sortable').forEach(function (table) {
    all('th', table).forEach(function (th) {
      var button = document.createElement('button');
      button.type = 'button';
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener('click', function () {
        var up = th.getAttribute('aria-sort') === 'descending', body = table.tBodies[0], i = th.cellIndex;
        all('th', table).forEach(function (other) { other.removeAttribute('aria-sort'); });
        th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        var rows = Array.from(body.rows).sort(function (a, b) {
          a = value(a, i); b = value(b, i);
          return a === '' || b === '' || up ? before(a, b) : before(b, a);
        });
        body.append(...rows);
      });
    });
  });

  drawShown();
  all('details').forEach(function (d) { d.addEventListener('toggle', drawShown); });
  dark.addEventListener('change', function () { again(dark.matches, 0); });
  window.addEventListener('beforeprint', function () { again(false, 680); });
  window.addEventListener('afterprint', function () { again(dark.matches, 0); });
})();
