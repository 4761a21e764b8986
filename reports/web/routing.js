// Where routing sends tokens: one cell an expert, one column an expert-parallel rank.

import {number} from './format.js';
import {axis, base} from './theme.js';

const kWholeRank = 'all';

/** @param rows [{expert, rank, relative_load}] in order of experts; every rank has as many. */
export function routingMap(rows, colours) {
  const ranks = rows.at(-1).rank + 1;
  const perRank = rows.length / ranks;
  const cells = rows.map((row) => ({value: [row.rank, 1 + row.expert % perRank, row.relative_load], text: `expert ${row.expert}`}));
  const means = Array.from({length: ranks}, (_, rank) => {
    const own = rows.filter((row) => row.rank === rank);
    const mean = own.reduce((sum, row) => sum + row.relative_load, 0) / perRank;
    return {value: [rank, 0, mean], text: 'all its experts'};
  });
  const highest = Math.max(...rows.map((row) => row.relative_load));
  const tooltip = ({data}) =>
    `<b>Rank ${data.value[0]}, ${data.text}</b><br>${number(data.value[2])} times the mean load`;
  return {
    ...base(colours),
    grid: {left: 28, right: 12, top: 44, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    visualMap: {type: 'continuous', min: 0, max: highest, orient: 'horizontal', top: 0, left: 'center',
                itemHeight: 140, itemWidth: 12, text: [`${number(highest)} x mean`, '0'],
                textStyle: {color: colours.ink}, inRange: {color: [colours.panel, '#e08a1e', '#a3261e']}},
    xAxis: axis(colours, {type: 'category', data: Array.from({length: ranks}, (_, rank) => rank),
                          name: 'expert-parallel rank', nameGap: 30, splitLine: {show: false}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: [kWholeRank, ...Array.from({length: perRank}, (_, i) => i)],
                          name: 'expert on its rank', nameGap: 34, splitLine: {show: false}}),
    series: [{type: 'heatmap', data: [...means, ...cells], progressive: 0,
              itemStyle: {borderColor: colours.paper, borderWidth: 1}}],
  };
}
