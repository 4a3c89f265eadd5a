import { randomBytes } from 'node:crypto';
import type { KeyHash, TagHash, TagIndex } from '@oneflight/core';
import type { Commands } from './commands.js';
import { PlainCommand } from './outgoing.js';
import { prepareScript } from './prepared-script.js';
import { integer, readHashes, readToken } from './replies.js';
import { advance, attach, detach, take } from './scripts/generated.js';
import type { KeyNames } from './scripts/keys.js';

/** Which keys carry a tag, in Redis. On Cluster each tag lives on a shard of its own, so several are asked at once. */
export class RedisTagIndex implements TagIndex {
  readonly #commands: Commands;
  readonly #names: KeyNames;
  readonly #clock: string;
  readonly #broadcast: string;
  readonly #scripts: ReturnType<typeof tagScripts>;

  constructor(commands: Commands, names: KeyNames, namespace: string) {
    this.#commands = commands;
    this.#names = names;
    this.#clock = names.tagClock(namespace);
    this.#broadcast = names.broadcast(namespace);
    this.#scripts = tagScripts(names, this.#clock);
  }

  time(): Promise<number> {
    return this.#commands.send(new PlainCommand('get', [this.#clock]), this.#clock, (token) => (token === null ? 0 : integer(token)));
  }

  advance(): Promise<number> {
    return this.#commands.run(this.#scripts.advance.call(this.#clock, {}), (reply) => readToken(reply, 'advanced', 'advance.lua'));
  }

  async attach({ key, tags, livesMs }: { key: KeyHash; tags: readonly TagHash[]; livesMs: number }): Promise<number> {
    const said = { key, livesMs: livesMs === 0 ? 0 : Math.ceil(livesMs) + SETTLE_MS_MAX };
    const read = (reply: unknown): number => readToken(reply, 'attached', 'attach.lua');
    return Math.max(0, ...(await Promise.all(tags.map((tag) => this.#commands.run(this.#scripts.attach.call(tag, said), read)))));
  }

  detach({ tag, token }: { tag: TagHash; token: number }): Promise<readonly string[]> {
    const name = randomBytes(9).toString('base64url');
    const said = { batch: this.#names.tagBatch(tag, name), name, token };
    return this.#commands.run(this.#scripts.detach.call(tag, said), (reply) => readHashes(reply, 'detached', 'detach.lua'));
  }

  take({ tag, batch, done }: { tag: TagHash; batch: string; done: readonly KeyHash[] }): Promise<readonly KeyHash[]> {
    const said = { batch: this.#names.tagBatch(tag, batch), name: batch, done: done.join() };
    return this.#commands.run(this.#scripts.take.call(tag, said), (reply) => readHashes(reply, 'taken', 'take.lua'));
  }

  async announce({ tag, token }: { tag: TagHash; token: number }): Promise<void> {
    const publish = new PlainCommand('publish', [this.#broadcast, `1 tag ${tag} ${token}\n`]);
    await this.#commands.send(publish, this.#broadcast, (listeners) => listeners);
  }
}

function tagScripts(names: KeyNames, clock: string) {
  const { tagMembers: members, tagInvalidated: invalidated, tagBatches: batches } = names;
  return {
    advance: prepareScript(advance, { clock, floorMs: TAG_FLOOR_MS }),
    attach: prepareScript(attach, { members, invalidated }),
    detach: prepareScript(detach, { members, invalidated, batches, floorMs: TAG_FLOOR_MS }),
    take: prepareScript(take, { batches, takenMax: TAKEN_MAX }),
  };
}

/** Longer than any load may run: one that was begun before an invalidation is told of it when it ends. */
const TAG_FLOOR_MS = 600_000;
/** A value is stored after its note was made, at the latest when its settle is given up: the note outlives the value. */
const SETTLE_MS_MAX = 60_000;
/** Keys are invalidated so many at a time: one write, and a reply of about 12 KiB. */
const TAKEN_MAX = 256;
