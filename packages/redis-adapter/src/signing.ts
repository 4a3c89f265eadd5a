import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';

/** Signs what leaves this process and checks what comes in, with HMAC-SHA-256. */
export class Signer {
  readonly #keys: readonly [KeyObject, ...KeyObject[]];
  readonly #domain: string;

  /** The first secret signs, all are accepted. The prefix is signed too: staging may share a secret with production. */
  constructor(keys: readonly [KeyObject, ...KeyObject[]], prefix: string) {
    this.#keys = keys;
    this.#domain = `oneflight outcome ${prefix}\n`;
  }

  sign(bytes: Uint8Array): Buffer {
    return this.#signature(this.#keys[0], bytes);
  }

  isGenuine(bytes: Uint8Array, signature: Uint8Array): boolean {
    return this.#keys.some((key) => {
      const expected = this.#signature(key, bytes);
      return expected.length === signature.length && timingSafeEqual(expected, signature);
    });
  }

  #signature(key: KeyObject, bytes: Uint8Array): Buffer {
    return createHmac('sha256', key).update(this.#domain).update(bytes).digest();
  }
}

/** Says what is expected of the option `secret` where it does not fit. */
export function checkSecret(value: unknown): string | undefined {
  const secrets: readonly unknown[] = Array.isArray(value) ? value : [value];
  const isFit = secrets.length > 0 && secrets.every((secret) => typeof secret === 'string' && secret.length >= SECRET_LENGTH_MIN);
  return isFit ? undefined : `a string of at least ${SECRET_LENGTH_MIN} characters, or a list of such strings of which the first signs`;
}

/** The secrets as objects that neither logs nor error messages can show. */
export function secretKeys(secret: string | readonly [string, ...string[]] | undefined): readonly KeyObject[] {
  if (secret === undefined) return [];
  const secrets = typeof secret === 'string' ? [secret] : secret;
  return secrets.map((text) => createSecretKey(Buffer.from(text, 'utf8')));
}

/** Whether there is a key to sign with. */
export function hasKeys(keys: readonly KeyObject[]): keys is readonly [KeyObject, ...KeyObject[]] {
  return keys.length > 0;
}

const SECRET_LENGTH_MIN = 16;
