// One quantity of several results, with its 90 % interval.

import {escapeHtml, quantity, tick} from './format.js';
import {axis, base} from './theme.js';

function renderInterval(params, api) {
  const low = api.coord([api.value(1), api.value(0)]);
  const high = api.coord([api.value(2), api.value(0)]);
  const cap = 5;
  const line = (x1, y1, x2, y2) => (
    {type: 'line', shape: {x1, y1, x2, y2}, style: {stroke: api.visual('color'), lineWidth: 1.5}});
  return {type: 'group', children: [
    line(low[0], low[1], high[0], high[1]),
    line(low[0], low[1] - cap, low[0], low[1] + cap),
    line(high[0], high[1] - cap, high[0], high[1] + cap),
  ]};
}

/** @param bars [{name, estimate}] */
export function bars(rows, colours, colourOf) {
  const unit = rows[0].estimate.unit;
  return {
    ...base(colours),
    grid: {left: 8, right: 24, top: 8, bottom: 8, containLabel: true},
    tooltip: {
      ...base(colours).tooltip,
      formatter: ({dataIndex}) => {
        const {name, estimate} = rows[dataIndex];
        return `<b>${escapeHtml(name)}</b>: ${quantity(estimate.value, unit)}<br>90 % interval: ` +
            `${quantity(estimate.lower, unit)} to ${quantity(estimate.upper, unit)}<br>` +
            escapeHtml(estimate.grade);
      },
    },
    xAxis: axis(colours, {type: 'value', splitNumber: 3, axisLabel: {formatter: (v) => tick(v, unit), hideOverlap: true}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: rows.map((row) => row.name),
                          axisLabel: {color: colours.ink, width: 180, overflow: 'truncate'}}),
    series: [
      {type: 'bar', barMaxWidth: 20, data: rows.map((row) => ({
        value: row.estimate.value, itemStyle: {color: colourOf(row.name)}}))},
      {type: 'custom', renderItem: renderInterval, silent: true, z: 5, itemStyle: {color: colours.ink},
       encode: {x: [1, 2], y: 0}, data: rows.map((row, index) => [index, row.estimate.lower, row.estimate.upper])},
    ],
  };
}
