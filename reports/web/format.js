// Numbers for axes and tooltips, in the form that reports/format.hpp gives them in the text.

const kPrefixes = [[1e18, 'E'], [1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
const kPrefixedUnits = new Set(['B', 'B/s', 'FLOP', 'FLOP/s', 'J', 'W', 'Wh', 'Hz']);
const kCountedUnits = new Set(['USD', 'GPU-h', 'tokens', 'tokens/s', 'tokens/d', 'kWh', 'MWh']);

function timeScale(seconds) {
  if (seconds >= 2 * 86400) return [1 / 86400, 'days'];
  if (seconds >= 2 * 3600) return [1 / 3600, 'h'];
  if (seconds >= 1 || seconds === 0) return [1, 's'];
  if (seconds >= 1e-3) return [1e3, 'ms'];
  if (seconds >= 1e-6) return [1e6, 'us'];
  return [1e9, 'ns'];
}

/** [factor, unit] that brings `value` near 1 to 1,000. */
export function scaleFor(value, unit) {
  const size = Math.abs(value);
  if (unit === 's') return timeScale(size);
  if (unit === '1') return [1, ''];
  if (unit === 'fraction') return [100, '%'];
  if (kPrefixedUnits.has(unit)) {
    const found = kPrefixes.find(([step]) => size >= step);
    return found ? [1 / found[0], found[1] + unit] : [1, unit];
  }
  if (kCountedUnits.has(unit)) {
    const found = kPrefixes.find(([step, prefix]) => 'TGM'.includes(prefix) && size >= step);
    return found ? [1 / found[0], `${found[1]} ${unit}`] : [1, unit];
  }
  return [1, unit];
}

/** About four significant digits. */
export function number(value) {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString('en-US', {maximumFractionDigits: 0});
  if (size >= 100) return value.toFixed(1);
  if (size >= 10) return value.toFixed(2);
  if (size >= 1) return value.toFixed(3);
  return size === 0 ? '0' : Number(value.toPrecision(3)).toString();
}

export function quantity(value, unit) {
  const [factor, shown] = scaleFor(value, unit);
  return `${number(value * factor)} ${shown}`.trimEnd();
}

export const signedPercent = (ratio) => `${ratio >= 0 ? '+' : ''}${(100 * ratio).toFixed(1)} %`;

/** Ticks of an axis: as `quantity`, without digits that a tick does not need. */
export function tick(value, unit) {
  const [factor, shown] = scaleFor(value, unit);
  return `${Number((value * factor).toPrecision(3)).toLocaleString('en-US')} ${shown}`.trimEnd();
}

/** Text that came from a scenario, safe inside a tooltip's HTML. */
export function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const kWords = {gemm: 'GEMM', mla: 'MLA', nic: 'NIC', mtp: 'MTP', hbm: 'HBM', rdma: 'RDMA', nvlink: 'NVLink', gpu: 'GPU',
                pue: 'PUE', bf16: 'BF16', fp8: 'FP8'};

/** "pipeline_send" as "Pipeline send". */
export function label(name) {
  const text = name.split(/[_ ]/).map((word) => kWords[word] ?? word).join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
