import { Buffer } from 'node:buffer';
import { isNativeError } from 'node:util/types';
import type { Codec } from './codec.js';
import type { FlightId } from './coordinator.js';
import { describe, RemoteLoadError } from './errors.js';

/** How an error is written. */
export interface EncodeErrorOptions {
  /** Carries what is not an Error: a thrown value, or a cause. */
  readonly codec: Codec;
  /** Whether stacks travel too; they tell about the leader's code. @default false */
  readonly stack?: boolean;
}

/** How an error is read. */
export interface DecodeErrorOptions {
  readonly codec: Codec;
  /** Put on each `RemoteLoadError`. */
  readonly flightId: FlightId | undefined;
}

/*
 * The first byte says what follows: a report on an Error as JSON, or a thrown value as the codec writes it. A report is
 * read field by field and by type, so it can make nothing but errors.
 */
const REPORT = 1;
const THROWN = 2;

const DEPTH_MAX = 8;
const ERRORS_MAX = 16;
const REPORTS_MAX = 64;
const MESSAGE_LENGTH_MAX = 16_384;
const NAME_LENGTH_MAX = 256;
const CAUSE_BYTES_MAX = 16_384;
const REPORT_BYTES_MAX = 524_288;

/** What travels of an Error. Fields that are absent were absent, not of a type that travels, or threw when read. */
interface Report {
  readonly message: string;
  name?: string;
  stack?: string;
  code?: string | number;
  status?: string | number;
  statusCode?: string | number;
  cause?: Part;
  errors?: readonly Part[];
}

/** A cause or a member of an AggregateError: an Error, or the codec's bytes in base64. */
type Part = { readonly report: Report } | { readonly value: string };

/**
 * Writes what a load threw. An Error keeps its name, message, code, status, statusCode, its chain of causes (8 deep) and
 * the members of an AggregateError (16); anything else goes through the codec. Never throws: what cannot be read is left
 * out, and a thrown value that cannot travel becomes an Error that names its type.
 */
export function encodeError(error: unknown, options: EncodeErrorOptions): Uint8Array {
  try {
    if (!isError(error)) return encodeThrown(error, options.codec);
    const whole = tagged(REPORT, Buffer.from(JSON.stringify(new Reporter(options).report(error))));
    if (whole.length <= REPORT_BYTES_MAX) return whole;
    return reportAlone(reportFields(error, false));
  } catch {
    return reportAlone({ message: 'the load failed with an error that cannot be read' });
  }
}

/**
 * Reads what `encodeError` wrote: an Error comes back as a `RemoteLoadError` with the original's name, code and causes, a
 * thrown value as itself. Never throws: bytes that make no sense give a `RemoteLoadError` that says so.
 */
export function decodeError(bytes: Uint8Array, options: DecodeErrorOptions): unknown {
  try {
    if (bytes[0] === THROWN) return options.codec.decode(bytes.subarray(1));
    if (bytes[0] === REPORT && bytes.length <= REPORT_BYTES_MAX) {
      const report: unknown = JSON.parse(utf8.decode(bytes.subarray(1)));
      return rebuild(report, options, DEPTH_MAX);
    }
  } catch {
    // Said below: what went wrong would quote the content.
  }
  return unreadable(options.flightId);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function encodeThrown(value: unknown, codec: Codec): Uint8Array {
  try {
    return tagged(THROWN, codec.encode(value));
  } catch {
    return reportAlone({ message: `the loader threw ${describeSafely(value)}, which cannot travel to other replicas. Throw an Error` });
  }
}

function reportAlone(report: Report): Uint8Array {
  return tagged(REPORT, Buffer.from(JSON.stringify(report)));
}

function tagged(tag: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 1);
  bytes[0] = tag;
  bytes.set(body, 1);
  return bytes;
}

function describeSafely(value: unknown): string {
  try {
    return describe(value);
  } catch {
    return `a value of type ${typeof value}`;
  }
}

/** Walks one error. The sum of all reports is bounded: members with members of their own would multiply. */
class Reporter {
  readonly #options: EncodeErrorOptions;
  /** From the error thrown to the one being read; an error that causes itself is told once. */
  readonly #path = new Set<unknown>();
  #reportsLeft = REPORTS_MAX;

  constructor(options: EncodeErrorOptions) {
    this.#options = options;
  }

  report(error: object): Report {
    this.#reportsLeft -= 1;
    this.#path.add(error);
    const report = reportFields(error, this.#options.stack === true);
    const cause = this.#part(read(error, 'cause'));
    if (cause !== undefined) report.cause = cause;
    const errors = isAggregate(error, report) ? this.#members(read(error, 'errors')) : undefined;
    if (errors !== undefined) report.errors = errors;
    this.#path.delete(error);
    return report;
  }

  #part(value: unknown): Part | undefined {
    if (value === undefined || this.#path.size > DEPTH_MAX || this.#path.has(value) || this.#reportsLeft <= 0) return undefined;
    if (isError(value)) return { report: this.report(value) };
    this.#reportsLeft -= 1;
    try {
      const bytes = this.#options.codec.encode(value);
      return bytes.length > CAUSE_BYTES_MAX ? undefined : { value: Buffer.from(bytes).toString('base64') };
    } catch {
      return undefined;
    }
  }

  #members(errors: unknown): readonly Part[] | undefined {
    if (!isArray(errors)) return undefined;
    const parts: Part[] = [];
    for (let index = 0; index < ERRORS_MAX; index += 1) {
      const part = this.#part(read(errors, index));
      if (part !== undefined) parts.push(part);
    }
    return parts;
  }
}

/** By name too: one from another realm or another process is no instance of ours. Other errors keep their `errors` to themselves. */
function isAggregate(error: object, { name }: Report): boolean {
  return name === 'AggregateError' || error instanceof AggregateError;
}

function reportFields(error: object, stack: boolean): Report {
  const report: Report = { message: readString(error, 'message', MESSAGE_LENGTH_MAX) ?? '' };
  const name = readString(error, 'name', NAME_LENGTH_MAX);
  if (name !== undefined) report.name = name;
  const trace = stack ? readString(error, 'stack', MESSAGE_LENGTH_MAX) : undefined;
  if (trace !== undefined) report.stack = trace;
  for (const field of ['code', 'status', 'statusCode'] as const) {
    const value = read(error, field);
    if (typeof value === 'string') report[field] = value.slice(0, NAME_LENGTH_MAX);
    if (typeof value === 'number' && Number.isFinite(value)) report[field] = value;
  }
  return report;
}

function readString(error: object, field: string, lengthMax: number): string | undefined {
  const value = read(error, field);
  return typeof value === 'string' ? value.slice(0, lengthMax) : undefined;
}

/** Reads a property of an object that may be a proxy or have getters that throw. */
function read(from: object, field: string | number): unknown {
  try {
    return Reflect.get(from, field);
  } catch {
    return undefined;
  }
}

function isError(value: unknown): value is object {
  try {
    return isNativeError(value) || value instanceof Error;
  } catch {
    return false;
  }
}

function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

function unreadable(flightId: FlightId | undefined): RemoteLoadError {
  return new RemoteLoadError(
    'the load failed in another process, and its error could not be read. Look for replicas with another version or codec',
    flightId,
  );
}

/** Builds the error that a report tells of; throws where the report is malformed. */
function rebuild(report: unknown, options: DecodeErrorOptions, depthLeft: number): RemoteLoadError {
  if (depthLeft < 0) throw new TypeError('reports nested too deeply');
  const message = ownField(report, 'message');
  if (typeof message !== 'string' || message.length > MESSAGE_LENGTH_MAX) throw new TypeError('a report without a message');
  const cause = rebuildPart(ownField(report, 'cause'), options, depthLeft);
  const error = new RemoteLoadError(message, options.flightId, cause === undefined ? undefined : { cause: cause.value });
  for (const name of ['name', 'stack'] as const) restore(error, name, ownField(report, name), ['string']);
  for (const name of ['code', 'status', 'statusCode'] as const) restore(error, name, ownField(report, name), ['string', 'number']);
  const members = ownField(report, 'errors');
  if (members === undefined) return error;
  const errors = rebuildMembers(members, options, depthLeft);
  return Object.defineProperty(error, 'errors', { value: errors, writable: true, configurable: true });
}

function rebuildMembers(members: unknown, options: DecodeErrorOptions, depthLeft: number): unknown[] {
  if (!Array.isArray(members) || members.length > ERRORS_MAX) throw new TypeError('malformed members');
  const errors: unknown[] = [];
  for (const member of members) {
    const part = rebuildPart(member, options, depthLeft);
    if (part !== undefined) errors.push(part.value);
  }
  return errors;
}

function rebuildPart(part: unknown, options: DecodeErrorOptions, depthLeft: number): { readonly value: unknown } | undefined {
  if (part === undefined) return undefined;
  const report = ownField(part, 'report');
  if (report !== undefined) return { value: rebuild(report, options, depthLeft - 1) };
  const text = ownField(part, 'value');
  if (typeof text !== 'string') throw new TypeError('neither a report nor a value');
  try {
    return { value: options.codec.decode(Buffer.from(text, 'base64')) };
  } catch {
    // The error is worth more than the cause of it.
    return undefined;
  }
}

/** Sets what an original had on the class that stands in for it, as the property it would be on an error made here. */
function restore(error: RemoteLoadError, name: string, value: unknown, types: readonly string[]): void {
  if (value === undefined) return;
  if (!types.includes(typeof value)) throw new TypeError('a field of the wrong type');
  Object.defineProperty(error, name, { value, writable: true, configurable: true, enumerable: name !== 'stack' });
}

/** Own fields only: a report has no say over what objects inherit. */
function ownField(of: unknown, name: string): unknown {
  if (typeof of !== 'object' || of === null || Array.isArray(of)) throw new TypeError('not a report');
  return Object.hasOwn(of, name) ? Reflect.get(of, name) : undefined;
}
