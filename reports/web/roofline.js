// Kernels against the device's roofs: FLOP per HBM byte across, FLOP/s reached up, both logarithmic.

import {escapeHtml, label, number, quantity, tick} from './format.js';
import {axis, base, isNarrow, legend} from './theme.js';

const timeInStep = (kernel) => kernel.calls_per_step * kernel.time.value;

/** Kernels that have a place in the plane: those with FLOPs, HBM traffic and time. */
export const drawable = (kernels) =>
  kernels.filter((kernel) => kernel.flops > 0 && kernel.hbm_bytes > 0 && kernel.time.value > 0);

const kNamesOfARoof = 3;

/** Peaks with the data types that share each, the highest first. */
function distinctPeaks(machine) {
  const types = new Map();
  for (const [type, peak] of Object.entries(machine.peak_flops)) {
    types.set(peak, [...(types.get(peak) ?? []), type]);
  }
  return [...types].sort(([a], [b]) => b - a);
}

function roofs(machine, lowest, highest, narrow, colours) {
  return distinctPeaks(machine).map(([peak, types]) => {
    const knee = peak / machine.hbm_rate;
    const points = [[lowest, lowest * machine.hbm_rate], [knee, peak], [highest, peak]]
        .filter(([x]) => x >= lowest && x <= highest);
    const names = types.slice(0, kNamesOfARoof).join(', ') + (types.length > kNamesOfARoof ? ', ...' : '');
    return {
      name: `${names} roof`, type: 'line', data: points, symbol: 'none', silent: true,
      lineStyle: {color: colours.muted, width: 1.5}, z: 1,
      // Beside the roof, or on a narrow screen at its end just above it.
      endLabel: {show: true, formatter: narrow ? `${types[0]}, ${tick(peak, 'FLOP/s')}` : `${tick(peak, 'FLOP/s')}\n${names}`,
                 ...(narrow ? {align: 'right', verticalAlign: 'bottom', offset: [-6, -2]} : {}),
                 color: colours.muted, fontSize: 11, lineHeight: 14},
    };
  });
}

export function roofline(kernels, machine, width, colours, colourOf) {
  const narrow = isNarrow(width);
  const shown = drawable(kernels);
  const intensity = (kernel) => kernel.flops / kernel.hbm_bytes;
  const lowest = 10 ** Math.floor(Math.log10(Math.min(...shown.map(intensity))));
  const highest = 10 ** Math.ceil(Math.log10(Math.max(...shown.map(intensity), 1000)));
  const longest = Math.max(...shown.map(timeInStep));
  const families = [...new Set(shown.map((kernel) => kernel.family))];
  const series = families.map((family) => ({
    name: label(family), type: 'scatter', itemStyle: {color: colourOf(family), opacity: 0.8}, z: 2,
    data: shown.filter((kernel) => kernel.family === family).map((kernel) => ({
      value: [intensity(kernel), kernel.flops / kernel.time.value], kernel,
      symbolSize: (7 + 25 * Math.sqrt(timeInStep(kernel) / longest)) * (narrow ? 0.6 : 1),
    })),
  }));
  const tooltip = ({data}) => {
    const kernel = data.kernel;
    return `<b>${escapeHtml(kernel.name)}</b> ${escapeHtml(kernel.shape)}<br>` +
        `${quantity(kernel.time.value, 's')} a call, ${quantity(timeInStep(kernel), 's')} a step<br>` +
        `${quantity(data.value[1], 'FLOP/s')} at ${number(data.value[0])} FLOP/B<br>` +
        `bound by ${escapeHtml(kernel.binding)}`;
  };
  const drawn = machine.hbm_rate > 0 ? roofs(machine, lowest, highest, narrow, colours) : [];
  return {
    ...base(colours),
    legend: legend(colours, {data: families.map(label)}),
    grid: {left: 8, right: narrow ? 16 : 160, top: 44, bottom: 30, containLabel: true},
    tooltip: {...base(colours).tooltip, trigger: 'item', formatter: tooltip},
    xAxis: axis(colours, {type: 'log', min: lowest, max: highest, name: 'FLOP per byte of HBM', nameGap: 30,
                          axisLabel: {formatter: (v) => number(v).replace(/\.0+$/, '')}}),
    yAxis: axis(colours, {type: 'log', axisLabel: {formatter: (v) => tick(v, 'FLOP/s')}}),
    series: [...drawn, ...series],
  };
}
