import type { RequestHandler } from 'express';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { type Answer, startShop } from '../support/shop.js';

/** What a request says, and what its answer is made to say by the handler. */
interface Trait {
  readonly method?: 'GET' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  readonly answer?: Readonly<Record<string, string>>;
}

type Shop = Awaited<ReturnType<typeof startShop>>;

const TRAITS: Readonly<Record<string, (who: string) => Trait>> = {
  none: () => ({}),
  Authorization: (who) => ({ headers: { authorization: `Bearer ${who}` } }),
  Cookie: (who) => ({ headers: { cookie: `session=${who}` } }),
  Vary: (who) => ({ headers: { 'accept-language': who }, answer: { vary: 'Accept-Language' } }),
  'Accept-Encoding': (who) => ({
    headers: { 'accept-encoding': who === 'leader' ? 'gzip' : 'br' },
    answer: { 'content-encoding': 'gzip' },
  }),
  'If-None-Match': () => ({ headers: { 'if-none-match': '"1"' } }),
  Range: () => ({ headers: { range: 'bytes=0-3' } }),
  HEAD: () => ({ method: 'HEAD' }),
  Origin: (who) => ({ headers: { origin: `https://${who}.example` } }),
  'Set-Cookie': (who) => ({ answer: { 'set-cookie': `session=${who}` } }),
  private: () => ({ answer: { 'cache-control': 'private' } }),
  'no-store': () => ({ answer: { 'cache-control': 'no-store' } }),
  SSE: () => ({ answer: { 'content-type': 'text/event-stream' } }),
};

/** Answers as the request asks for: with its caller's name in the body, a part for a Range, and the headers of its trait. */
const answerAsTold: RequestHandler = (request, response) => {
  const body = Buffer.from(`answer to ${String(request.get('x-caller'))}`);
  const told = JSON.parse(request.get('x-answer') ?? '{}') as Record<string, string>;
  response.set({ ETag: '"1"', 'Access-Control-Allow-Origin': request.get('origin') ?? '*', 'Content-Type': 'text/plain', ...told });
  if (request.headers.range !== undefined)
    return void response.status(206).set('Content-Range', `bytes 0-3/${body.byteLength}`).end(body.subarray(0, 4));
  if (request.fresh) return void response.status(304).end();
  response.end(body);
};

describe('of two requests at the same time', () => {
  let shop: Shop;
  const waiting = new Map<string, { running: number; go: () => void; gone: Promise<void> }>();

  beforeAll(async () => {
    shop = await startGated(waiting);
  });

  it('none ever gets what is for the other, whatever the leader and the follower say', async () => {
    const rows: string[] = [];
    const leaks: string[] = [];
    const names = Object.keys(TRAITS);
    for (const [row, leaderTrait] of names.entries()) {
      const cells: string[] = [];
      for (const [column, followerTrait] of names.entries()) {
        const results = [];
        for (const replica of [0, 1]) {
          const cell = await runPair(shop, waiting, `/${row}/${column}/${replica}`, leaderTrait, followerTrait, replica);
          results.push(cell.how);
          leaks.push(...cell.leaks.map((leak) => `${leaderTrait} x ${followerTrait} on ${replica}: ${leak}`));
        }
        cells.push((results[0] === results[1] ? (results[0] ?? '') : results.join('/')).padEnd(8));
      }
      rows.push(`${leaderTrait.padEnd(16)}${cells.join(' ')}`);
    }
    console.log(
      `leader \\ follower ${names.map((name) => name.slice(0, 8).padEnd(8)).join(' ')}\n${rows.join('\n')}\n${leaks.length} leaks`,
    );
    expect(leaks).toEqual([]);
    expect(rows.join('').match(/shared/g)?.length).toBeGreaterThan(10); // a test in which nobody shares holds nothing
  });
});

describe('of two requests one after the other, where answers are kept', () => {
  it('none ever gets what is for the other, whatever the one says whose answer is stored and the one who asks', async () => {
    const runs = new Map<string, number>();
    const shop = await startShop(
      2,
      (request, response, next) => {
        runs.set(request.path, (runs.get(request.path) ?? 0) + 1);
        response.set('Cache-Control', 'public, max-age=60');
        return answerAsTold(request, response, next);
      },
      { cache: 'http' },
    );
    const rows: string[] = [];
    const leaks: string[] = [];
    const names = Object.keys(TRAITS);
    for (const [row, storedBy] of names.entries()) {
      const cells: string[] = [];
      for (const [column, askedBy] of names.entries()) {
        const path = `/${row}/${column}`;
        const [first, second] = [TRAITS[storedBy]?.('leader') ?? {}, TRAITS[askedBy]?.('follower') ?? {}];
        leaks.push(...leaksTo('leader', await askAs(shop, 0, path, 'leader', first), first).map((leak) => `${storedBy}: ${leak}`));
        const answer = await askAs(shop, 1, path, 'follower', second);
        const isStored = runs.get(path) === 1;
        const found = leaksTo('follower', answer, second, isStored ? first : undefined).filter(
          (leak) => !(leak === 'something for a range' && !says(first, 'range') && answer.body === 'answ'),
        );
        leaks.push(...found.map((leak) => `${storedBy} x ${askedBy}: ${leak}`));
        cells.push((isStored ? 'stored' : 'own').padEnd(8));
      }
      rows.push(`${storedBy.padEnd(16)}${cells.join(' ')}`);
    }
    console.log(
      `stored by \\ asked by ${names.map((name) => name.slice(0, 8).padEnd(8)).join(' ')}\n${rows.join('\n')}\n${leaks.length} leaks`,
    );
    expect(leaks).toEqual([]);
    expect(rows.join('').match(/stored/g)?.length).toBeGreaterThan(10); // a test in which nothing is kept holds nothing
  });
});

async function startGated(waiting: Map<string, { running: number; go: () => void; gone: Promise<void> }>): Promise<Shop> {
  return startShop(2, async (request, response, next) => {
    const gate = waiting.get(request.path);
    if (gate !== undefined) gate.running += 1;
    await gate?.gone;
    return answerAsTold(request, response, next);
  });
}

async function runPair(
  shop: Shop,
  waiting: Map<string, { running: number; go: () => void; gone: Promise<void> }>,
  path: string,
  leaderName: string,
  followerName: string,
  replica: number,
) {
  let go = (): void => {};
  const gate = { running: 0, go: () => go(), gone: new Promise<void>((resolve) => (go = resolve)) };
  waiting.set(path, gate);
  const waiters = (): number => shop.collapsers.reduce((sum, collapser) => sum + collapser.stats().waiters, 0);
  const [leaderTrait, followerTrait] = [TRAITS[leaderName]?.('leader') ?? {}, TRAITS[followerName]?.('follower') ?? {}];
  const leader = askAs(shop, 0, path, 'leader', leaderTrait);
  await expect.poll(() => gate.running, { interval: 2 }).toBe(1);
  const before = waiters();
  const follower = askAs(shop, replica, path, 'follower', followerTrait);
  await expect.poll(() => gate.running === 2 || waiters() > before, { interval: 2 }).toBe(true);
  go();
  const [leaders, followers] = await Promise.all([leader, follower]);
  waiting.delete(path);
  return {
    how: gate.running === 1 ? 'shared' : 'own',
    leaks: [
      ...leaksTo('leader', leaders, leaderTrait),
      ...leaksTo('follower', followers, followerTrait, gate.running === 1 ? leaderTrait : undefined),
    ],
  };
}

function askAs(
  shop: Shop,
  replica: number,
  path: string,
  caller: string,
  { method = 'GET', headers = {}, answer = {} }: Trait,
): Promise<Answer> {
  return shop.ask(replica, { method, path, headers: { 'x-caller': caller, 'x-answer': JSON.stringify(answer), ...headers } });
}

/** What an answer holds that its caller must not see; `sharedBy` is the trait of the request that ran, if it was another one. */
function leaksTo(caller: string, { status, headers, body }: Answer, trait: Trait, sharedBy?: Trait): string[] {
  const other = caller === 'leader' ? 'follower' : 'leader';
  const checks: Readonly<Record<string, boolean>> = {
    'a body of the other, who was not to be shared with': sharedBy === undefined && body.includes(other),
    'a cookie of the other': String(headers['set-cookie']).includes(other),
    'an allowed origin of the other': String(headers['access-control-allow-origin']).includes(other),
    'a request id of the other': headers['x-request-id'] !== caller,
    'a 304 for no condition': status === 304 && !says(trait, 'if-none-match'),
    'a part for no range': status === 206 && !says(trait, 'range'),
    'an empty body': trait.method !== 'HEAD' && status === 200 && body === '',
  };
  const found = Object.keys(checks).filter((what) => checks[what]);
  return sharedBy === undefined ? found : [...found, ...wrongToShare(sharedBy, trait)];
}

function says({ headers = {} }: Trait, name: string): boolean {
  return headers[name] !== undefined;
}

function wrongToShare(from: Trait, to: Trait): string[] {
  const differs = (name: string): boolean => from.headers?.[name] !== to.headers?.[name];
  const { answer = {} } = from;
  const checks: Readonly<Record<string, boolean>> = {
    'an answer to another identity': differs('authorization') || differs('cookie'),
    'a private answer': /private|no-store/.test(answer['cache-control'] ?? ''),
    'an answer for one': answer['set-cookie'] !== undefined || answer['content-type'] === 'text/event-stream',
    'another variant': answer['vary'] !== undefined && differs('accept-language'),
    'another encoding': answer['content-encoding'] !== undefined && differs('accept-encoding'),
    'something for a range': says(from, 'range') || says(to, 'range'),
    'no body for a GET': from.method === 'HEAD' && to.method !== 'HEAD',
  };
  return Object.keys(checks).filter((what) => checks[what]);
}

describe('of any requests at the same time', () => {
  const oneOf = <T>(...values: T[]) => fc.constantFrom(...values);
  const values: Readonly<Record<string, readonly (string | undefined)[]>> = {
    authorization: ['Basic a', 'Basic b', 'Basic B'],
    cookie: ['s=a', 's=b', 's=a; t=b'],
    'proxy-authorization': ['Basic a', 'Basic b'],
    'x-api-key': ['a', 'b'],
    'accept-language': ['de', 'fr'],
    'accept-encoding': ['gzip', 'br', 'identity'],
    accept: ['text/html', '*/*'],
    origin: ['https://a.example', 'https://b.example'],
    'if-none-match': ['"1"', '*', 'W/"9"'],
    'if-modified-since': ['Tue, 02 Jan 2024 00:00:00 GMT'],
    'cache-control': ['no-store', 'no-cache', 'max-age=0'],
    range: ['bytes=0-1'],
    'x-noise': ['a', 'b'],
  };
  const change = changeOf(values);
  const changes = (maxLength: number) => fc.array(change, { maxLength });
  /** Requests that are alike but for a few headers: those that are too different never meet. */
  const requests = fc
    .record({
      common: changes(4),
      each: fc.array(fc.record({ method: oneOf('GET', 'GET', 'GET', 'HEAD'), replica: oneOf(0, 1), own: changes(2) }), {
        minLength: 2,
        maxLength: 5,
      }),
    })
    .map(({ common, each }) => each.map(({ own, ...rest }) => ({ ...rest, headers: applied([...common, ...own]) })));
  const answerValues: Readonly<Record<string, readonly string[]>> = {
    'cache-control': [
      'public',
      'private',
      'no-store',
      'no-cache',
      'max-age=5',
      's-maxage=5',
      'Private="x"',
      'max-age=1, NO-STORE',
      'no-cache="x"',
    ],
    vary: ['Accept', 'accept-language, accept', '*', 'Cookie', 'Origin', 'accept-encoding'],
    'set-cookie': ['a=1'],
    'content-encoding': ['gzip'],
    'content-type': ['text/plain', 'text/event-stream', 'Text/Event-Stream; charset=utf-8'],
    'access-control-allow-origin': ['own', '*'],
    'clear-site-data': ['"cookies"'],
    etag: ['"1"', 'W/"1"'],
  };
  const answers = fc.array(changeOf(answerValues), { maxLength: 2 }).map(applied);
  const statuses = oneOf(200, 200, 200, 200, 203, 204, 206, 301, 302, 400, 401, 403, 404, 410, 429, 500);

  it('no caller gets the answer of another identity, or what RFC 9111 forbids a shared cache to reuse for it', async () => {
    const gates = new Map<string, Promise<void>>();
    let answering: { headers: Record<string, string>; status: number } = { headers: {}, status: 200 };
    const shop = await startShop(2, async (request, response) => {
      const { headers, status } = answering;
      await gates.get(request.path);
      const own =
        headers['access-control-allow-origin'] === 'own' ? { 'access-control-allow-origin': request.get('origin') ?? 'none' } : {};
      response
        .status(status)
        .set({ ...headers, ...own, 'x-ran-for': request.get('x-caller') ?? '' })
        .send(`for ${String(request.get('x-caller'))}`);
    });
    let sequence = 0;
    let shared = 0;
    await fc.assert(
      fc.asyncProperty(requests, answers, statuses, async (asked, headers, status) => {
        const path = `/${(sequence += 1)}`;
        const before = arrivals(shop);
        let open = (): void => {};
        gates.set(path, new Promise<void>((resolve) => (open = resolve)));
        answering = { headers, status };
        const asking = [];
        for (const [index, one] of asked.entries()) {
          asking.push(shop.ask(one.replica, { path, method: one.method, headers: { ...one.headers, 'x-caller': `caller-${index}` } }));
          // Each has arrived once it waits, or runs without having asked to.
          await expect.poll(() => arrivals(shop), { interval: 1 }).toBe(before + index + 1);
        }
        open();
        const answered = await Promise.all(asking);
        for (const [index, answer] of answered.entries()) {
          const ranFor = Number(String(answer.headers['x-ran-for'] ?? `caller-${index}`).replace('caller-', ''));
          if (ranFor === index || answer.status === 500) continue;
          shared += 1;
          const [from, to] = [asked[ranFor], asked[index]];
          expect(from === undefined || to === undefined ? 'unknown' : whyForbidden(from, to, headers, status)).toBeUndefined();
          expect(answer.body === '' || answer.body === `for caller-${ranFor}`).toBe(true);
          const origin = answer.headers['access-control-allow-origin'];
          expect([to?.headers.origin ?? 'none', '*']).toContain(origin);
        }
      }),
      { numRuns: 200 },
    );
    console.log(`${shared} answers were shared`);
    expect(shared).toBeGreaterThan(10); // a run in which nobody shares holds nothing
  });

  const arrivals = (shop: Shop): number =>
    shop.middlewares.reduce((sum, middleware) => {
      const { collapsed, bypassed } = middleware.stats();
      return sum + collapsed + Object.values(bypassed).reduce((total, count) => total + count, 0);
    }, 0);
});

/** One header of a table with one of its values, or without it. */
function changeOf(values: Readonly<Record<string, readonly (string | undefined)[]>>) {
  return fc
    .constantFrom(...Object.keys(values))
    .chain((name) => fc.constantFrom(undefined, ...(values[name] ?? [])).map((value) => ({ name, value })));
}

function applied(changes: readonly { readonly name: string; readonly value: string | undefined }[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const { name, value } of changes) {
    if (value === undefined) delete headers[name];
    else headers[name] = value;
  }
  return headers;
}

interface Asked {
  readonly method: string;
  readonly headers: Partial<Record<string, string>>;
}

/** RFC 9111 sections 3, 3.5 and 4 for a shared cache, written down a second time and in another way. */
function whyForbidden(from: Asked, to: Asked, headers: Partial<Record<string, string>>, status: number): string | undefined {
  if (isForOne(headers, status)) return 'the answer itself';
  if ([from, to].some((one) => one.headers['range'] !== undefined || one.headers['cache-control'] === 'no-store'))
    return 'one of the requests';
  if (from.method === 'HEAD' && to.method === 'GET') return 'the method';
  const names = ['authorization', 'cookie', 'proxy-authorization', 'x-api-key', ...(headers.vary ?? '').toLowerCase().split(/,\s*/)];
  if (headers['content-encoding'] !== undefined) names.push('accept-encoding');
  return names.find((name) => (from.headers[name] ?? '').trim() !== (to.headers[name] ?? '').trim());
}

function isForOne(headers: Partial<Record<string, string>>, status: number): boolean {
  const isStream = status !== 204 && /^text\/event-stream/i.test(headers['content-type'] ?? '');
  const isPrivate = /private|no-store|no-cache=/i.test(headers['cache-control'] ?? '') || headers.vary === '*';
  const isPersonal = headers['set-cookie'] !== undefined || headers['clear-site-data'] !== undefined;
  return isStream || isPrivate || isPersonal || ![200, 203, 204, 301, 404, 410].includes(status);
}
