// Spans of a step as a Gantt chart: every rank's main stream, or every stream of one rank.

import * as echarts from 'echarts/core';
import {escapeHtml, label, quantity} from './format.js';
import {axis, base} from './theme.js';

const kSecondsPerMicrosecond = 1e-6;

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
  const height = api.size([0, 1])[1] * 0.72;
  const area = params.coordSys;
  const shape = echarts.graphic.clipRectByRect(
      {x: start[0], y: start[1] - height / 2, width: Math.max(end[0] - start[0], 0.5), height},
      {x: area.x, y: area.y, width: area.width, height: area.height});
  return shape && {type: 'rect', shape, style: {fill: api.visual('color')}};
}

/** @param timeline {processes, threads, spans: [[process, thread, start us, duration us, name, category]], names, categories} */
export function gantt(timeline, process, colours, colourOf) {
  const rows = rowsOf(timeline, process);
  const data = rows.flatMap((row, index) => row.spans.map(([, , start, duration, name, category]) => ({
    value: [index, start, start + duration],
    span: {name: timeline.names[name], category: timeline.categories[category], duration},
    itemStyle: {color: colourOf(timeline.categories[category])},
  })));
  const tooltip = ({data: {value, span}}) =>
    `<b>${escapeHtml(span.name)}</b><br>${escapeHtml(label(span.category))}, ` +
    `${quantity(span.duration * kSecondsPerMicrosecond, 's')} from ` +
    `${quantity(value[1] * kSecondsPerMicrosecond, 's')}`;
  return {
    ...base(colours),
    grid: {left: 8, right: 24, top: 8, bottom: 56, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    dataZoom: [{type: 'inside', filterMode: 'weakFilter'},
               {type: 'slider', filterMode: 'weakFilter', height: 18, bottom: 8, showDetail: false,
                borderColor: colours.line, textStyle: {color: colours.muted}}],
    xAxis: axis(colours, {type: 'value', min: timeline.start, max: timeline.end,
                          axisLabel: {hideOverlap: true, formatter: (v) => quantity(v * kSecondsPerMicrosecond, 's')}}),
    yAxis: axis(colours, {type: 'category', inverse: true, data: rows.map((row) => row.name),
                          splitLine: {show: false}, axisLabel: {color: colours.ink}}),
    series: [{type: 'custom', renderItem: renderSpan, encode: {x: [1, 2], y: 0}, data}],
  };
}
