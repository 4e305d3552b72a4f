(function () {
  'use strict';
  var settings = {responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false, doubleClick: 'reset'};
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
    var plot = figure.querySelector('.plot'), spec = JSON.parse(figure.querySelector('script').textContent);
    figure.dataset.chart = 'drawing';
    return Plotly.newPlot(plot, spec.data, spec.layout, settings).then(function () { figure.dataset.chart = 'drawn'; lift(plot); });
  }
  var figures = Array.from(document.querySelectorAll('figure[data-chart]'));
  figures.filter(function (f) { return !f.closest('details'); }).forEach(draw);
  document.querySelectorAll('details').forEach(function (d) {
    d.addEventListener('toggle', function () {
      d.querySelectorAll('figure[data-chart=""]').forEach(draw);
    });
  });
  function fit(width) {
    document.querySelectorAll('figure[data-chart="drawn"] .plot').forEach(function (p) {
      var small = Math.min(1, width / parseFloat(p.style.minWidth || width) || 1);  // of print beside the screen: names of axes are not to meet
      var size = {'xaxis.tickfont.size': Math.floor(13 * small)};
      if (p.offsetParent) Plotly.relayout(p, Object.assign(size, width ? {width: width, autosize: false} : {width: null, autosize: true}));
    });
  }
  window.addEventListener('beforeprint', function () { fit(680); });
  window.addEventListener('afterprint', function () { fit(0); });
})();
