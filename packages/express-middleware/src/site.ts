import type { Collapser } from '@oneflight/core';
import type { Response } from 'express';

import { answerCodec } from './answer-codec.js';
import { HttpCache } from './cache/http-cache.js';
import { HitForMiss } from './hit-for-miss.js';
import type { CheckedOptions } from './options.js';
import { addCacheStatus, type CacheStatus } from './status-header.js';
import { Tally } from './tally.js';
import { Warnings } from './warnings.js';

/** Where one `collapse()` is mounted: what it was given, what it counts, and what it remembers. */
export class Site {
  readonly collapser: Collapser;
  readonly options: CheckedOptions;
  readonly tally: Tally;
  readonly warnings = new Warnings();
  readonly missed = new HitForMiss();
  /** Absent where nothing is kept after those who wait were answered. */
  readonly cache: HttpCache | undefined;

  constructor(collapser: Collapser, options: CheckedOptions) {
    this.collapser = collapser;
    this.options = options;
    this.tally = new Tally(collapser.name);
    const given = { collapser, options, tally: this.tally, codec: (key: string) => this.codec(key) };
    this.cache = options.policy && new HttpCache(options.policy, given);
  }

  /** How answers under a key travel to other replicas, and into the store. */
  codec(key: string) {
    const { bodyBytesMax, headersBytesMax } = this.options.limits;
    return answerCodec({ key, bodyBytesMax, headersBytesMax, onRefused: () => this.tally.note({ type: 'refused' }) });
  }

  /** Tells the caller how it is answered, where that was asked for. */
  tell(response: Response, status: CacheStatus): void {
    addCacheStatus(response, this.options.statusName, status);
  }
}
