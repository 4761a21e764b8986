// Every point of a study in two quantities, with the line of those that no other beats in both.

import {escapeHtml, label, quantity, tick} from './format.js';
import {axis, base, isNarrow, legend} from './theme.js';

/** Beyond this ratio of largest to smallest an axis is logarithmic. */
const kWide = 50;

function scaled(colours, name, unit, values, rest) {
  const log = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > kWide;
  return axis(colours, {type: log ? 'log' : 'value', scale: !log, name: label(name),
                        axisLabel: {formatter: (v) => tick(v, unit), hideOverlap: true}, ...rest});
}

/** A cross that spans both intervals of a point. */
function renderCross(params, api) {
  const [x, y, xLow, xHigh, yLow, yHigh] = [0, 1, 2, 3, 4, 5].map((i) => api.value(i));
  const style = {stroke: api.visual('color'), lineWidth: 1, opacity: 0.7};
  const line = (from, to) => ({type: 'line', style, shape: {x1: from[0], y1: from[1], x2: to[0], y2: to[1]}});
  return {type: 'group', children: [line(api.coord([xLow, y]), api.coord([xHigh, y])),
                                    line(api.coord([x, yLow]), api.coord([x, yHigh]))]};
}

/** @param front {x, y, x_unit, y_unit, points: [{name, series, job, x, y, front, certain}]} */
export function front(front, width, colours, colourOf) {
  const {points} = front;
  const best = points.filter((point) => point.certain).sort((a, b) => a.x.value - b.x.value);
  const jobs = [...new Set(best.map((point) => point.job))];
  const names = [...new Set(points.map((point) => point.series))];
  const ranged = (estimate, unit) => `${quantity(estimate.value, unit)} ` +
      `(${quantity(estimate.lower, unit)} to ${quantity(estimate.upper, unit)})`;
  const tooltip = ({data}) => data?.point ? `<b>${escapeHtml(data.point.name)}</b><br>` +
      `${label(front.x)}: ${ranged(data.point.x, front.x_unit)}<br>` +
      `${label(front.y)}: ${ranged(data.point.y, front.y_unit)}` : '';
  const dot = (point) => ({
    value: [point.x.value, point.y.value], point,
    symbolSize: point.certain ? 11 : 6,
    itemStyle: point.front && !point.certain ?
        {color: colours.paper, borderColor: colourOf(point.series), borderWidth: 1.5} :
        {color: colourOf(point.series), opacity: point.front ? 1 : 0.45},
  });
  const scatter = names.map((name) => ({
    name: name || 'points', type: 'scatter', z: 3, itemStyle: {color: colourOf(name)},
    data: points.filter((point) => point.series === name).map(dot),
  }));
  return {
    ...base(colours),
    legend: legend(colours, {data: scatter.map((series) => series.name), show: names.length > 1}),
    grid: {left: 8, right: isNarrow(width) ? 16 : 32, top: 44, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    xAxis: scaled(colours, front.x, front.x_unit, points.map((point) => point.x.value), {nameGap: 28}),
    yAxis: scaled(colours, front.y, front.y_unit, points.map((point) => point.y.value),
                  {nameLocation: 'end', nameTextStyle: {color: colours.muted, align: 'left'}}),
    series: [
      ...jobs.map((job) => ({
        type: 'line', name: 'front', silent: true, symbol: 'none', z: 2, lineStyle: {color: colours.muted, type: 'dashed'},
        data: best.filter((point) => point.job === job).map((point) => [point.x.value, point.y.value])})),
      {type: 'custom', renderItem: renderCross, silent: true, clip: true, z: 1, itemStyle: {color: colours.muted},
       data: best.map(({x, y}) => [x.value, y.value, x.lower, x.upper, y.lower, y.upper])},
      ...scatter,
    ],
  };
}
