import { promisify } from 'node:util';
import { deflateRaw, deflateRawSync, inflateRaw, inflateRawSync } from 'node:zlib';

/**
 * The shorter form of these bytes, or undefined where compressing does not help. Small ones are compressed at once, large
 * ones beside the event loop.
 */
export function compress(bytes: Uint8Array): Buffer | undefined | Promise<Buffer | undefined> {
  const shorter = (deflated: Buffer): Buffer | undefined => (deflated.length + GAIN_BYTES_MIN <= bytes.length ? deflated : undefined);
  if (bytes.length <= SYNC_BYTES_MAX) return shorter(deflateRawSync(bytes, SETTINGS));
  return deflateLater(bytes, SETTINGS).then(shorter);
}

/** The bytes before they were compressed; undefined where they are not `rawBytes` many or the form is broken. */
export function decompress(bytes: Uint8Array, rawBytes: number): Uint8Array | undefined {
  try {
    return ofLength(inflateRawSync(bytes, { maxOutputLength: Math.max(1, rawBytes) }), rawBytes);
  } catch {
    return undefined;
  }
}

/** As `decompress`, beside the event loop where there is much to do. */
export async function decompressLater(bytes: Uint8Array, rawBytes: number): Promise<Uint8Array | undefined> {
  if (rawBytes <= SYNC_BYTES_MAX) return decompress(bytes, rawBytes);
  try {
    return ofLength(await inflateLater(bytes, { maxOutputLength: rawBytes }), rawBytes);
  } catch {
    return undefined;
  }
}

/** Says what is expected of the option `compress` where it does not fit. */
export function checkCompress(value: unknown): string | undefined {
  if (typeof value === 'boolean') return undefined;
  const fields = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  const [name, bytesMin]: readonly unknown[] = fields[0] ?? [];
  const isFit = fields.length === 1 && name === 'bytesMin' && Number.isSafeInteger(bytesMin) && Number(bytesMin) >= 0;
  return isFit ? undefined : 'a boolean or { bytesMin: a whole number of bytes }';
}

/** From how many bytes on values are compressed. */
export function compressBytesMin(option: boolean | { readonly bytesMin: number } | undefined): number {
  if (typeof option === 'object') return option.bytesMin;
  return option === true ? BYTES_MIN_DEFAULT : Number.POSITIVE_INFINITY;
}

/** Up to this size the thread pool's own delay costs more than the work: about half a millisecond of JSON. */
export const SYNC_BYTES_MAX = 262_144;
const BYTES_MIN_DEFAULT = 1_024;
/** Less is not worth a replica's time. */
const GAIN_BYTES_MIN = 16;
/** On JSON of table rows 13% longer than level 6 and five times as fast. */
const SETTINGS = Object.freeze({ level: 1 });
const deflateLater = promisify(deflateRaw);
const inflateLater = promisify(inflateRaw);

function ofLength(bytes: Uint8Array, length: number): Uint8Array | undefined {
  return bytes.length === length ? bytes : undefined;
}
