// What the SMs of a GPU do during one kernel.

import {escapeHtml, number} from './format.js';
import {axis, base} from './theme.js';

const firstCycles = (activity, columns) =>
  Array.from({length: columns}, (_, i) => Math.round(i * activity.cycles / columns));

/** Mean of every track over the kernel's time. */
export function activityMeans(activity, colours, colourOf) {
  const columns = activity.tracks[0].mean.length;
  return {
    ...base(colours),
    legend: {type: 'scroll', top: 0, textStyle: {color: colours.ink}},
    grid: {left: 8, right: 16, top: 40, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'axis', valueFormatter: number},
    xAxis: axis(colours, {type: 'category', boundaryGap: false, data: firstCycles(activity, columns), name: 'SM cycle',
                          nameLocation: 'middle', nameGap: 26}),
    yAxis: axis(colours, {type: 'value', min: 0}),
    series: activity.tracks.map((track) => ({
      type: 'line', name: track.name, data: track.mean, showSymbol: false, step: 'end',
      lineStyle: {width: 1.5, type: track.name.startsWith('waiting') ? 'dashed' : 'solid'},
      itemStyle: {color: colourOf(track.name)}})),
  };
}

/** One track, a row an SM and a column a stretch of time. */
export function activityMap(activity, index, colours) {
  const track = activity.tracks[index];
  const columns = track.mean.length;
  const cells = track.parts.flatMap((part, sm) => part.map((share, column) => [column, sm, share]));
  const first = firstCycles(activity, columns);
  const highest = track.unit.includes('roles') ? Math.max(1, ...track.parts.flat()) : 1;
  const part = track.parts.length > 1 ? (sm) => `SM ${sm}` : () => 'all SMs together';
  return {
    ...base(colours),
    grid: {left: 28, right: 12, top: 44, bottom: 36, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item',
              formatter: ({data}) => `<b>${part(data[1])}, from cycle ${number(first[data[0]])}</b><br>` +
                  `${number(data[2])} ${escapeHtml(track.unit)}`},
    visualMap: {type: 'continuous', min: 0, max: highest, orient: 'horizontal', top: 0, left: 'center',
                itemHeight: 140, itemWidth: 12, text: [`${number(highest)} ${track.unit}`, '0'],
                textStyle: {color: colours.ink}, inRange: {color: [colours.panel, '#e08a1e', '#a3261e']}},
    xAxis: axis(colours, {type: 'category', data: first, name: 'SM cycle', nameLocation: 'middle', nameGap: 26,
                          splitLine: {show: false}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: track.parts.map((_, sm) => sm), name: 'SM', nameGap: 34,
                          splitLine: {show: false}}),
    series: [{type: 'heatmap', data: cells, progressive: 0}],
  };
}
