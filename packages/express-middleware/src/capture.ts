import type { LoadContext } from '@oneflight/core';
import type { Request, Response } from 'express';

import type { Answer, LiveAnswer } from './answer.js';
import { type Keeping, lifetimesOf } from './cache/keeping.js';
import { askIfChanged, type Revalidation, substitute } from './cache/revalidation.js';
import { conditionsOf, hideConditions } from './conditions.js';
import { CutAnswerError } from './errors.js';
import { intercept } from './intercept.js';
import type { CheckedOptions } from './options.js';
import { Recorder, type Verdict } from './recorder.js';
import { Shield } from './shield.js';
import type { Tally } from './tally.js';
import type { Warnings } from './warnings.js';

export interface CaptureOptions {
  readonly request: Request;
  readonly response: Response;
  readonly options: CheckedOptions;
  readonly tally: Tally;
  readonly warnings: Warnings;
  /** Told how it ended, before anybody else. */
  readonly onVerdict: (verdict: Verdict) => void;
  readonly beforeHead: () => void;
  /** Where answers may be kept for later requests. */
  readonly keeping?: Keeping | undefined;
  /** What is stored and has to be asked about. */
  readonly revalidation?: Revalidation | undefined;
  /** Whether its own caller was answered already, and nobody reads the response. */
  readonly isDetached?: boolean;
}

/**
 * Lets `handle` answer its own caller, and resolves with a copy for the others once the answer is complete; with null when
 * there may be none. Whether there may be one is decided as soon as the head is known: if not, the others are let go then.
 *
 * @param onLeft Called when the caller leaves while the handler goes on for the others.
 * @throws FailedAnswerError for a server error, CutAnswerError for an answer that broke off
 */
export function capture(given: CaptureOptions, context: LoadContext, onLeft: () => void, handle: () => void): Promise<Answer | null> {
  const { request, response } = given;
  return new Promise((resolve, reject) => {
    const onVerdict = (verdict: Verdict): void => {
      try {
        tell(verdict, given, context);
      } catch (error) {
        // The handler, in whose call of `end` this runs, has done its work; and those who wait must not do so for ever.
        reject(new CutAnswerError('the answer could not be passed on', { cause: error }));
      }
      if (verdict.kind === 'failed') reject(verdict.error);
      else resolve(verdict.kind === 'shared' ? (verdict.answer ?? null) : null);
      if (!recorder.isFollowed) shield.letGo();
    };
    /** The load is given up once nobody on any replica waits for it, or when it takes too long; who follows it here is no waiter. */
    const dropUnlessFollowed = (): void => {
      if (recorder.isFollowed) return;
      if (!recorder.isOpen) shield.letGo();
      else if (shield.isHolding && context.signal.aborted) recorder.drop();
    };
    const onLive = (answer: LiveAnswer): void => context.offer(answer);
    const recorder = new Recorder({ ...given, keeps: !context.isAlone, onVerdict, onLive, onAlone: dropUnlessFollowed });
    const onCallerLeft = (): void => {
      onLeft();
      if (context.signal.aborted) dropUnlessFollowed();
      else context.signal.addEventListener('abort', dropUnlessFollowed, { once: true });
    };
    const shield = new Shield({ request, response, recorder, onLeft: onCallerLeft });
    const conditions = conditionsOf(request.headers);
    if (conditions !== undefined) hideConditions(request);
    intercept({ response, recorder, shield, conditions, beforeHead: given.beforeHead });
    if (given.revalidation !== undefined) {
      askIfChanged(request, given.revalidation);
      substitute(response, given.revalidation);
    }
    if (given.isDetached === true) response.emit('close');
    handle();
  });
}

function tell(verdict: Verdict, { onVerdict, keeping }: CaptureOptions, context: LoadContext): void {
  onVerdict(verdict);
  if (verdict.kind === 'private') context.unshareable();
  if (keeping !== undefined && verdict.kind === 'shared')
    context.keep(verdict.answer === undefined ? { ttlMs: 0 } : lifetimesOf(verdict.answer));
}

/** Watches an answer that nobody else waits for, to find out whether the next ones may be shared. */
export function observe({ response, beforeHead, ...given }: CaptureOptions): void {
  const recorder = new Recorder({ ...given, response, keeps: false });
  intercept({ response, recorder, shield: undefined, conditions: undefined, beforeHead });
}
