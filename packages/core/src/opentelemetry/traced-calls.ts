import { SpanKind, type Tracer } from '@opentelemetry/api';
import type { BatchLoader } from '../batch.js';
import type { Collapser, WrapOptions } from '../collapser.js';
import type { Key, KeyPart } from '../key.js';
import type { LoadContext, Loader, RunOptions } from '../options.js';
import type { OnceOptions } from '../once.js';
import type { RunManyOptions } from '../run-many.js';
import type { WarmEntry, WarmOptions, WarmReport } from '../warm.js';
import type { WatchOptions } from '../watch.js';
import type { FlightResult } from '../waiters.js';
import { CallSpan } from './call-span.js';
import type { FlightTraces } from './flight-traces.js';

type TracedMethods = Pick<Collapser, 'run' | 'flight' | 'wrap' | 'once' | 'runMany' | 'watch' | 'warm'>;

/** The methods of a collapser that load, each call in a span of its own. */
export class TracedCalls {
  readonly #collapser: Collapser;
  readonly #tracer: Tracer;
  readonly #traces: FlightTraces;

  constructor(collapser: Collapser, tracer: Tracer, traces: FlightTraces) {
    this.#collapser = collapser;
    this.#tracer = tracer;
    this.#traces = traces;
  }

  methods(): TracedMethods {
    return {
      run: async (key, loader, options) => (await this.#flight(key, loader, options)).value,
      flight: (key, loader, options) => this.#flight(key, loader, options),
      wrap: (fn, options) => this.#wrap(fn, options),
      once: (key, effect, options) => this.#once(key, effect, options),
      runMany: (keys, load, options) => this.#runMany(keys, load, options),
      watch: (key, loader, options) => this.#watch(key, loader, options),
      warm: (entries, options) => this.#warm(entries, options),
    };
  }

  #flight<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<FlightResult<T>> {
    return this.#spanned(options?.signal, async (span) => {
      const result = await this.#collapser.flight(key, span.around(loader), options);
      span.answered(result);
      return result;
    });
  }

  #wrap<A extends unknown[], T>(fn: (...args: A) => Promise<T>, options: WrapOptions<A, T>): (...args: A) => Promise<T> {
    this.#collapser.wrap(fn, options); // Checks what it is given.
    const { key, ...rest } = options;
    const runOptions: RunOptions<T> = rest;
    return async (...args) => (await this.#flight(key(...args), () => fn(...args), runOptions)).value;
  }

  #once(key: Key, effect: (context: LoadContext) => unknown, options: OnceOptions): Promise<'ran' | 'skipped'> {
    return this.#spanned(undefined, async (span) => {
      const outcome = await this.#collapser.once(key, span.around(effect), options);
      span.ended(outcome);
      return outcome;
    });
  }

  #runMany<K extends KeyPart, T>(keys: readonly K[], load: BatchLoader<K, T>, options: RunManyOptions<K, T>): Promise<Map<K, T>> {
    return this.#spanned(options?.signal, async (span) => {
      const values = await this.#collapser.runMany(keys, span.aroundBatch(load), options);
      span.ended('many');
      return values;
    });
  }

  #watch<T>(key: Key, loader: Loader<T>, options?: WatchOptions<T>): AsyncIterable<T> {
    return this.#collapser.watch(key, this.#eachLoad(loader), options);
  }

  #warm<T>(entries: Iterable<WarmEntry<T>>, options?: WarmOptions<T>): Promise<WarmReport> {
    return this.#collapser.warm(isIterable(entries) ? this.#eachEntry(entries) : entries, options);
  }

  /** What is no entry is the collapser's to refuse. */
  *#eachEntry<T>(entries: Iterable<WarmEntry<T>>): Iterable<WarmEntry<T>> {
    for (const entry of entries)
      yield typeof entry === 'object' && entry !== null ? { ...entry, loader: this.#eachLoad(entry.loader) } : entry;
  }

  /** For calls that go on for long, or are many: a span for each load, none for the waiting. */
  #eachLoad<T>(loader: Loader<T>): Loader<T> {
    if (typeof loader !== 'function') return loader;
    return (context) =>
      this.#spanned(undefined, async (span) => {
        const value = await span.around(loader)(context);
        span.ended('leader');
        return value;
      });
  }

  async #spanned<R>(signal: AbortSignal | undefined, act: (span: CallSpan) => Promise<R>): Promise<R> {
    const { name } = this.#collapser;
    const attributes = { 'collapse.namespace': name };
    const span = new CallSpan(this.#tracer.startSpan(`collapse ${name}`, { kind: SpanKind.INTERNAL, attributes }), this.#traces);
    try {
      return await act(span);
    } catch (error) {
      span.failed(error, signal);
      throw error;
    } finally {
      span.end();
    }
  }
}

function isIterable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}
