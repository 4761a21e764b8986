// Predicted over measured, both logarithmic, with the line on which they agree.

import {escapeHtml, number, signedPercent} from './format.js';
import {axis, base, legend} from './theme.js';

const decade = (value, round) => 10 ** round(Math.log10(value));

export function agreement(family, colours, colourOf) {
  const points = family.series.flatMap((series) => series.points);
  const values = points.flatMap(([measured, predicted]) => [measured, predicted]);
  const lowest = decade(values.reduce((a, b) => Math.min(a, b)), Math.floor);
  const highest = decade(values.reduce((a, b) => Math.max(a, b)), Math.ceil);
  const tooltip = ({data}) => {
    const [measured, predicted, name] = data;
    return `${escapeHtml(name)}<br>measured ${number(measured)} ${family.unit}, predicted ` +
        `${number(predicted)} ${family.unit} (${signedPercent(predicted / measured - 1)})`;
  };
  const ticks = {axisLabel: {formatter: (v) => number(v).replace(/\.0+$/, '')}, min: lowest, max: highest};
  return {
    ...base(colours),
    legend: legend(colours, {data: family.series.map((series) => series.name)}),
    grid: {left: 8, right: 20, top: 44, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    xAxis: axis(colours, {type: 'log', name: `measured, ${family.unit}`, nameGap: 30, ...ticks}),
    yAxis: axis(colours, {type: 'log', ...ticks}),
    series: [
      {type: 'line', data: [[lowest, lowest], [highest, highest]], symbol: 'none', silent: true, z: 1,
       lineStyle: {color: colours.muted, width: 1.5}},
      ...family.series.map((series) => ({
        name: series.name, type: 'scatter', data: series.points, symbolSize: 5, z: 2,
        itemStyle: {color: colourOf(series.name), opacity: 0.6},
      })),
    ],
  };
}
