import { randomBytes } from 'node:crypto';
import type { KeyHash, TagHash, TagIndex } from '@oneflight/core';
import type { Commands } from './commands.js';
import { integer, readHashes, readToken } from './replies.js';
import { advance, attach, detach, take } from './scripts/generated.js';
import type { KeyNames } from './scripts/keys.js';

/** Which keys carry a tag, in Redis. On Cluster each tag lives on a shard of its own, so several are asked at once. */
export class RedisTagIndex implements TagIndex {
  readonly #commands: Commands;
  readonly #names: KeyNames;
  readonly #clock: string;
  readonly #broadcast: string;

  constructor(commands: Commands, names: KeyNames, namespace: string) {
    this.#commands = commands;
    this.#names = names;
    this.#clock = names.tagClock(namespace);
    this.#broadcast = names.broadcast(namespace);
  }

  async time(): Promise<number> {
    const token = await this.#commands.call('get', [this.#clock], this.#clock);
    return token === null ? 0 : integer(token);
  }

  async advance(): Promise<number> {
    const reply = await this.#commands.run(advance, { clock: this.#clock }, { floorMs: TAG_FLOOR_MS });
    return readToken(reply, 'advanced', 'advance.lua');
  }

  async attach({ key, tags, livesMs }: { key: KeyHash; tags: readonly TagHash[]; livesMs: number }): Promise<number> {
    const notedMs = livesMs === 0 ? 0 : Math.ceil(livesMs) + SETTLE_MS_MAX;
    const replies = tags.map((tag) =>
      this.#commands.run(
        attach,
        { members: this.#names.tagMembers(tag), invalidated: this.#names.tagInvalidated(tag) },
        { key, livesMs: notedMs },
      ),
    );
    const tokens = (await Promise.all(replies)).map((reply) => readToken(reply, 'attached', 'attach.lua'));
    return Math.max(0, ...tokens);
  }

  async detach({ tag, token }: { tag: TagHash; token: number }): Promise<readonly string[]> {
    const name = randomBytes(9).toString('base64url');
    const reply = await this.#commands.run(
      detach,
      {
        members: this.#names.tagMembers(tag),
        invalidated: this.#names.tagInvalidated(tag),
        batches: this.#names.tagBatches(tag),
        batch: this.#names.tagBatch(tag, name),
      },
      { name, token, floorMs: TAG_FLOOR_MS },
    );
    return readHashes(reply, 'detached', 'detach.lua');
  }

  async take({ tag, batch, done }: { tag: TagHash; batch: string; done: readonly KeyHash[] }): Promise<readonly KeyHash[]> {
    const reply = await this.#commands.run(
      take,
      { batches: this.#names.tagBatches(tag), batch: this.#names.tagBatch(tag, batch) },
      { name: batch, done: done.join(), takenMax: TAKEN_MAX },
    );
    return readHashes(reply, 'taken', 'take.lua');
  }

  async announce({ tag, token }: { tag: TagHash; token: number }): Promise<void> {
    await this.#commands.call('publish', [this.#broadcast, `1 tag ${tag} ${token}\n`], this.#broadcast);
  }
}

/** Longer than any load may run: one that was begun before an invalidation is told of it when it ends. */
const TAG_FLOOR_MS = 600_000;
/** A value is stored after its note was made, at the latest when its settle is given up: the note outlives the value. */
const SETTLE_MS_MAX = 60_000;
/** Keys are invalidated so many at a time: one write, and a reply of about 12 KiB. */
const TAKEN_MAX = 256;
