import { describe, expect, it } from 'vitest';
import { prepareScript } from '../../src/prepared-script.js';
import { type Argument, encodeCommand, type Wire } from '../../src/wire.js';

const SCRIPT = {
  keys: ['lease', 'state', 'payload'],
  args: ['leaseMs', 'id', 'min', 'stateMs', 'frame'],
  sha1: 'f'.repeat(40),
  lua: "return 'ü'",
} as const;
const script = prepareScript(SCRIPT, {
  lease: (hash) => `p:v1:{${hash}}:l`,
  state: (hash) => `p:v1:{${hash}}:s`,
  leaseMs: 3_000,
  stateMs: 6_000,
});
const said = { payload: 'p:v1:{h}:p:i#1', id: 'i#1', min: 1_700_000_000_000_000, frame: Buffer.from([0, 13, 10, 255]) };

describe('a call of a prepared script', () => {
  it.each(['h', 'a'.repeat(43), 'b', ''])('is to Redis what the command with the same arguments is, for the hash %o', (hash) => {
    for (const call of [script.call(hash, said), script.call(hash, said).inFull()]) {
      expect(call.args).toEqual([
        call.name === 'eval' ? SCRIPT.lua : SCRIPT.sha1,
        3,
        ...[`p:v1:{${hash}}:l`, `p:v1:{${hash}}:s`, said.payload],
        ...[3_000, said.id, said.min, 6_000, said.frame],
      ]);
      expect(bytesOf(call.wire)).toEqual(bytesOf(encodeCommand(call.name, call.args)));
    }
  });

  it('names a key that each call says behind all that are made of the hash, or cannot be prepared', () => {
    const misplaced = prepareScript({ ...SCRIPT, keys: ['payload', 'state'] }, { state: (hash) => hash });
    const call = misplaced.call('h', { ...said, leaseMs: 1, stateMs: 1 });
    expect(() => call.wire).toThrow('expected state before what each call says itself');
  });
});

describe('a command', () => {
  it.each<[string, readonly Argument[]]>([
    ['text, numbers and bytes', ['a', 1, Buffer.from([0, 255, 13, 10])]],
    ['text that is not ASCII', ['Ünïcode', '漢字', '\u{1f600}']],
    ['what is empty', ['', Buffer.alloc(0)]],
    ['long bytes, first, last and between', [Buffer.alloc(20_000, 1), 'x', Buffer.alloc(20_000, 2), Buffer.alloc(20_000, 3)]],
  ])('is read by Redis as it was said: %s', (_, args) => {
    const parts = ['set', ...args].map((part) => (typeof part === 'object' ? part : Buffer.from(String(part))));
    const lines = parts.map((part) => Buffer.concat([Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')]));
    expect(bytesOf(encodeCommand('set', args))).toEqual(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...lines]));
  });
});

function bytesOf(wire: Wire): Buffer {
  const pieces = typeof wire === 'string' ? [wire] : wire;
  return Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)));
}
