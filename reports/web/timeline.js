// Spans of a step as a Gantt chart: every rank's main stream, or every stream of one rank.

import * as echarts from 'echarts/core';
import {escapeHtml, label, quantity, tick} from './format.js';
import {axis, base, legend} from './theme.js';

const kSecondsPerMicrosecond = 1e-6;
const kInnerHeight = 0.7;  // of the span around it
const kPicosecond = 1e-6;  // in microseconds: ends and starts that are equal differ by less when added

/** How many spans of the same row enclose each one. Requires: sorted by start, the longest first. */
function depths(spans) {
  const openEnds = [];
  return spans.map(([, , start, duration]) => {
    while (openEnds.length > 0 && openEnds.at(-1) < start + kPicosecond) openEnds.pop();
    openEnds.push(start + duration);
    return openEnds.length - 1;
  });
}

/** Rows to draw: {name, spans} from the top down. `process` null: one row a process. */
function rowsOf(timeline, process) {
  if (process === null) {
    return timeline.processes.map(({id, name}) => {
      const main = timeline.threads.find((thread) => thread.process === id)?.thread;
      return {name, spans: timeline.spans.filter((span) => span[0] === id && span[1] === main)};
    });
  }
  return timeline.threads.filter((thread) => thread.process === process).map(({thread, name}) => (
    {name, spans: timeline.spans.filter((span) => span[0] === process && span[1] === thread)}));
}

function renderSpan(params, api) {
  const start = api.coord([api.value(1), api.value(0)]);
  const end = api.coord([api.value(2), api.value(0)]);
  const depth = api.value(3);
  const height = api.size([0, 1])[1] * 0.76 * kInnerHeight ** depth;
  const area = params.coordSys;
  const shape = echarts.graphic.clipRectByRect(
      {x: start[0], y: start[1] - height / 2, width: Math.max(end[0] - start[0], 0.5), height},
      {x: area.x, y: area.y, width: area.width, height: area.height});
  return shape && {type: 'rect', shape, z2: depth, style: {fill: api.visual('color')}};
}

/** @param timeline {processes, threads, spans: [[process, thread, start us, duration us, name, category]], names, categories} */
export function gantt(timeline, process, colours, colourOf) {
  const rows = rowsOf(timeline, process);
  const bars = rows.flatMap((row, index) => {
    const depth = depths(row.spans);
    return row.spans.map(([, , start, duration, name, category], i) => ({
      value: [index, start, start + duration, depth[i]],
      span: {name: timeline.names[name], category: timeline.categories[category], duration},
    }));
  });
  const categories = timeline.categories.filter((name) => bars.some((bar) => bar.span.category === name));
  const tooltip = ({data: {value, span}}) =>
    `<b>${escapeHtml(span.name)}</b><br>${escapeHtml(label(span.category))}, ` +
    `${quantity(span.duration * kSecondsPerMicrosecond, 's')} from ` +
    `${quantity(value[1] * kSecondsPerMicrosecond, 's')}`;
  return {
    ...base(colours),
    legend: legend(colours),
    grid: {left: 8, right: 24, top: 40, bottom: 56, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    dataZoom: [{type: 'inside', filterMode: 'weakFilter'},
               {type: 'slider', filterMode: 'weakFilter', height: 18, bottom: 8, showDetail: false,
                borderColor: colours.line, textStyle: {color: colours.muted}}],
    xAxis: axis(colours, {type: 'value', min: Math.max(timeline.start, Math.min(...bars.map(({value}) => value[1]))),
                          max: Math.min(timeline.end, Math.max(...bars.map(({value}) => value[2]))),
                          axisLabel: {hideOverlap: true, formatter: (v) => tick(v * kSecondsPerMicrosecond, 's')}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: rows.map((row) => row.name),
                          splitLine: {show: false}, axisLabel: {color: colours.ink}}),
    // One series a category, for the legend.
    series: categories.map((name) => ({
      name: label(name), type: 'custom', renderItem: renderSpan, encode: {x: [1, 2], y: 0},
      itemStyle: {color: colourOf(name)},
      data: bars.filter((bar) => bar.span.category === name),
    })),
  };
}
