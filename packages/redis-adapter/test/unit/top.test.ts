import { expect, test } from 'vitest';
import { HELP, parseArguments, withoutPassword } from '../../src/cli/arguments.js';
import type { Flight, ServerLook } from '../../src/cli/look.js';
import { reportOf } from '../../src/cli/report.js';
import { screenOf } from '../../src/cli/screen.js';
import { keyNames, readName } from '../../src/scripts/keys.js';

const SECRET = 'hunter2';

test('options have the defaults that --help names, and REDIS_URL is one of them', () => {
  const options = { url: 'redis://127.0.0.1:6379', prefix: 'oneflight', intervalMs: 1_000, once: false, json: false };
  expect(parseArguments(['top'], {})).toEqual({ kind: 'top', options });
  expect(parseArguments(['top'], { REDIS_URL: 'rediss://a:1' })).toEqual({ kind: 'top', options: { ...options, url: 'rediss://a:1' } });
  const all = ['top', '--url', 'redis://b:2', '--prefix=shop', '--interval', '250', '--once', '--json'];
  const expected = { url: 'redis://b:2', prefix: 'shop', intervalMs: 250, once: true, json: true };
  expect(parseArguments(all, { REDIS_URL: 'redis://a:1' })).toEqual({ kind: 'top', options: expected });
  for (const option of ['--url', '--prefix', '--interval', '--once', '--json', '--help']) expect(HELP).toContain(option);
});

test.each([[[]], [['--help']], [['top', '-h']]])('%j asks for help', (argv) => {
  expect(parseArguments(argv, {})).toEqual({ kind: 'help' });
});

test.each([
  [['tpo'], "unknown command 'tpo': did you mean 'top'?"],
  [['bottom'], "unknown command 'bottom': expected top"],
  [['--once'], "unknown command 'nothing': expected top"],
  [['top', '--intervall', '5'], "unknown option '--intervall': did you mean '--interval'?"],
  [['top', '--colour'], "unknown option '--colour': expected --url, --prefix, --interval, --once, --json, --help"],
  [['top', '--interval'], '--interval: expected a value after it'],
  [['top', '--interval', '1s'], '--interval 1s: expected a whole number of milliseconds from 100 to 60000'],
  [['top', '--interval', '99'], '--interval 99: expected a whole number of milliseconds from 100 to 60000'],
  [['top', '--once=yes'], '--once: takes no value'],
  [['top', '--interval', `redis://u:${SECRET}@host`], '--interval URL: expected a whole number of milliseconds from 100 to 60000'],
  [['top', '--prefix', `u:${SECRET}@h/`], '--prefix URL: expected 1 to 64 letters, digits, and _ - . : @'],
  [['top', '--prefix', 'a{b}'], '--prefix a{b}: expected 1 to 64 letters, digits, and _ - . : @'],
  [['top', '--url', `http://u:${SECRET}@host`], '--url: expected redis://host:port or rediss://host:port'],
  [['top', `redis://u:${SECRET}@host`], "unexpected 'URL': a value needs its option before it, such as --url"],
  [[`redis://u:${SECRET}@host`, 'top'], "unknown command 'URL': expected top"],
  [['top', `--ulr=redis://u:${SECRET}@host`], "unknown option '--ulr': did you mean '--url'?"],
  [['top', `--once=redis://u:${SECRET}@host`], '--once: takes no value'],
])('%j is refused with what to do instead, and without a password', (argv, message) => {
  expect(parseArguments(argv, {})).toEqual({ kind: 'wrong', message });
});

test('a URL is shown without its user and password', () => {
  expect(withoutPassword(`redis://shop:${SECRET}@10.0.0.1:6379/2`)).toBe('redis://10.0.0.1:6379/2');
  expect(withoutPassword(`redis://:${SECRET}@[::1]:6379?password=${SECRET}`)).toBe('redis://[::1]:6379');
});

test('every name of a key is read back, and no other name is', () => {
  const names = keyNames('shop');
  const kinds = {
    lease: 'leases',
    state: 'states',
    waiters: 'waiters',
    outcome: 'outcomes',
    value: 'values',
    failure: 'failures',
  } as const;
  for (const [name, kind] of Object.entries(kinds))
    expect(readName('shop', names[name as keyof typeof kinds]('hash'))).toEqual({ hash: 'hash', kind });
  expect(readName('shop', names.payload('hash', 'inbox#1'))).toEqual({ hash: 'hash', kind: 'payloads' });
  expect(readName('shop', names.tagMembers('tag'))).toEqual({ hash: 'tag', kind: 'tags' });
  for (const other of [
    'shop:v1:{hash}:x',
    'shop:v2:{hash}:l',
    'shops:v1:{hash}:l',
    'shop:v1:{hash',
    names.newInbox(),
    names.tagClock('shop'),
    names.tagBatch('tag', 'batch'),
  ])
    expect(readName('shop', other)).toBeUndefined();
});

test('rates count each flight that began since the look before, and each that ended', () => {
  const at = (seconds: number) => seconds * 1_000_000;
  const before = { looks: [lookOf(at(10), { stays: at(9), ends: at(9) })], present: new Set<string>() };
  const tokens = { stays: at(9), ends: at(9), new: at(11), quick: at(11) };
  const now = {
    looks: [{ ...lookOf(at(12), { stays: at(9), new: at(11) }), tokens: new Map(Object.entries(tokens)) }],
    present: new Set<string>(),
  };
  expect(reportOf('shop', now, undefined).perSecond).toBeNull();
  expect(reportOf('shop', now, before).perSecond).toEqual({ started: 1, settled: 1 }); // new and quick; ends and quick; in 2 s
});

test('the oldest flights come first, and those that do not fit are counted', () => {
  const running = Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`key${index}`, 1_000_000 * (index + 1)]));
  const screen = screenOf(reportOf('shop', { looks: [lookOf(9_000_000, running)], present: new Set(['i:a']) }, undefined), 'redis://a', 13);
  expect(screen).toHaveLength(13);
  expect(screen.filter((line) => line.startsWith('key')).map((line) => line.slice(0, 4))).toEqual(['keys', 'key0', 'key1']);
  expect(screen).toContain('… and 3 more, younger ones');
  expect(screen.join()).not.toContain('gone');
});

test.each([3, 8, 12, 13, 20, 24, 60, 200])(
  'on %i rows one look takes no more than these, and all of them where there is enough',
  (rows) => {
    const running = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`key${index}`, 1_000_000 * (index + 1)]));
    const look = lookOf(900_000_000, running);
    const flights = look.flights.map((flight, index) => ({ ...flight, leader: `i:leader${index % 40}` }));
    const report = reportOf('shop', { looks: [{ ...look, flights }], present: new Set() }, undefined);
    const screen = screenOf(report, 'redis://a', rows);
    expect(screen.length).toBeLessThanOrEqual(rows);
    if (rows > 12) expect(screen.length).toBe(Math.min(rows, 5 + 102 + 42));
  },
);

test('a leader whose process is gone is named as such, and a key that nobody leads', () => {
  const orphan = { ...flightOf('orphan', 1, 1), leader: null, token: null, ageMs: null, leaseLeftMs: null, followers: ['i:b'] };
  const look = { ...lookOf(2_000_000, { led: 1_000_000 }) };
  const report = reportOf('shop', { looks: [{ ...look, flights: [...look.flights, orphan] }], present: new Set() }, undefined);
  const screen = screenOf(report, 'redis://a', Number.POSITIVE_INFINITY).join('\n');
  expect(screen).toMatch(/^led .* its process is gone$/m);
  expect(screen).toMatch(/^orphan .* nobody leads: a follower takes over$/m);
});

/** A look that found these flights, by key and token. */
function lookOf(timeUs: number, running: Readonly<Record<string, number>>): ServerLook {
  return {
    timeUs,
    flights: Object.entries(running).map(([key, token]) => flightOf(key, token, timeUs)),
    tokens: new Map(Object.entries(running)),
    counts: { leases: 0, states: 0, waiters: 0, outcomes: 0, values: 0, failures: 0, payloads: 0, tags: 0 },
    isComplete: true,
    info: {
      address: 'a:1',
      version: '7',
      clients: 1,
      usedMemory: '1M',
      commandsPerSecond: 0,
      evictedKeys: 0,
      maxmemoryPolicy: 'noeviction',
    },
  };
}

function flightOf(key: string, token: number, timeUs: number): Flight {
  return { key, leader: 'i:a', token, ageMs: (timeUs - token) / 1_000, leaseLeftMs: 1_000, followers: [], failedAttempts: 0 };
}
