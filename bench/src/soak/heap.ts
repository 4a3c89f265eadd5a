import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes that are in use once nothing is left to collect. */
export interface Used {
  readonly heap: number;
  /** Outside the heap, held by what is in it: buffers. */
  readonly external: number;
  /** What the system has given to the process. */
  readonly resident: number;
}

setFlagsFromString('--expose_gc');
const gc: unknown = runInNewContext('gc');

function collectGarbage(): void {
  if (typeof gc !== 'function') throw new Error('this Node does not let its garbage be collected');
  Reflect.apply(gc, undefined, []);
}

export function used(): Used {
  for (let times = 0; times < 4; times++) collectGarbage();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: heapUsed, external, resident: rss };
}

/** The slope of the line that lies closest to the points. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (index: 0 | 1): number => points.reduce((sum, point) => sum + point[index], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  const variance = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return covariance / variance;
}
