// A sum as a waterfall: every item starts where the one before it ended. And a tornado of changes.

import {escapeHtml, label, quantity, signedPercent, tick} from './format.js';
import {axis, base, isNarrow} from './theme.js';

/** @param items [{item, value, lower, upper, unit, grade}], the total of the others last. */
export function waterfall(items, colours, colourOf) {
  const unit = items[0].unit;
  const isTotal = (index) => index === items.length - 1;
  let level = 0;
  const starts = items.map(({value}, index) => {
    const start = isTotal(index) ? 0 : level;
    level += value;
    return start;
  });
  const tooltip = ({dataIndex}) => {
    const {item, value, lower, upper, grade} = items[dataIndex];
    return `<b>${escapeHtml(label(item))}</b>: ${quantity(value, unit)}<br>90 % interval: ` +
        `${quantity(lower, unit)} to ${quantity(upper, unit)}<br>${escapeHtml(grade)}`;
  };
  return {
    ...base(colours),
    grid: {left: 8, right: 90, top: 8, bottom: 8, containLabel: true},
    tooltip: {...base(colours).tooltip, formatter: tooltip},
    xAxis: axis(colours, {type: 'value', splitNumber: 4, axisLabel: {formatter: (v) => tick(v, unit), hideOverlap: true}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: items.map(({item}) => label(item)),
                          axisLabel: {color: colours.ink, width: 220, overflow: 'truncate'}}),
    series: [
      {type: 'bar', stack: 'level', silent: true, itemStyle: {color: 'transparent'},
       data: starts},
      {type: 'bar', stack: 'level', barMaxWidth: 26,
       data: items.map(({item, value}, index) => (
         {value, itemStyle: {color: isTotal(index) ? colours.muted : colourOf(item)}})),
       label: {show: true, position: 'right', color: colours.ink,
               formatter: ({dataIndex}) => quantity(items[dataIndex].value, unit)}},
    ],
  };
}

/** How far the main quantity moves under each alternative: the longest bar first. */
export function tornado(rows, width, colours) {
  const narrow = isNarrow(width);
  const sorted = [...rows].sort((a, b) => Math.abs(b.relative_change) - Math.abs(a.relative_change));
  const name = (row) => `${label(row.choice)}:${narrow ? ' ' : '\n'}${row.value}`;
  // A narrow screen has no room beside the bars: names stand above them.
  const names = narrow ? {inside: true, margin: 0, align: 'left', verticalAlign: 'bottom', padding: [0, 0, 11, 0], fontSize: 11,
                          width: width - 56, overflow: 'truncate'} :
                         {width: 320, overflow: 'truncate', lineHeight: 15};
  return {
    ...base(colours),
    grid: narrow ? {left: 48, right: 56, top: 8, bottom: 28, containLabel: false} :
                   {left: 8, right: 60, top: 8, bottom: 8, containLabel: true},
    tooltip: {
      ...base(colours).tooltip,
      formatter: ({dataIndex}) => {
        const row = sorted[dataIndex];
        return `<b>${escapeHtml(name(row))}</b><br>${quantity(row.quantity.value, row.quantity.unit)}` +
            ` (${signedPercent(row.relative_change)})`;
      },
    },
    xAxis: axis(colours, {type: 'value', splitNumber: 4, axisLabel: {formatter: (v) => v === 0 ? '0 %' : signedPercent(v), hideOverlap: true}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: sorted.map(name),
                          axisLabel: {color: colours.ink, ...names}}),
    series: [{
      type: 'bar', barMaxWidth: narrow ? 14 : 22,
      data: sorted.map((row) => ({
        value: row.relative_change,
        itemStyle: {color: row.relative_change > 0 ? colours.bad : colours.good},
        label: {position: row.relative_change < 0 ? 'left' : 'right'},
      })),
      label: {show: true, color: colours.ink, formatter: ({value}) => signedPercent(value)},
    }],
  };
}
