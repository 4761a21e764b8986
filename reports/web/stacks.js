// Stacked bars: step time by phase and memory by kind, over ranks or over results.

import {escapeHtml, label, quantity, tick} from './format.js';
import {axis, base, legend} from './theme.js';

function stackTooltip(unit) {
  return (items) => {
    const total = items.reduce((sum, item) => sum + (item.value || 0), 0);
    const lines = items.filter((item) => item.value > 0)
        .map((item) => `${item.marker}${escapeHtml(item.seriesName)}: ${quantity(item.value, unit)}`);
    return [`<b>${escapeHtml(items[0].axisValueLabel)}</b>: ${quantity(total, unit)}`, ...lines]
        .join('<br>');
  };
}

/**
 * @param cells [{column, part, value}]
 * @param options {unit, columnName, limit: {value, text}}
 */
export function stack(cells, options, colours, colourOf) {
  const columns = [...new Set(cells.map((cell) => cell.column))];
  const parts = [...new Set(cells.map((cell) => cell.part))];
  const value = new Map(cells.map((cell) => [`${cell.column}\n${cell.part}`, cell.value]));
  const series = parts.map((part) => ({
    name: label(part), type: 'bar', stack: 'all', barMaxWidth: 64,
    itemStyle: {color: colourOf(part)},
    data: columns.map((column) => value.get(`${column}\n${part}`) ?? 0),
  }));
  if (options.limit && series.length > 0) {
    series[0].markLine = {
      silent: true, symbol: 'none', lineStyle: {color: colours.bad, type: 'dashed'},
      label: {formatter: options.limit.text, color: colours.bad, position: 'insideEndTop'},
      data: [{yAxis: options.limit.value}],
    };
  }
  return {
    ...base(colours),
    legend: legend(colours),
    grid: {left: 8, right: 12, top: 44, bottom: options.columnName ? 30 : 8, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'axis', axisPointer: {type: 'shadow'},
              formatter: stackTooltip(options.unit)},
    xAxis: axis(colours, {type: 'category', data: columns, name: options.columnName, nameGap: 30}),
    yAxis: axis(colours, {
      type: 'value', max: options.limit ? (range) => Math.max(range.max, options.limit.value) : null,
      axisLabel: {formatter: (tickValue) => tick(tickValue, options.unit), showMaxLabel: !options.limit},
    }),
    series,
  };
}
