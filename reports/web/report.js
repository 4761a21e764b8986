// The page's script: draws each figure that the page has a place for, and makes tables sortable.
// The page itself, with every number and table, is written by reports/html.cpp.

import * as echarts from 'echarts/core';
import {BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart} from 'echarts/charts';
import {AriaComponent, DataZoomComponent, GridComponent, LegendComponent, LegendScrollComponent,
        MarkLineComponent, TooltipComponent, VisualMapComponent} from 'echarts/components';
import {SVGRenderer} from 'echarts/renderers';
import {activityMap, activityMeans} from './activity.js';
import {agreement} from './agreement.js';
import {bars} from './comparison.js';
import {tick} from './format.js';
import {front} from './front.js';
import {roofline} from './roofline.js';
import {rankLoadMap, routingMap} from './routing.js';
import {stack} from './stacks.js';
import {makeColours, theme} from './theme.js';
import {gantt} from './timeline.js';
import {tornado, waterfall} from './waterfall.js';

echarts.use([BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart, AriaComponent, DataZoomComponent,
             GridComponent, LegendComponent, LegendScrollComponent, MarkLineComponent, TooltipComponent,
             VisualMapComponent, SVGRenderer]);

const data = JSON.parse(document.getElementById('report-data').textContent);

const memoryLimit = (result) => result.machine.hbm_bytes > 0 ?
    {value: result.machine.hbm_bytes, text: `GPU memory, ${tick(result.machine.hbm_bytes, 'B')}`} : null;

// In this order they get their colours, so that every report shows a family in the same one.
const kFamilies = ['gemm', 'grouped_gemm', 'attention', 'attention_backward', 'stream'];

const inUse = (row) => row.kind !== 'free';

/** Figures of the page: name of the element to the option that it shows under the current theme and width. */
const figures = {
  phases: (colours) => stack(
      data.result.phases.filter((row) => row.rank !== 'all' && !row.phase.startsWith('bound by '))
          .map((row) => ({column: row.rank, part: row.phase, value: row.time.value})),
      {unit: 's', columnName: 'rank'}, colours, makeColours()),
  memory: (colours) => stack(
      data.result.memory.filter(inUse).map((row) => ({column: row.rank, part: row.kind, value: row.bytes})),
      {unit: 'B', columnName: 'rank', limit: memoryLimit(data.result)}, colours, makeColours()),
  cost: (colours) => waterfall(data.cost, colours, makeColours()),
  roofline: (colours, width) => roofline(data.result.kernels, data.result.machine, width, colours, makeColours(kFamilies)),
  routing: (colours) => routingMap(data.result.routing, colours),
  'rank-loads-linear': (colours) => rankLoadMap(data.result.rank_loads, 'linear', colours),
  'rank-loads-eplb': (colours) => rankLoadMap(data.result.rank_loads, 'eplb', colours),
  timeline: (colours) => gantt(data.timeline, shownProcess(), colours, makeColours(data.timeline.categories)),
  sensitivity: (colours, width) => tornado(data.result.sensitivity.filter((row) => !row.refused), width, colours),
  'compare-phases': (colours) => stack(data.phases, {unit: 's'}, colours, makeColours()),
  'activity-mean': (colours) => activityMeans(data.activity, colours, makeColours()),
  'activity-map': (colours) => activityMap(data.activity, Number(document.getElementById('activity-track').value), colours),
  agreement: (colours, width, element) => agreement(
      data.agreement[element.dataset.family], colours, makeColours()),
  'study-front': (colours, width) => front(data.study.front, width, colours, makeColours()),
  'study-cost': (colours) => waterfall(
      data.study.costs[Number(document.getElementById('study-cost-choice').value)], colours, makeColours()),
  'compare-memory': (colours) => stack(data.memory, {unit: 'B'}, colours, makeColours()),
};

function shownProcess() {
  const choice = document.getElementById('timeline-process').value;
  return choice === 'all' ? null : Number(choice);
}

function optionOf(element) {
  const quantity = element.dataset.quantity;
  if (quantity === undefined) return figures[element.dataset.figure](theme(), element.clientWidth, element);
  const rows = data.columns.filter((column) => column.quantities[quantity])
      .map((column) => ({name: column.name, estimate: column.quantities[quantity]}));
  return bars(rows, theme(), makeColours(data.columns.map((column) => column.name)));
}

const charts = [...document.querySelectorAll('[data-figure]')].map((element) => (
  {element, chart: echarts.init(element, null, {renderer: 'svg'})}));
const draw = ({element, chart}) => chart.setOption(optionOf(element), true);
const redraw = () => charts.forEach(draw);

// One at a time, so that the page can be read and scrolled before the last is drawn.
charts.forEach((one) => setTimeout(() => draw(one)));

addEventListener('resize', () => charts.forEach((one) => {
  one.chart.resize();
  draw(one);
}));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
for (const id of ['timeline-process', 'activity-track', 'study-cost-choice'])
  document.getElementById(id)?.addEventListener('change', redraw);

/** Cells carry the number they show in data-value; others sort by text. */
function sortBy(table, column, ascending) {
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const order = x !== '' && y !== '' && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y);
    return ascending ? order : -order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector('button').addEventListener('click', () => {
      const ascending = head.getAttribute('aria-sort') !== 'ascending';
      heads.forEach((other) => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
      sortBy(table, column, ascending);
    });
  });
}
