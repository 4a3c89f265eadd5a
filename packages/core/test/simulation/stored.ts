import { createCollapser, type Collapser, type FlightResult, type RunOptions } from '../../src/index.js';
import { ManualClock, memoryHub, type Leg, type MemoryCoordinator, type MemoryHub, type Network } from '../../src/testing/index.js';
import { Random } from './random.js';
import { silenceWarnings } from './silence-warnings.js';

/** How one run of stored values went. */
interface StoredReport {
  readonly seed: number;
  readonly violation: { readonly invariant: string; readonly detail: string } | undefined;
  readonly trace: readonly string[];
  readonly calls: number;
  readonly loads: number;
  /** What the run has met: sources of answers, faults. */
  readonly seen: ReadonlySet<string>;
}

/**
 * Runs one seed of calls that accept what is stored, invalidations of keys and of tags, and, in half of the seeds, faults:
 * replicas of the real core over the memory hub, on a network whose every leg takes its own time.
 */
export async function simulateStored(seed: number): Promise<StoredReport> {
  const restore = silenceWarnings();
  try {
    return await new StoredRun(seed).run();
  } finally {
    restore();
  }
}

const REPLICAS = 3;
const STEPS = 70;
const LEG_MS_MAX = 8;
/** Which tags a value carries: known before, known only after, none. */
const KEYS = ['static', 'late', 'bare'] as const;
const TAGS = ['red', 'blue'] as const;
type KeyName = (typeof KEYS)[number];

interface Loaded {
  readonly load: number;
  readonly tag: string;
}

interface LoadRecord {
  readonly id: number;
  readonly key: KeyName;
  readonly tag: string;
  readonly startedSeq: number;
  readonly startedAt: number;
  fails: boolean;
  ended: { readonly at: number } | undefined;
}

interface CallRecord {
  readonly id: number;
  readonly replica: string;
  readonly key: KeyName;
  readonly startedSeq: number;
  readonly startedAt: number;
  readonly options: Lifetimes;
  /** Absent while it waits. */
  endedSeq?: number;
}

interface InvalidationRecord {
  readonly replica: string;
  readonly what: { readonly key: KeyName } | { readonly tag: string };
  readonly begunSeq: number;
  endedSeq: number;
  endedAt: number;
  failed: boolean;
}

interface Lifetimes {
  readonly ttlMs: number;
  readonly lingerMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly negativeTtlMs: number;
}

interface Replica {
  readonly name: string;
  readonly coordinator: MemoryCoordinator;
  readonly collapser: Collapser;
}

class StoredRun implements Network {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock = new ManualClock();
  readonly #hub: MemoryHub;
  readonly #isFaulty: boolean;
  readonly #loss: number;
  readonly #calls: CallRecord[] = [];
  readonly #loads: LoadRecord[] = [];
  readonly #invalidations: InvalidationRecord[] = [];
  readonly #trace: string[] = [];
  readonly #seen = new Set<string>();
  readonly #replicas: Replica[] = [];
  #made = 0;
  #open = 0;
  #isOver = false;
  #violation: StoredReport['violation'];

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new Random(seed);
    this.#isFaulty = this.#random.chance(0.5);
    this.#loss = this.#isFaulty ? this.#random.pick([0, 0.01, 0.05]) : 0;
    this.#hub = memoryHub({ clock: this.#clock, network: this, inlineBytesMax: 512 });
    for (let replica = 0; replica < REPLICAS; replica++) this.#replicas.push(this.#start());
  }

  async run(): Promise<StoredReport> {
    for (let step = 0; step < STEPS && this.#violation === undefined; step++) {
      this.#act();
      await this.#clock.advance(this.#random.pick([0, 1, this.#random.whole(2, 40), this.#random.whole(20, 400)]));
    }
    this.#isOver = true;
    this.#hub.outage(false);
    for (const { coordinator } of this.#replicas) coordinator.listen();
    for (let rest = 0; rest < 40 && this.#open > 0; rest++) await this.#clock.advance(1_000);
    if (this.#open > 0) this.#fail('deadlines', `${this.#open} calls never ended`);
    const closed = Promise.all(this.#replicas.map(({ collapser }) => collapser.close({ drainMs: 0 })));
    await this.#clock.advance(20_000);
    await closed;
    return {
      ...{ seed: this.#seed, violation: this.#violation, trace: this.#trace, seen: this.#seen },
      ...{ calls: this.#calls.length, loads: this.#loads.length },
    };
  }

  send(leg: Leg, deliver: () => void): void {
    if (!this.#isOver && this.#random.chance(this.#loss)) {
      this.#note(`lost: ${leg.kind} ${leg.kind === 'message' ? leg.message.kind : leg.op}`);
      this.#seen.add(`lose ${leg.kind}`);
      return;
    }
    const copies = this.#isFaulty && leg.kind !== 'reply' && this.#random.chance(0.03) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) this.#clock.setTimer(deliver, this.#random.whole(0, LEG_MS_MAX));
  }

  // ---- What happens -------------------------------------------------------------------------------------------------

  #act(): void {
    const replica = this.#random.pick(this.#replicas as [Replica, ...Replica[]]);
    const choice = this.#random.next();
    if (choice < 0.68) this.#call(replica);
    else if (choice < 0.78) void this.#invalidate(replica, { key: this.#random.pick(KEYS) });
    else if (choice < 0.88) void this.#invalidate(replica, { tag: this.#random.pick(TAGS) });
    else if (this.#isFaulty) this.#fault(replica);
  }

  #start(): Replica {
    const coordinator = this.#hub.coordinator();
    const random = this.#random.fork();
    return { name: `R${++this.#made}`, coordinator, collapser: createCollapser({ coordinator, random: () => random.next() }) };
  }

  #fault(replica: Replica): void {
    const kind = this.#random.pick(['deaf', 'outage', 'crash'] as const);
    this.#seen.add(kind);
    this.#note(`${replica.name}: ${kind}`);
    const forMs = this.#random.whole(50, 2_000);
    switch (kind) {
      case 'deaf':
        replica.coordinator.deafen();
        this.#clock.setTimer(() => replica.coordinator.listen(), forMs);
        return;
      case 'outage':
        this.#hub.outage(true);
        this.#clock.setTimer(() => this.#hub.outage(false), forMs);
        return;
      case 'crash':
        replica.coordinator.crash();
        this.#replicas[this.#replicas.indexOf(replica)] = this.#start();
        void replica.collapser.close({ drainMs: 0 });
    }
  }

  #call(replica: Replica): void {
    const key = this.#random.pick(KEYS);
    const options = this.#lifetimes();
    const id = this.#calls.length;
    const startedSeq = this.#note(`${replica.name}: call ${id} of ${key} ${JSON.stringify(options)}`);
    const call = { id, replica: replica.name, key, startedSeq, startedAt: this.#clock.now(), options };
    this.#calls.push(call);
    this.#open++;
    const tags: Pick<RunOptions<Loaded>, 'tags'> = key === 'static'
      ? { tags: ['red'] }
      : key === 'late'
        ? { tags: ({ tag }: Loaded) => [tag] }
        : {};
    void replica.collapser
      .flight<Loaded>(key, () => this.#load(replica, key), { ...options, ...tags, earlyRefresh: options.ttlMs > 0, timeoutMs: 20_000 })
      .then(
        (result) => this.#answered(call, result),
        (error: unknown) => this.#failed(call, error),
      )
      .finally(() => this.#open--);
  }

  #lifetimes(): Lifetimes {
    const nothing = { ttlMs: 0, lingerMs: 0, staleWhileRevalidateMs: 0, staleIfErrorMs: 0, negativeTtlMs: 0 };
    return this.#random.pick([
      { ...nothing, lingerMs: 100 },
      { ...nothing, ttlMs: 300 },
      { ...nothing, ttlMs: 2_000 },
      { ...nothing, ttlMs: 200, staleWhileRevalidateMs: 3_000 },
      { ...nothing, ttlMs: 200, staleIfErrorMs: 3_000 },
      { ...nothing, ttlMs: 500, negativeTtlMs: 400 },
    ]);
  }

  async #load(replica: Replica, key: KeyName): Promise<Loaded> {
    const id = this.#loads.length;
    const tag = key === 'late' ? this.#random.pick(TAGS) : 'red';
    const startedSeq = this.#note(`${replica.name}: load ${id} of ${key} starts`);
    const load: LoadRecord = { id, key, tag, startedSeq, startedAt: this.#clock.now(), fails: false, ended: undefined };
    this.#checkOneRefresh(load);
    this.#loads.push(load);
    const takesMs = this.#random.pick([0, this.#random.whole(1, 60), this.#random.whole(50, 500)]);
    load.fails = this.#random.chance(0.2);
    await new Promise<void>((resolve) => {
      this.#clock.setTimer(resolve, takesMs);
    });
    load.ended = { at: this.#clock.now() };
    this.#note(`${replica.name}: load ${id} ends${load.fails ? ' with an error' : ''}`);
    if (load.fails) throw new Error(`load ${id} failed`);
    return { load: id, tag };
  }

  async #invalidate(replica: Replica, what: InvalidationRecord['what']): Promise<void> {
    const name = 'key' in what ? `key ${what.key}` : `tag ${what.tag}`;
    const begunSeq = this.#note(`${replica.name}: invalidates ${name}`);
    const record: InvalidationRecord = {
      replica: replica.name,
      what,
      begunSeq,
      endedSeq: Number.POSITIVE_INFINITY,
      endedAt: Number.POSITIVE_INFINITY,
      failed: false,
    };
    this.#invalidations.push(record);
    this.#open++;
    try {
      await ('key' in what ? replica.collapser.invalidate(what.key) : replica.collapser.invalidateTag(what.tag));
    } catch {
      record.failed = true;
    }
    this.#open--;
    record.endedAt = this.#clock.now();
    record.endedSeq = this.#note(`${replica.name}: ${record.failed ? 'could not invalidate' : 'has invalidated'} ${name}`);
  }

  // ---- What must hold -----------------------------------------------------------------------------------------------

  #answered(call: CallRecord, { value, source, ageMs }: FlightResult<Loaded>): void {
    call.endedSeq = this.#note(`${call.replica}: call ${call.id} gets load ${value.load}, ${source}, ${ageMs} ms old`);
    this.#seen.add(source);
    const load = this.#loads[value.load];
    if (load === undefined || load.key !== call.key) return this.#fail('own key', `call ${call.id} got load ${value.load}`);
    const isStored = source === 'cache' || source === 'linger' || source === 'stale';
    this.#checkFenced(call, load, isStored);
    if (isStored) this.#checkAge(call, load, source, ageMs);
    else this.#checkNotStored(call, load);
  }

  #failed(call: CallRecord, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    call.endedSeq = this.#note(`${call.replica}: call ${call.id} fails: ${message}`);
    const failed = /^load (\d+) failed$/.exec(message)?.[1];
    const load = failed === undefined ? undefined : this.#loads[Number(failed)];
    if (load === undefined) return;
    const wasThere = load.ended !== undefined && load.ended.at + this.#newsMs < call.startedAt && !this.#joinedLate(call, load);
    if (wasThere) this.#seen.add('stored error');
    this.#checkFenced(call, load, wasThere);
    const acceptsMs = Math.max(call.options.negativeTtlMs, call.options.lingerMs);
    const oldMs = call.startedAt - (load.ended?.at ?? call.startedAt);
    if (!this.#isFaulty && oldMs > acceptsMs + this.#newsMs)
      this.#fail('age', `call ${call.id} got an error that is ${oldMs} ms old and accepts ${acceptsMs}`);
  }

  /** Whether an earlier call there had waited since before the load ended, and still did, as the news of its end was lost: it was joined. */
  #joinedLate(call: CallRecord, { ended }: LoadRecord): boolean {
    return this.#calls.some(
      (other) =>
        other.replica === call.replica &&
        other.key === call.key &&
        other.startedSeq < call.startedSeq &&
        other.startedAt <= (ended?.at ?? 0) &&
        (other.endedSeq ?? Number.POSITIVE_INFINITY) > call.startedSeq,
    );
  }

  /** After an invalidation, on the replica that made it, nothing that began before answers a call; from the store, nowhere. */
  #checkFenced(call: CallRecord, load: LoadRecord, isStored: boolean): void {
    for (const { replica, what, begunSeq, endedSeq, failed } of this.#invalidations) {
      const concerns = 'key' in what ? what.key === load.key : carries(load, what.tag);
      if (!concerns || call.startedSeq < endedSeq || load.startedSeq > begunSeq) continue;
      if (replica === call.replica || (isStored && !failed))
        this.#fail(
          'fenced',
          `call ${call.id} on ${call.replica} got load ${load.id}, ${isStored ? 'stored' : 'joined'}, from before an invalidation by ${replica}`,
        );
    }
  }

  #checkAge(call: CallRecord, load: LoadRecord, source: string, ageMs: number): void {
    const { ttlMs, lingerMs, staleWhileRevalidateMs, staleIfErrorMs } = call.options;
    const freshMs = Math.max(ttlMs, lingerMs);
    const allowedMs = source === 'stale' ? ttlMs + Math.max(staleWhileRevalidateMs, staleIfErrorMs) : freshMs;
    if (ageMs >= allowedMs) this.#fail('age', `call ${call.id} got a ${source} value of ${ageMs} ms and accepts ${allowedMs}`);
    // Its age counts from when it settled, which comes after its end; the reply takes its time as well.
    const oldMs = call.startedAt - (load.ended?.at ?? call.startedAt);
    if (!this.#isFaulty && oldMs >= allowedMs + this.#newsMs)
      this.#fail('age', `call ${call.id} got a ${source} value ${oldMs} ms after its load ended and accepts ${allowedMs}`);
  }

  /** What was loaded for the call, or shared, was being loaded during it, give or take the way of the news. */
  #checkNotStored(call: CallRecord, load: LoadRecord): void {
    if (this.#isFaulty || load.ended === undefined || load.ended.at + this.#newsMs >= call.startedAt) return;
    this.#fail('freshness', `call ${call.id} got load ${load.id} as if it were new, ${call.startedAt - load.ended.at} ms after its end`);
  }

  /** Without faults a key is not loaded twice at a time, refreshes included, unless an invalidation came in between. */
  #checkOneRefresh(load: LoadRecord): void {
    if (this.#isFaulty) return;
    const other = this.#loads.find(({ key, ended }) => key === load.key && ended === undefined);
    if (other === undefined) return;
    const wasInvalidated = this.#invalidations.some(
      // One that was executed between the claim of that load and its beginning fences it too.
      ({ what, endedAt }) => ('key' in what ? what.key === load.key : load.key !== 'bare') && endedAt + this.#newsMs > other.startedAt,
    );
    if (!wasInvalidated) this.#fail('one refresh', `load ${load.id} starts while load ${other.id} of ${load.key} runs`);
  }

  /** From the end of a load until another replica has it: its note under a tag, its settle, a message or a fetch. */
  get #newsMs(): number {
    return 8 * LEG_MS_MAX;
  }

  #fail(invariant: string, detail: string): void {
    this.#violation ??= { invariant, detail };
  }

  #note(text: string): number {
    return this.#trace.push(`${this.#clock.now()} ${text}`);
  }
}

/** An error carries the tags that were known before the load. */
function carries({ key, tag, fails }: LoadRecord, name: string): boolean {
  return key !== 'bare' && tag === name && !(key === 'late' && fails);
}
