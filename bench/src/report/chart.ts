import type { Chart } from './result.js';
import { exact } from './words.js';

const WIDTH = 760;
const LABEL_WIDTH = 210;
const NUMBER_WIDTH = 90;
const BAR_HEIGHT = 18;
const STEP = 26;
const TOP = 56;

/** Horizontal bars as an SVG that is readable on light and dark pages. The scale begins at zero. */
export function drawBars({ title, unit, bars }: Chart): string {
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
  const room = WIDTH - LABEL_WIDTH - NUMBER_WIDTH;
  const drawn = bars.map(({ label, value, isOurs = false }, index) => {
    const y = TOP + index * STEP;
    const width = Math.max(1, (value / most) * room);
    const end = LABEL_WIDTH + width + 6;
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${y + 13}" text-anchor="end" class="${isOurs ? 'ours' : ''}">${escaped(label)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2" class="${isOurs ? 'bar ours' : 'bar'}"/>`,
      `<text x="${end.toFixed(1)}" y="${y + 13}">${exact(value)}</text>`,
    ].join('\n  ');
  });
  const height = TOP + bars.length * STEP + 12;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">
  <style>
    text { font: 12px system-ui, sans-serif; fill: #24292f; }
    .title { font-size: 15px; font-weight: 600; }
    .unit { fill: #57606a; }
    text.ours { font-weight: 600; }
    .bar { fill: #8c959f; }
    .bar.ours { fill: #0969da; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .unit { fill: #9da7b3; }
      .bar { fill: #6e7681; }
      .bar.ours { fill: #4493f8; }
    }
  </style>
  <text x="8" y="20" class="title">${escaped(title)}</text>
  <text x="8" y="40" class="unit">${escaped(unit)}</text>
  ${drawn.join('\n  ')}
</svg>
`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
