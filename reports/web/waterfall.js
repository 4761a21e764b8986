// A bill as a waterfall: every item starts where the one before it ended.

import {escapeHtml, label, quantity, signedPercent, tick} from './format.js';
import {axis, base} from './theme.js';

const isTotal = (item) => /^total\b/i.test(item);

/** @param rows [{item, amount: {value, lower, upper, unit, grade}}] of one unit. */
export function waterfall(rows, colours, colourOf) {
  const unit = rows[0].amount.unit;
  const bars = [];
  let level = 0;
  for (const row of rows) {
    const from = isTotal(row.item) ? 0 : level;
    const to = from + row.amount.value;
    bars.push({row, from, to});
    level = to;
  }
  if (!rows.some((row) => isTotal(row.item)) && rows.length > 1) {
    bars.push({row: {item: 'total', amount: {value: level, unit}}, from: 0, to: level});
  }
  const tooltip = ({dataIndex}) => {
    const {item, amount} = bars[dataIndex].row;
    const range = amount.lower === undefined ? '' :
        `<br>90 % interval: ${quantity(amount.lower, unit)} to ${quantity(amount.upper, unit)}` +
        `<br>${escapeHtml(amount.grade)}`;
    return `<b>${escapeHtml(label(item))}</b>: ${quantity(amount.value, unit)}${range}`;
  };
  return {
    ...base(colours),
    grid: {left: 8, right: 90, top: 8, bottom: 8, containLabel: true},
    tooltip: {...base(colours).tooltip, formatter: tooltip},
    xAxis: axis(colours, {type: 'value', splitNumber: 4, axisLabel: {formatter: (v) => tick(v, unit), hideOverlap: true}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: bars.map((bar) => label(bar.row.item)),
                          axisLabel: {color: colours.ink, width: 220, overflow: 'truncate'}}),
    series: [
      {type: 'bar', stack: 'level', silent: true, itemStyle: {color: 'transparent'},
       data: bars.map((bar) => Math.min(bar.from, bar.to))},
      {type: 'bar', stack: 'level', barMaxWidth: 26,
       data: bars.map((bar) => ({
         value: Math.abs(bar.to - bar.from),
         itemStyle: {color: isTotal(bar.row.item) ? colours.muted : colourOf('cost')},
       })),
       label: {show: true, position: 'right', color: colours.ink,
               formatter: ({dataIndex}) => quantity(bars[dataIndex].row.amount.value, unit)}},
    ],
  };
}

/** How far the main quantity moves under each alternative: the longest bar first. */
export function tornado(rows, colours) {
  const sorted = [...rows].sort((a, b) => Math.abs(b.relative_change) - Math.abs(a.relative_change));
  const name = (row) => `${label(row.choice)}: ${row.value}`;
  return {
    ...base(colours),
    grid: {left: 8, right: 60, top: 8, bottom: 8, containLabel: true},
    tooltip: {
      ...base(colours).tooltip,
      formatter: ({dataIndex}) => {
        const row = sorted[dataIndex];
        return `<b>${escapeHtml(name(row))}</b><br>${quantity(row.quantity.value, row.quantity.unit)}` +
            ` (${signedPercent(row.relative_change)})`;
      },
    },
    xAxis: axis(colours, {type: 'value', splitNumber: 4, axisLabel: {formatter: (v) => signedPercent(v), hideOverlap: true}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: sorted.map(name),
                          axisLabel: {color: colours.ink, width: 320, overflow: 'truncate'}}),
    series: [{
      type: 'bar', barMaxWidth: 22,
      data: sorted.map((row) => ({
        value: row.relative_change,
        itemStyle: {color: row.relative_change > 0 ? colours.bad : colours.good},
        label: {position: row.relative_change < 0 ? 'left' : 'right'},
      })),
      label: {show: true, color: colours.ink, formatter: ({value}) => signedPercent(value)},
    }],
  };
}
