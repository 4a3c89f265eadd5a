import { interleave } from '../interleave.js';
import { median } from '../statistics.js';
import { subjects, type Subject } from './subjects.js';

/*
 * A process of its own, started with --expose-gc: joins one load many times, and counts time and memory. Tells its result
 * by message. Joining and answering are timed apart: the first is what a caller pays at once, the second what all of them
 * pay when the load has ended.
 */
export interface LocalResult extends Pick<Subject, 'name' | 'setup' | 'role'> {
  readonly joinNs: number;
  readonly answerNs: number;
  readonly flightNs: number;
  readonly bytesPerWaiter: number;
  readonly bytesPerFlight: number;
}

const JOINS = 20_000;
const FLIGHTS = 5_000;

interface Sample {
  readonly joinNs: number;
  readonly answerNs: number;
  readonly flightNs: number;
}

const rounds = Number(process.argv[2]);
const all = subjects();
const samples = await interleave(all, { warmUp: 5, rounds }, async (subject, round) => ({
  ...(await timeJoins(subject, `joined-${round}`)),
  flightNs: await timeFlights(subject, round),
}));
const results: LocalResult[] = [];
for (const [index, subject] of all.entries()) {
  const middle = (of: (sample: Sample) => number): number => median((samples[index] ?? []).map(of));
  results.push({
    name: subject.name,
    setup: subject.setup,
    role: subject.role,
    joinNs: middle(({ joinNs }) => joinNs),
    answerNs: middle(({ answerNs }) => answerNs),
    flightNs: middle(({ flightNs }) => flightNs),
    bytesPerWaiter: await bytesPerWaiter(subject),
    bytesPerFlight: await bytesPerFlight(subject),
  });
}
process.send?.(results);
process.disconnect();

async function timeJoins({ get }: Subject, key: string): Promise<{ joinNs: number; answerNs: number }> {
  const { load, end } = heldLoad();
  const calls = places(JOINS);
  const first = get(key, load);
  const startedAt = process.hrtime.bigint();
  for (let index = 0; index < JOINS; index += 1) calls[index] = get(key, load);
  const joinedAt = process.hrtime.bigint();
  await end();
  const endedAt = process.hrtime.bigint();
  await first;
  for (const call of calls) await call;
  const answeredAt = process.hrtime.bigint();
  return { joinNs: Number(joinedAt - startedAt) / JOINS, answerNs: Number(answeredAt - endedAt) / JOINS };
}

/** One call after the other, each with a load of its own: nothing to share. */
async function timeFlights({ get }: Subject, round: number): Promise<number> {
  const load = async (): Promise<string> => 'value';
  const startedAt = process.hrtime.bigint();
  for (let index = 0; index < FLIGHTS; index += 1) await get(`alone-${round}-${index}`, load);
  return Number(process.hrtime.bigint() - startedAt) / FLIGHTS;
}

/** What one more caller holds while it waits, without the place in the array that the bench keeps it in. */
async function bytesPerWaiter({ get }: Subject): Promise<number> {
  const { load, end } = heldLoad();
  const calls = places(JOINS + 1);
  calls[JOINS] = get('held', load);
  const before = heapUsed();
  for (let index = 0; index < JOINS; index += 1) calls[index] = get('held', load);
  const bytes = heapUsed() - before;
  await end();
  await Promise.all(calls);
  return bytes / JOINS;
}

/** What one load in progress holds with one caller, without its key and its loader. */
async function bytesPerFlight({ get }: Subject): Promise<number> {
  const { load, end } = heldLoad();
  const keys = Array.from({ length: FLIGHTS }, (_, index) => `flight-${index}`);
  const calls = places(FLIGHTS);
  const before = heapUsed();
  for (const [index, key] of keys.entries()) calls[index] = get(key, load);
  const bytes = heapUsed() - before;
  await end();
  await Promise.all(calls);
  return bytes / FLIGHTS;
}

/** A load that ends when it is told to. Loads of more keys than one share the end. */
function heldLoad(): { load: () => Promise<string>; end: () => Promise<void> } {
  let release: (value: string) => void = () => {};
  const held = new Promise<string>((resolve) => (release = resolve));
  return {
    load: () => held,
    async end() {
      release('value');
      await held;
    },
  };
}

/** Room for the calls, made before anything is counted. */
function places(length: number): unknown[] {
  return Array.from({ length }, () => undefined);
}

function heapUsed(): number {
  for (let times = 0; times < 3; times += 1) globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
