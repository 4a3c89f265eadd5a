import type { RequestHandler } from 'express';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { movingClock } from '../support/moving-clock.js';
import { type Fields, forbiddenBy, type Stored } from '../support/rfc9111-oracle.js';
import { startShop } from '../support/shop.js';

/** What a handler says next, and who asks when. */
interface Step {
  readonly afterS: number;
  readonly replica: number;
  readonly request: Fields;
  readonly answer: Fields;
  readonly status: number;
  /** Whether it answers 304 to one who brings its validator. */
  readonly validates: boolean;
}

const seconds = fc.constantFrom('0', '1', '10', '60', '3600', '99999999999', '-1', 'x', '"10"', '');
const directive = fc.oneof(
  fc.constantFrom(
    'public',
    'private',
    'no-store',
    'no-cache',
    'must-revalidate',
    'proxy-revalidate',
    'must-understand',
    'immutable',
    'private="a"',
    'no-cache="a"',
    'x="no-store"',
    '"',
    '',
  ),
  fc
    .tuple(fc.constantFrom('max-age', 'max-age', 's-maxage', 'stale-while-revalidate', 'stale-if-error', 'MAX-AGE'), seconds)
    .map(([name, value]) => `${name}=${value}`),
);
const lifetime = fc.constantFrom(
  'max-age=10',
  'max-age=60',
  'max-age=60, stale-while-revalidate=60',
  'max-age=10, stale-if-error=600',
  's-maxage=60, stale-if-error=60',
);
const control = fc.oneof(
  lifetime,
  fc.array(directive, { minLength: 1, maxLength: 3 }).map((all) => all.join(', ')),
  fc.tuple(lifetime, directive).map((all) => all.join(', ')),
);
const asks = fc.oneof(
  fc.constantFrom('no-cache', 'no-store', 'only-if-cached', 'max-stale', 'max-age=0'),
  fc.tuple(fc.constantFrom('max-age', 'min-fresh', 'max-stale'), seconds).map(([name, value]) => `${name}=${value}`),
);
const maybe = (name: string, value: fc.Arbitrary<string>, weight = 1): fc.Arbitrary<Fields> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant({}) }, { weight, arbitrary: value.map((text) => ({ [name]: text })) });
const merged = (...parts: fc.Arbitrary<Fields>[]): fc.Arbitrary<Fields> => fc.tuple(...parts).map((all) => Object.assign({}, ...all));

const step: fc.Arbitrary<Step> = fc.record({
  afterS: fc.constantFrom(0, 0, 1, 5, 20, 45, 70, 1_000),
  replica: fc.nat(1),
  request: merged(
    maybe('Cache-Control', asks),
    maybe('Pragma', fc.constant('no-cache')),
    maybe('Authorization', fc.constantFrom('a', 'b')),
    maybe('Accept-Language', fc.constantFrom('de', 'fr'), 4),
    maybe('X-Any', fc.constantFrom('1', '2')),
  ),
  answer: merged(
    maybe('Cache-Control', fc.oneof(control, lifetime), 20),
    maybe('CDN-Cache-Control', fc.oneof(control, fc.constantFrom('max-age=60', 'max-age', '')), 1),
    maybe('Vary', fc.constantFrom('Accept-Language', 'accept-language, X-Any', '*')),
    maybe(
      'Expires',
      fc.oneof(
        fc.constantFrom('0', 'soon', '2099-01-01'),
        fc.constantFrom(-10, 10, 60).map((ahead) => new Date(Date.now() + ahead * 1_000).toUTCString()),
      ),
    ),
    maybe('Age', fc.constantFrom('0', '5', '50', 'x')),
    maybe('Set-Cookie', fc.constant('a=b')),
    maybe('ETag', fc.constantFrom('"1"', 'W/"1"', '"2"'), 4),
  ),
  status: fc.constantFrom(200, 200, 200, 200, 200, 404, 301, 302, 403, 500, 503),
  validates: fc.boolean(),
});

interface Made extends Stored {
  readonly hasCookie: boolean;
  /** It is a 304: what is stored still holds. */
  readonly isRenewal: boolean;
}

/** One sequence of requests for one URL, and all that its handler made. */
interface Run {
  readonly made: Made[];
  /** Of those that were found to hold still: as they are since. */
  readonly renewals: Map<number, Made>;
  step: Step | undefined;
  now: number;
}

/**
 * A stored answer and the 304 that renewed it. Who asked whether it holds was told that it does for a request like this one;
 * the credentials are those of both.
 */
function renewed(stored: Made, by: Made): Made {
  const { Authorization } = { ...by.requestFields, ...stored.requestFields };
  // How old it was when it was stored says nothing once the origin has said that it holds (RFC 9111 section 4.2.3).
  const { Age: _, ...kept } = stored.fields;
  const requestFields = { ...by.requestFields, ...(Authorization !== undefined && { Authorization }) };
  return { ...by, fields: { ...kept, ...by.fields }, requestFields };
}

/** How a stored answer was used, and why that was wrong. */
function judge({ made, renewals, now }: Run, index: number, { step, told, isRefreshed }: Use): { how: string; why: string | undefined } {
  const stored = made[index];
  const latest = made.at(-1);
  if (stored === undefined || latest === undefined) throw new Error(`a body that nobody made: ${index}`);
  const use = renewals.get(index) ?? stored;
  // A stale answer may be renewed behind it.
  if (isRefreshed && latest.isRenewal) renewals.set(index, renewed(use, latest));
  if (told.includes('fwd-status=304')) return { how: 'validated', why: undefined };
  const isError = told.includes('fwd-status=5');
  const why = use.hasCookie ? 'a cookie' : forbiddenBy(use, { requestFields: step.request, at: now, isError });
  return {
    how: isError ? 'for an error' : told.includes('ttl=-') ? 'stale' : 'fresh',
    why: why && `${why}: ${JSON.stringify({ use, request: step.request, at: now, told })}`,
  };
}

interface Use {
  readonly step: Step;
  readonly told: string;
  readonly isRefreshed: boolean;
}

/** A shop whose handlers do as the step says, which plays one sequence after the other. */
async function startPlayer(identity: 'key' | 'ignore') {
  const clock = movingClock();
  const runs = new Map<string, Run>();
  const handler: RequestHandler = (request, response) => {
    const run = runs.get(request.path);
    if (run?.step === undefined) throw new Error('nobody asked');
    const { answer, status, validates, request: requestFields } = run.step;
    const isRenewal = validates && request.get('if-none-match') !== undefined;
    const made = { requestFields, fields: answer, status, at: run.now, date: Date.now() / 1_000, hasCookie: 'Set-Cookie' in answer };
    const index = run.made.push({ ...made, isRenewal }) - 1;
    response.set({ ...answer });
    if (isRenewal) response.status(304).end();
    else response.status(status).end(String(index));
  };
  const shop = await startShop(2, handler, { cache: 'http', identity, statusHeader: true, etag: false }, { clock });
  const isQuiet = (): boolean => shop.collapsers.every((collapser) => collapser.stats().flights === 0);

  async function play(steps: readonly Step[]): Promise<{ uses: string[]; broken: string[] }> {
    const path = `/${runs.size}`;
    const run: Run = { made: [], renewals: new Map(), step: undefined, now: 0 };
    runs.set(path, run);
    const uses: string[] = [];
    const broken: string[] = [];
    for (const step of steps) {
      run.now += clock.advance(step.afterS * 1_000) / 1_000;
      run.step = step;
      const before = run.made.length;
      const got = await shop.ask(step.replica, { path, headers: { ...step.request } });
      await expect.poll(isQuiet, { interval: 1, timeout: 10_000 }).toBe(true); // a refresh behind an answer belongs to its step
      const index = /^\d+$/.test(got.body) ? Number(got.body) : undefined;
      const told = String(got.headers['cache-status']);
      if (index === undefined || (index >= before && !told.includes('; hit;'))) continue;
      const { how, why } = judge(run, index, { step, told, isRefreshed: run.made.length > before });
      uses.push(how);
      if (why !== undefined) broken.push(why);
    }
    return { uses, broken };
  }
  return play;
}

describe('whatever requests ask and answers say', () => {
  it.each(['key', 'ignore'] as const)(
    'no client gets what RFC 9111 forbids, with identity %s',
    async (identity) => {
      const play = await startPlayer(identity);
      const uses = new Map<string, number>();
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
          const played = await play(steps);
          for (const use of played.uses) uses.set(use, (uses.get(use) ?? 0) + 1);
          expect(played.broken).toEqual([]);
        }),
        { numRuns: Number(process.env['ONEFLIGHT_PROPERTY_RUNS'] ?? 80) },
      );
      console.log(`identity ${identity}, stored answers used:`, Object.fromEntries(uses));
      expect(uses.get('fresh')).toBeGreaterThan(2); // a run in which nothing is kept holds nothing
    },
    60_000,
  );
});
