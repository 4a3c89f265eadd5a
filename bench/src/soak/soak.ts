import type { Collapser } from '@oneflight/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Used, used } from './heap.js';
import { fill, keyOf, Stage, TURNS } from './turns.js';

export interface Sample {
  readonly flights: number;
  readonly used: Used;
  readonly seconds: number;
}

export interface Course {
  readonly flights: number;
  readonly samples: number;
  /** How many turns are under way at a time. */
  readonly parallel: number;
  /** How many different keys there are of each kind. */
  readonly keysMax: number;
  readonly onSample: (sample: Sample) => Promise<void> | void;
}

/**
 * Flies so many flights of all kinds, and looks at the memory whenever another part of them is over:
 * then nothing is under way.
 */
export async function soak(replicas: readonly Collapser[], { flights, samples, parallel, keysMax, onSample }: Course): Promise<void> {
  const stage = new Stage(replicas, keysMax);
  const turns = TURNS.flatMap((turn) => Array.from({ length: turn.share }, () => turn));
  const startedAt = performance.now();
  let number = 0;
  const flyUntil = async (target: number): Promise<void> => {
    while (stage.flights < target) {
      const turn = turns[number % turns.length];
      if (turn === undefined) throw new Error('no turns');
      await turn.run(stage, keyOf(stage, turn, number), number++);
    }
  };
  const flyTogether = (target: number): Promise<unknown> => Promise.all(Array.from({ length: parallel }, () => flyUntil(target)));
  await fill(stage);
  await flyTogether(stage.flights + WARM_UP_FLIGHTS);
  stage.flights = 0;
  for (let sample = 1; sample <= samples; sample++) {
    const target = Math.round((flights * sample) / samples);
    await flyTogether(target);
    await quiet(replicas);
    await onSample({ flights: stage.flights, used: used(), seconds: (performance.now() - startedAt) / 1_000 });
  }
}

/** Until then code is compiled. */
const WARM_UP_FLIGHTS = 4_000;

/** Resolves when no flight is left: loads whose callers have gone end a little later. */
async function quiet(replicas: readonly Collapser[]): Promise<void> {
  const until = performance.now() + QUIET_MS_MAX;
  while (replicas.some((replica) => replica.stats().flights > 0)) {
    if (performance.now() > until) throw new Error(`flights are left: ${JSON.stringify(replicas.map((replica) => replica.stats()))}`);
    await sleep(10);
  }
}

const QUIET_MS_MAX = 60_000;
