import { describe, expect, it } from 'vitest';
import { createCollapser } from '../../src/index.js';

type Case = [name: string, options: unknown, message: string];

/** Somebody's, who has fields of its own. */
class Client {
  readonly options = {};
}

const construction: Case[] = [
  ['null', null, 'expected options to be an object, got null'],
  ['a string', 'redis://', 'expected options to be an object, got a string of length 8'],
  ['an unknown name', { coordinater: {} }, "got the unknown option 'coordinater'; did you mean 'coordinator'?"],
  [
    'a name with spaces',
    { name: 'my api' },
    'expected options.name to be a name of 1 to 64 letters, digits, or . : _ -, got a string of length 6',
  ],
  [
    'a coordinator that is none',
    { coordinator: {} },
    'expected options.coordinator to be a coordinator, such as redisCoordinator({ redis }), got an object of type Object',
  ],
  [
    'a client instead of a coordinator',
    { coordinator: { connect: () => undefined, duplicate: () => undefined } },
    'expected options.coordinator to be a coordinator, which redisCoordinator({ redis }) makes of a client, got an object of type Object',
  ],
  ['an instance instead of options', new Client(), 'expected options to be an object of options, got an object of type Client'],
  [
    'a short name that is like none',
    { ttl: 1 },
    "to have only the options name, coordinator, mode, defaults, limits, clock, random, got the unknown option 'ttl'",
  ],
  ['an unknown mode', { mode: 'watch' }, "expected options.mode to be one of 'collapse', 'observe', got a string of length 5"],
  [
    'a limit of 0',
    { limits: { flightsMax: 0 } },
    'expected options.limits.flightsMax to be a whole number of at least 1, got the number 0',
  ],
  [
    'an unknown limit',
    { limits: { maxFlights: 5 } },
    "expected options.limits to have only the options flightsMax, waitersPerFlightMax, keyBytesMax, watchersMax, valuesMax, got the unknown option 'maxFlights'",
  ],
  ['a signal as a default', { defaults: { signal: AbortSignal.abort() } }, "got the unknown option 'signal'"],
  [
    'a contradiction',
    { mode: 'observe', defaults: { whenDegraded: 'reject' } },
    "expected mode 'observe' without whenDegraded 'reject', because observing never rejects a call, got both",
  ],
];

const calls: Case[] = [
  [
    'a duration as text',
    { timeoutMs: '5s' },
    'expected options.timeoutMs to be a number of milliseconds from 1 to 2147483647 or Infinity, got a string of length 2',
  ],
  ['a name without its unit', { timeout: 5_000 }, "got the unknown option 'timeout'; did you mean 'timeoutMs'?"],
  ['a name in other units', { timeoutSeconds: 5 }, "got the unknown option 'timeoutSeconds'"],
  ['no time at all', { timeoutMs: 0 }, 'got the number 0'],
  [
    'a negative time',
    { loadTimeoutMs: -1 },
    'expected options.loadTimeoutMs to be a number of milliseconds from 1 to 2147483647 or Infinity, got the number -1',
  ],
  ['NaN', { timeoutMs: Number.NaN }, 'got the number NaN'],
  ['more than a timer can wait', { timeoutMs: 2 ** 31 }, 'got the number 2147483648'],
  ['a signal that is none', { signal: {} }, 'expected options.signal to be an AbortSignal, got an object of type Object'],
  [
    'an unknown isolation',
    { isolate: 'copy' },
    "expected options.isolate to be one of 'none', 'clone', 'freeze', got a string of length 4",
  ],
  [
    'a codec without decode',
    { codec: { encode: () => new Uint8Array() } },
    'expected options.codec to be a codec with encode and decode, got an object of type Object',
  ],
  [
    'shareErrors as text',
    { shareErrors: 'no' },
    'expected options.shareErrors to be a boolean or a function of the error, got a string of length 2',
  ],
  ['__proto__', JSON.parse('{"__proto__": 1}'), "got the unknown option '__proto__'"],
];

const is = (code: string, message: string) =>
  expect.objectContaining({ name: 'TypeError', code, message: expect.stringContaining(message) });

describe('misuse', () => {
  it.each(construction)('createCollapser refuses %s', (_, options, message) => {
    expect(() => createCollapser(options as object)).toThrow(is('ERR_ONEFLIGHT_OPTION', message));
  });

  it.each(calls)('run, flight and defaults refuse %s', async (_, options, message) => {
    const collapser = createCollapser();
    await expect(collapser.run('k', () => 1, options as object)).rejects.toEqual(is('ERR_ONEFLIGHT_OPTION', message));
    await expect(collapser.flight('k', () => 1, options as object)).rejects.toEqual(is('ERR_ONEFLIGHT_OPTION', message));
    expect(() => createCollapser({ defaults: options as object })).toThrow(is('ERR_ONEFLIGHT_OPTION', 'options.defaults'.slice(0, 7)));
    expect(collapser.stats().totals.calls).toBe(0);
  });

  it('a loader that is no function is refused', async () => {
    const call = createCollapser().run('k', 'SELECT 1' as unknown as () => number);
    await expect(call).rejects.toEqual(
      is('ERR_ONEFLIGHT_LOADER', 'expected a loader: a function that returns the value or a promise of it, got a string of length 8'),
    );
  });

  it('wrap refuses what is no function, and a missing key, at once', () => {
    const collapser = createCollapser();
    const wrap = collapser.wrap.bind(collapser) as (...args: unknown[]) => unknown;
    expect(() => wrap(1, { key: () => 'k' })).toThrow(is('ERR_ONEFLIGHT_LOADER', 'expected a function to wrap, got the number 1'));
    expect(() => wrap(async () => 1, {})).toThrow(
      is('ERR_ONEFLIGHT_OPTION', 'expected options.key to be a function from the arguments to a key, got undefined'),
    );
    expect(() => wrap(async () => 1, { key: () => 'k', ttl: 5 })).toThrow(is('ERR_ONEFLIGHT_OPTION', "got the unknown option 'ttl'"));
  });

  it('close refuses a drainMs that is no duration', () => {
    expect(() => createCollapser().close({ drainMs: -1 })).toThrow(
      is('ERR_ONEFLIGHT_OPTION', 'expected options.drainMs to be a number of milliseconds from 0 to 2147483647, got the number -1'),
    );
  });

  it('invalidate refuses a key that is none', async () => {
    await expect(createCollapser().invalidate('')).rejects.toEqual(is('ERR_ONEFLIGHT_KEY', 'got an empty string'));
  });

  it('an option that is undefined counts as not given', async () => {
    expect(
      await createCollapser(JSON.parse('{}', () => ({ name: undefined }))).run(
        'k',
        () => 1,
        JSON.parse('{}', () => ({ timeoutMs: undefined })),
      ),
    ).toBe(1);
  });
});
