import { isInsideBatch } from './batch-scope.js';
import { checkOptions, milliseconds } from './check-options.js';
import type { Clock } from './clock.js';
import { misuse, describe } from './errors.js';
import { canonicalKey, type CanonicalKey, type Key } from './key.js';
import { LocalValues } from './local-values.js';
import type { LoadContext, Loader, RunOptions } from './options.js';
import type { FlightResult } from './waiters.js';

/** Periods of effects that ran while the coordinator was away are remembered in this process for this many keys. */
const REMEMBERED_MAX = 10_000;

export interface OnceOptions {
  /** The period, in milliseconds, from 1: after the effect has run, calls skip it for this long. Required. */
  readonly ttlMs: number;
}

/** Runs a flight; what `once` needs of a collapser. */
type Fly = (key: Key, loader: Loader<boolean>, options: RunOptions<boolean>) => Promise<FlightResult<boolean>>;

/**
 * An effect that happens once per period in the whole cluster is a flight whose outcome, `true`, is stored for the
 * period: a runner that crashes is taken over, and one that fails stores nothing, so the next caller tries.
 */
export class Once {
  readonly #fly: Fly;
  /** Without the coordinator nothing is stored there: then each process keeps to the period by itself. */
  readonly #ranHere: LocalValues;

  constructor(clock: Clock, fly: Fly) {
    this.#fly = fly;
    this.#ranHere = new LocalValues(clock, REMEMBERED_MAX);
  }

  async run(key: Key, effect: (context: LoadContext) => unknown, options: OnceOptions): Promise<'ran' | 'skipped'> {
    const canonical = canonicalKey(key);
    if (typeof effect !== 'function') throw misuse('ERR_ONEFLIGHT_LOADER', 'an effect: a function', describe(effect));
    checkOptions('options', options, { ttlMs: milliseconds(1) });
    if (options.ttlMs === undefined)
      throw misuse(
        'ERR_ONEFLIGHT_OPTION',
        'options.ttlMs to be a number of milliseconds: how long the effect is not repeated',
        'undefined',
      );
    // A batch must wait for nobody, so the effect could not be collapsed: each batch would repeat it.
    if (isInsideBatch()) throw misuse('ERR_ONEFLIGHT_BATCH', 'once to be called after runMany', 'a call inside its batch loader');
    if (this.#ranHere.value(canonical) !== undefined) return 'skipped';
    const { source } = await this.#fly(['oneflight:once', canonical], loaderOf(key, effect), {
      ttlMs: options.ttlMs,
      shareErrors: false,
      tags: [],
      freshness: 'join', // Whatever the collapser's defaults say: a strict call would not look whether the effect has run.
    });
    if (source === 'degraded') this.#remember(canonical, options.ttlMs);
    return source === 'leader' || source === 'degraded' || source === 'bypass' ? 'ran' : 'skipped';
  }

  #remember(key: CanonicalKey, ttlMs: number): void {
    this.#ranHere.write(key, { how: 'value', value: true }, { valueMs: ttlMs, errorMs: 0, loadMs: 0 });
  }
}

/** The effect is told its own key, and its value does not matter. */
function loaderOf(key: Key, effect: (context: LoadContext) => unknown): Loader<boolean> {
  return async (context) => {
    await effect({
      key,
      flightId: context.flightId,
      fencingToken: context.fencingToken,
      get signal() {
        return context.signal;
      },
      unshareable: () => undefined,
      inSpan: (traceparent) => context.inSpan(traceparent),
      previous: undefined,
      isRefresh: false,
      keep: () => undefined,
      isAlone: true,
      offer: () => undefined,
    });
    return true;
  };
}
