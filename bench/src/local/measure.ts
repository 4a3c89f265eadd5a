import { subjects, type Subject } from './subjects.js';

/*
 * A process with one subject, started with --expose-gc: joins one load many times, and counts time or memory. It measures
 * one round whenever it is asked. Memory is measured in rounds of its own after all the others: forced garbage collections
 * throw compiled code away, and that costs a service nothing. Each subject has a process of its own, because one that uses AsyncLocalStorage makes every
 * promise of its process dearer, also those of the others. Joining and answering are timed apart: the first is what a caller
 * pays at once, the second what all of them pay when the load has ended.
 */
export interface TimeSample {
  readonly joinNs: number;
  readonly answerNs: number;
  readonly flightNs: number;
}

export interface MemorySample {
  readonly bytesPerWaiter: number;
  readonly bytesPerFlight: number;
}

const JOINS = 20_000;
const FLIGHTS = 5_000;

const subject = subjects()[Number(process.argv[2])];
if (subject === undefined) throw new Error('expected the number of a subject');
let round = 0;
process.on('message', (what) => void (what === 'memory' ? memoryOf(subject) : timesOf(subject)).then((sample) => process.send?.(sample)));
process.on('disconnect', () => process.exit(0));
process.send?.('ready');

async function timesOf(measured: Subject): Promise<TimeSample> {
  round += 1;
  return { ...(await timeJoins(measured, `joined-${round}`)), flightNs: await timeFlights(measured, round) };
}

async function memoryOf(measured: Subject): Promise<MemorySample> {
  return { bytesPerWaiter: await bytesPerWaiter(measured), bytesPerFlight: await bytesPerFlight(measured) };
}

async function timeJoins({ get }: Subject, key: string): Promise<{ joinNs: number; answerNs: number }> {
  const { load, end } = heldLoad();
  const calls = places(JOINS);
  const first = get(key, load);
  const startedAt = cpuNs();
  for (let index = 0; index < JOINS; index += 1) calls[index] = get(key, load);
  const joinedAt = cpuNs();
  await end();
  const endedAt = cpuNs();
  await first;
  for (const call of calls) await call;
  const answeredAt = cpuNs();
  return { joinNs: (joinedAt - startedAt) / JOINS, answerNs: (answeredAt - endedAt) / JOINS };
}

/** One call after the other, each with a load of its own: nothing to share. */
async function timeFlights({ get }: Subject, numbered: number): Promise<number> {
  const load = async (): Promise<string> => 'value';
  const startedAt = cpuNs();
  for (let index = 0; index < FLIGHTS; index += 1) await get(`alone-${numbered}-${index}`, load);
  return (cpuNs() - startedAt) / FLIGHTS;
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

/** Time that this process has had, not time that went by: a busy machine hands it out in slices. */
function cpuNs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1_000;
}

function heapUsed(): number {
  for (let times = 0; times < 3; times += 1) globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
