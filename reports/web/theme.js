// Colours of the charts, taken from the page's style so that light and dark agree with the text.

// Told apart with the common colour vision deficiencies; readable on white and on near-black.
const kPalette = ['#4477cc', '#e08a1e', '#2a9d8f', '#c8553d', '#8e6bbf', '#7aa23c', '#c76a9a',
                  '#4fa8d8', '#a8842c', '#7b8794'];
// Idle time is the absence of work: the same grey wherever it appears.
const kIdle = '#9aa3af';
// A pass has one colour, whether a chart shows its chunks or their sum over a step.
const [kForward, kBackward, kWeight, kOverlapped, kOptimizer, kCommunication] = kPalette;
const kFixed = {
  bubble: kIdle, idle: kIdle, free: kIdle, wait: kIdle,
  '1F': kForward, forward: kForward, '1B': kBackward, backward: kBackward, '1W': kWeight, weight: kWeight,
  '1F1B': kOverlapped, overlapped: kOverlapped, optimizer: kOptimizer, communication: kCommunication,
};

/** Whether a chart has the width of a phone. */
export const isNarrow = (width) => width < 560;

export function theme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {ink: read('--ink'), muted: read('--muted'), line: read('--line'), paper: read('--paper'),
          panel: read('--panel'), bad: read('--bad'), good: read('--good')};
}

/** A function from name to colour: `names` get theirs in order, others as they first appear. */
export function makeColours(names = []) {
  const given = new Map();
  const colourOf = (name) => {
    if (kFixed[name]) return kFixed[name];
    if (!given.has(name)) given.set(name, kPalette[given.size % kPalette.length]);
    return given.get(name);
  };
  names.forEach(colourOf);
  return colourOf;
}

/** What every chart shares. */
export function base(colours) {
  return {
    animation: false,
    textStyle: {color: colours.ink, fontFamily: getComputedStyle(document.body).fontFamily},
    aria: {enabled: true},
    tooltip: {backgroundColor: colours.panel, borderColor: colours.line,
              textStyle: {color: colours.ink, fontSize: 13}, confine: true},
  };
}

export function axis(colours, options) {
  const {nameLocation = 'middle', ...rest} = options;
  return {
    nameLocation, nameTextStyle: {color: colours.muted},
    axisLine: {lineStyle: {color: colours.line}}, axisTick: {show: false},
    splitLine: {lineStyle: {color: colours.line, opacity: 0.6}},
    ...rest,
    axisLabel: {color: colours.muted, ...rest.axisLabel},
  };
}

export const legend = (colours, options) => ({
  type: 'scroll', top: 0, textStyle: {color: colours.ink}, pageTextStyle: {color: colours.ink},
  ...options,
});
