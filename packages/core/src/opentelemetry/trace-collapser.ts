import { trace, type TracerProvider } from '@opentelemetry/api';
import { checkOptions, objectWith } from '../check-options.js';
import type { Collapser } from '../collapser.js';
import { describe, misuse } from '../errors.js';
import { FlightTraces } from './flight-traces.js';
import { TracedCalls } from './traced-calls.js';

export interface TraceOptions {
  /** @default the global provider of @opentelemetry/api */
  readonly tracerProvider?: TracerProvider;
}

/**
 * Returns the same collapser with a span around each call: INTERNAL, named `collapse <name of the collapser>`. The loader
 * runs inside the span of the caller that leads; a follower's span links to that one. No key, value or error message is
 * recorded. Calls made on the collapser that was given are not traced. Trace a collapser once.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for a wrong option.
 */
export function traceCollapser(collapser: Collapser, options: TraceOptions = {}): Collapser {
  const expected = isCollapser(collapser);
  if (expected !== undefined) throw misuse('ERR_ONEFLIGHT_OPTION', expected, describe(collapser));
  checkOptions('options', options, { tracerProvider: objectWith('a TracerProvider', 'getTracer') });
  const tracer = (options.tracerProvider ?? trace).getTracer('@oneflight/core');
  const calls: Partial<Collapser> = new TracedCalls(collapser, tracer, new FlightTraces(collapser)).methods();
  return new Proxy(collapser, {
    get(target, name) {
      if (Object.hasOwn(calls, name)) return Reflect.get(calls, name) as unknown;
      const own: unknown = Reflect.get(target, name);
      // Private fields are the target's: its methods must be called on it.
      const bound: unknown = typeof own === 'function' ? own.bind(target) : own;
      return bound;
    },
  });
}

const isCollapser = objectWith('a collapser', 'run', 'flight', 'listen');
