import type uPlot from 'uplot';

import type { Second } from '../src/demo/status.js';
import { byId } from './dom.js';

/** Draws both charts anew. */
export type DrawCharts = (seconds: readonly Second[]) => void;

const SECONDS = 60;

interface Line {
  readonly color: string;
  readonly fill?: string;
  readonly dash?: number[];
  /** `took` seconds were counted together: more than one where the demo was late. */
  readonly value: (second: Second, took: number) => number | null;
}

/** Sets both charts up; colours follow the page's, sizes their places. */
export function createCharts(): DrawCharts {
  const load = createChart('load-chart', '', [
    { color: '--requests', fill: '--requests-soft', value: ({ requests }, took) => requests / took },
    { color: '--queries', fill: '--queries-soft', dash: [6, 4], value: ({ databaseQueries }, took) => databaseQueries / took },
  ]);
  const latency = createChart('latency-chart', ' ms', [
    { color: '--p50', value: (second) => second.latency?.p50Ms ?? null },
    { color: '--p95', dash: [6, 4], value: (second) => second.latency?.p95Ms ?? null },
    { color: '--p99', dash: [2, 4], value: (second) => second.latency?.p99Ms ?? null },
  ]);
  return (seconds) => {
    load(seconds);
    latency(seconds);
  };
}

function createChart(id: string, unit: string, lines: readonly Line[]): DrawCharts {
  const place = byId(id);
  const chart = new globalThis.uPlot({ ...settings(place, unit, lines), ...sizeOf(place) }, dataOf([], lines), place);
  new ResizeObserver(() => chart.setSize(sizeOf(place))).observe(place);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => chart.redraw());
  void document.fonts.ready.then(() => chart.redraw());
  return (seconds) => chart.setData(dataOf(seconds, lines));
}

function settings(place: HTMLElement, unit: string, lines: readonly Line[]): Omit<uPlot.Options, 'width' | 'height'> {
  const color = (name: string) => () => getComputedStyle(place).getPropertyValue(name);
  const axis = { stroke: color('--soft'), font: '12px Inter, sans-serif', ticks: { show: false } };
  return {
    legend: { show: false },
    cursor: { show: false },
    padding: [10, 20, 0, 0],
    scales: { x: { time: false, range: [1 - SECONDS, 0] }, y: { range: (_chart, _min, max) => [0, Math.max(10, max * 1.1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 28, splits: () => [-45, -30, -15, 0], values: (_chart, splits) => splits.map(secondsAgo) },
      {
        ...axis,
        grid: { stroke: color('--line'), width: 1 },
        size: 72,
        values: (_chart, splits) => splits.map((split) => split.toLocaleString('en-US') + unit),
      },
    ],
    series: [{}, ...lines.map((line) => seriesOf(line, color))],
  };
}

function seriesOf({ color: name, fill, dash }: Line, color: (name: string) => () => string): uPlot.Series {
  return {
    stroke: color(name),
    width: 2,
    points: { show: false },
    spanGaps: false,
    ...(fill === undefined ? {} : { fill: color(fill) }),
    ...(dash === undefined ? {} : { dash }),
  };
}

function secondsAgo(split: number): string {
  return split === 0 ? 'now' : `${-split} s ago`;
}

function sizeOf(place: HTMLElement): { width: number; height: number } {
  return { width: place.clientWidth, height: place.clientHeight };
}

/** One column per second of the last minute. Lines go on over seconds that were missed, and have a gap where a value is null. */
function dataOf(seconds: readonly Second[], lines: readonly Line[]): uPlot.AlignedData {
  const now = seconds.at(-1)?.at ?? 0;
  const ago = Array.from({ length: SECONDS }, (_, index) => index - SECONDS + 1);
  const column = ({ value }: Line) => {
    const values = seconds.map((second, index) => value(second, Math.max(1, second.at - (seconds[index - 1]?.at ?? second.at))));
    const byAge = new Map(seconds.map(({ at }, index) => [at - now, values[index]]));
    return ago.map((age) => byAge.get(age));
  };
  return [ago, ...lines.map(column)];
}
