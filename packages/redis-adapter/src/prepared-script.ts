import type { KeyHash } from '@oneflight/core';
import { type Argument, encodeCommand, encodePart, partsOf, type Wire } from './wire.js';

/** A script as the generator writes it: its parameters have names, so their order cannot be mixed up. */
export interface Script {
  readonly keys: readonly string[];
  readonly args: readonly string[];
  readonly sha1: string;
  readonly lua: string;
}

/** What every call has in common: how a key is named after the hash, and arguments that never change. */
type Common = Readonly<Record<string, ((hash: KeyHash) => string) | string | number>>;

/** What each call says itself. */
type Said<N extends string> = Readonly<Record<N, Argument>>;

/** Prepares a script whose calls differ by the hash of a key and by what is not `common` to them. */
export function prepareScript<S extends Script, C extends Common>(
  script: S,
  common: C,
): PreparedScript<Exclude<S['keys'][number] | S['args'][number], keyof C>> {
  return new PreparedScript(script, common);
}

/**
 * A script with what all of its calls have in common written beforehand. Most of a call is names of keys, in which only the
 * hash differs: they are the text around it, joined by it.
 */
export class PreparedScript<N extends string> {
  readonly #script: Script;
  readonly #common: Common;
  #template: Template | undefined;

  constructor(script: Script, common: Common) {
    this.#script = script;
    this.#common = common;
  }

  /** One call for the key with this hash. */
  call(hash: KeyHash, said: Said<N>): PreparedCall<N> {
    return new PreparedCall(this, hash, said);
  }

  /** What a call by SHA-1 is to Redis. */
  write(hash: KeyHash, said: Said<string>): string {
    if (this.#template?.hashLength !== hash.length) this.#template = this.#newTemplate(hash.length);
    const { around, holes } = this.#template;
    let text = around.join(hash);
    for (const { name, after } of holes) text += encodePart(said[name] ?? '') + after;
    return text;
  }

  /** What stands behind EVALSHA, or EVAL. */
  list(first: 'sha1' | 'lua', hash: KeyHash, said: Said<string>): readonly Argument[] {
    const { keys, args } = this.#script;
    const valueOf = (name: string): Argument => {
      const common = this.#common[name];
      return typeof common === 'function' ? common(hash) : (common ?? said[name] ?? '');
    };
    return [this.#script[first], keys.length, ...keys.map(valueOf), ...args.map(valueOf)];
  }

  #newTemplate(hashLength: number): Template {
    const { sha1, keys, args } = this.#script;
    const hash = PLACE.repeat(hashLength);
    const holes: Hole[] = [];
    let head = partsOf(3 + keys.length + args.length) + encodePart('evalsha') + encodePart(sha1) + encodePart(keys.length);
    for (const name of [...keys, ...args]) {
      const common = this.#common[name];
      const hole = holes.at(-1);
      if (common === undefined) holes.push({ name, after: '' });
      else if (hole === undefined) head += encodePart(typeof common === 'function' ? common(hash) : common);
      else if (typeof common !== 'function') hole.after += encodePart(common);
      else throw new Error(`expected ${name} before what each call says itself`);
    }
    return { hashLength, around: head.split(hash), holes };
  }
}

/** One call of a prepared script. */
export class PreparedCall<N extends string> {
  readonly name: 'evalsha' | 'eval';
  readonly hash: KeyHash;
  readonly #script: PreparedScript<N>;
  readonly #said: Said<N>;

  constructor(script: PreparedScript<N>, hash: KeyHash, said: Said<N>, name: 'evalsha' | 'eval' = 'evalsha') {
    this.name = name;
    this.hash = hash;
    this.#script = script;
    this.#said = said;
  }

  /** Bytes are an outcome, and nobody's business. */
  get shown(): readonly Argument[] {
    return this.args.map((argument) => (typeof argument === 'object' ? '?' : argument));
  }

  get args(): readonly Argument[] {
    return this.#script.list(this.name === 'eval' ? 'lua' : 'sha1', this.hash, this.#said);
  }

  get wire(): Wire {
    return this.name === 'eval' ? encodeCommand(this.name, this.args) : this.#script.write(this.hash, this.#said);
  }

  /** The same with the script itself, for a server that does not know its SHA-1. */
  inFull(): PreparedCall<N> {
    return new PreparedCall(this.#script, this.hash, this.#said, 'eval');
  }
}

/** The bytes of a call: those around the hash, then what the call says, each with what follows it. */
interface Template {
  readonly hashLength: number;
  readonly around: readonly string[];
  readonly holes: readonly Readonly<Hole>[];
}

interface Hole {
  readonly name: string;
  after: string;
}

/** No name holds it. */
const PLACE = '\0';
