import type { FlightId } from './coordinator.js';

/** The base of every error that oneflight itself makes. Recognise one by `code`, not by `instanceof`. */
export class OneflightError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** This caller's patience (`timeoutMs`) ran out. The load goes on for the others. */
export class WaitTimeoutError extends OneflightError {
  readonly timeoutMs: number;
  readonly flightId: FlightId;

  constructor(timeoutMs: number, flightId: FlightId) {
    super(
      'ERR_ONEFLIGHT_WAIT_TIMEOUT',
      `no outcome within this caller's timeoutMs of ${timeoutMs}; the load goes on for the others. Raise timeoutMs, or find out why the load is slow`,
    );
    this.timeoutMs = timeoutMs;
    this.flightId = flightId;
  }
}

/** The load itself took longer than `loadTimeoutMs`; its signal was aborted and every waiter got this error. */
export class LoadTimeoutError extends OneflightError {
  readonly loadTimeoutMs: number;
  readonly flightId: FlightId;

  constructor(loadTimeoutMs: number, flightId: FlightId) {
    super(
      'ERR_ONEFLIGHT_LOAD_TIMEOUT',
      `the loader did not end within loadTimeoutMs of ${loadTimeoutMs} and its signal was aborted. Raise loadTimeoutMs, or let the loader stop on its signal`,
    );
    this.loadTimeoutMs = loadTimeoutMs;
    this.flightId = flightId;
  }
}

/** Redis (or another coordinator) did not answer, and `whenDegraded: 'reject'` asked not to load without it. */
export class CoordinatorError extends OneflightError {
  /**
   * `timeout`: it may or may not have been executed. `unavailable`: it was not sent. `refused`: the server said no.
   * `protocol`: the answer made no sense.
   */
  readonly reason: CoordinatorFailure;

  constructor(reason: CoordinatorFailure, message: string, options?: ErrorOptions) {
    super('ERR_ONEFLIGHT_COORDINATOR', message, options);
    this.reason = reason;
  }
}

export type CoordinatorFailure = 'timeout' | 'unavailable' | 'refused' | 'protocol';

/** The loader of a key ran the same key again: it would wait for itself for ever. */
export class ReentrantFlightError extends OneflightError {
  readonly flightId: FlightId;

  constructor(flightId: FlightId) {
    super(
      'ERR_ONEFLIGHT_REENTRANT',
      'the loader of this key runs the same key, so it would wait for itself. Call the loading function directly, or use another key',
    );
    this.flightId = flightId;
  }
}

/** A value could not be handed over in the way that was asked for. */
export class PayloadError extends OneflightError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_ONEFLIGHT_PAYLOAD', message, options);
  }
}

/** The collapser was closed. */
export class ClosedError extends OneflightError {
  constructor(message = 'the collapser is closed. Make calls before close(), or create another collapser') {
    super('ERR_ONEFLIGHT_CLOSED', message);
  }
}

/**
 * A load that failed in another process. It carries the original's `name`, `message`, `code`, `status`, `statusCode` and
 * cause chain, so that code which asks an error for these works on every replica; `remote` tells it from a local one.
 * `code` is `ERR_ONEFLIGHT_REMOTE_LOAD` where the original had none.
 */
export class RemoteLoadError extends OneflightError {
  readonly remote = true;
  readonly flightId: FlightId | undefined;

  constructor(message: string, flightId: FlightId | undefined, options?: ErrorOptions) {
    super('ERR_ONEFLIGHT_REMOTE_LOAD', message, options);
    this.flightId = flightId;
  }
}

/** Codes of the `TypeError`s that misuse throws. */
export type MisuseCode =
  | 'ERR_ONEFLIGHT_BATCH'
  | 'ERR_ONEFLIGHT_KEY'
  | 'ERR_ONEFLIGHT_OPTION'
  | 'ERR_ONEFLIGHT_LOADER'
  | 'ERR_ONEFLIGHT_METRICS';

/** Builds the error for misuse: the contract, then what came. */
export function misuse(code: MisuseCode, expected: string, got: string): TypeError & { code: MisuseCode } {
  return Object.assign(new TypeError(`expected ${expected}, got ${got}`), { code });
}

/** Names what came, for an error message: its kind and size, never its content, which may be secret. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  switch (typeof value) {
    case 'string':
      return value === '' ? 'an empty string' : `a string of length ${value.length}`;
    case 'number':
      return `the number ${value}`;
    case 'boolean':
      return String(value);
    case 'undefined':
      return 'undefined';
    case 'object':
      return `an object of type ${value.constructor?.name ?? 'null prototype'}`;
    default:
      return `a ${typeof value}`;
  }
}
