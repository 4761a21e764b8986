// Where routing sends tokens: experts of one layer, and ranks over all layers.

import {number} from './format.js';
import {axis, base} from './theme.js';

const kWholeRank = 'all';

/** A map of loads over their mean. `cells`: [{value: [x, y, load], text}]; `highest`: of the colours. */
function loadMap(cells, highest, x, y, colours) {
  const tooltip = ({data}) => `<b>${data.text}</b><br>${number(data.value[2])} times the mean load`;
  return {
    ...base(colours),
    grid: {left: 28, right: 12, top: 44, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    visualMap: {type: 'continuous', min: 0, max: highest, orient: 'horizontal', top: 0, left: 'center',
                itemHeight: 140, itemWidth: 12, text: [`${number(highest)} x mean`, '0'],
                textStyle: {color: colours.ink}, inRange: {color: [colours.panel, '#e08a1e', '#a3261e']}},
    xAxis: axis(colours, {type: 'category', data: x.values, name: x.name, nameGap: 30, splitLine: {show: false}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: y.values, name: y.name, nameGap: 34,
                          splitLine: {show: false}}),
    series: [{type: 'heatmap', data: cells, progressive: 0,
              itemStyle: {borderColor: colours.paper, borderWidth: cells.length > 2000 ? 0 : 1}}],
  };
}

const upTo = (count) => Array.from({length: count}, (_, i) => i);

/** @param rows [{expert, rank, relative_load}] in order of slots; every rank has as many. */
export function routingMap(rows, colours) {
  const ranks = rows.at(-1).rank + 1;
  const perRank = rows.length / ranks;
  const cells = rows.map((row, slot) => (
    {value: [row.rank, 1 + slot % perRank, row.relative_load], text: `Rank ${row.rank}, expert ${row.expert}`}));
  const means = upTo(ranks).map((rank) => {
    const own = rows.filter((row) => row.rank === rank);
    const mean = own.reduce((sum, row) => sum + row.relative_load, 0) / perRank;
    return {value: [rank, 0, mean], text: `Rank ${rank}, all its experts`};
  });
  return loadMap([...means, ...cells], Math.max(...rows.map((row) => row.relative_load)),
                 {values: upTo(ranks), name: 'expert-parallel rank'},
                 {values: [kWholeRank, ...upTo(perRank)], name: 'expert on its rank'}, colours);
}

/**
 * @param rows [{placement, layer, relative_loads}], loads by rank; placements share their colours, so that they compare.
 * @param placement Of the rows that are shown.
 */
export function rankLoadMap(rows, placement, colours) {
  const shown = rows.filter((row) => row.placement === placement);
  const cells = shown.flatMap((row, y) => row.relative_loads.map((load, rank) => (
    {value: [rank, y, load], text: `Layer ${row.layer}, rank ${rank}`})));
  return loadMap(cells, Math.max(...rows.flatMap((row) => row.relative_loads)),
                 {values: upTo(shown[0].relative_loads.length), name: 'expert-parallel rank'},
                 {values: shown.map((row) => row.layer), name: 'layer with experts'}, colours);
}
