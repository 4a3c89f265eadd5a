import { CoordinatorError } from '@oneflight/core';

/**
 * Turns what ioredis rejects with into the reason that core acts upon. What was written before the connection broke may
 * have been executed, so it counts as a time-out and not as unavailable.
 */
export function toCoordinatorError(error: unknown): CoordinatorError {
  if (error instanceof CoordinatorError) return error;
  const message = messageOf(error);
  if (isMisdirected(error)) return new CoordinatorError('unavailable', `Redis cannot run this command now: ${message}`, { cause: error });
  if (isServerReply(error)) return new CoordinatorError('refused', `Redis refused the command: ${message}`, { cause: error });
  if (message.startsWith(NOT_WRITABLE)) return new CoordinatorError('unavailable', NOT_CONNECTED, { cause: error });
  return new CoordinatorError('timeout', `Redis did not answer, so it is not known whether it ran the command: ${message}`, {
    cause: error,
  });
}

/** The server does not have this script: it was restarted, or somebody flushed its scripts. */
export function isScriptMissing(error: unknown): boolean {
  return isServerReply(error) && messageOf(error).startsWith('NOSCRIPT');
}

/**
 * The server did not run the command because it is not, or not now, the one to ask: a slot or a master is on the move, or
 * it is loading its data. To core that is a server that is away, not one that refuses what it was given.
 */
export function isMisdirected(error: unknown): boolean {
  return MISDIRECTED.test(messageOf(error)) && (isServerReply(error) || messageOf(error).startsWith(REDIRECTED_TOO_OFTEN));
}

/** A reply of another shape than the script's header promises. Says where, never what: it may be secret. */
export function protocolError(expected: string): CoordinatorError {
  return new CoordinatorError(
    'protocol',
    `expected ${expected} from Redis and got something else. Does another program write under this prefix?`,
  );
}

const REDIRECTED_TOO_OFTEN = 'Too many Cluster redirections. Last error: ReplyError: ';
const MISDIRECTED =
  /^(Too many Cluster redirections\. Last error: ReplyError: )?(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|READONLY|LOADING|MASTERDOWN|NOREPLICAS) /;
const NOT_CONNECTED = 'Redis is not there: the connection was lost, and is being made anew. Nothing was sent';
const NOT_WRITABLE = "Stream isn't writeable";

function isServerReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
