import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { generate, generatedFile, parseScript } from '../../scripts/generate-lua.mjs';

const SCRIPT = `-- Says hello.
--
-- KEYS[1] first   what for
-- ARGV[1] name    whose
-- ARGV[2] wait_ms how long
--
-- Returns
--   {'hello'}

local first = KEYS[1]
local name = ARGV[1]
-- Why it waits.
local wait_ms = tonumber(ARGV[2])
return {'hello', first, name, wait_ms}
`;

test('generating again changes nothing', () => {
  expect(generate()).toBe(readFileSync(generatedFile, 'utf8'));
});

test('names of keys and arguments come from the header, the text without comments from the body', () => {
  const script = parseScript('hello.lua', SCRIPT);
  expect(script).toMatchObject({ name: 'hello', keys: ['first'], args: ['name', 'waitMs'] });
  expect(script.lua).not.toContain('--');
  expect(script.lua).toContain("return {'hello', first, name, wait_ms}");
});

test.each([
  [
    'an entry that the header does not name',
    SCRIPT.replace('-- ARGV[2] wait_ms how long\n', ''),
    /the body reads ARGV\[2\] as wait_ms, the header says nothing/,
  ],
  [
    'an entry that the body does not read',
    SCRIPT.replace('local first = KEYS[1]\n', ''),
    /the header names KEYS\[1\] first, the body does not read it/,
  ],
  [
    'another name in the header',
    SCRIPT.replace('ARGV[1] name ', 'ARGV[1] nome '),
    /the body reads ARGV\[1\] as name, the header says nome/,
  ],
  ['entries out of order', SCRIPT.replace('-- ARGV[2]', '-- ARGV[3]'), /the header names ARGV\[3\] where ARGV\[2\] comes next/],
  [
    'a read in the middle of the body',
    SCRIPT.replace('first, name', 'KEYS[2], name'),
    /KEYS is read other than by one "local name = KEYS\[n\]"/,
  ],
  ['a read of all entries', SCRIPT.replace('first, name', 'unpack(ARGV)'), /ARGV is read other than by one/],
  ['no word about what is returned', SCRIPT.replace('-- Returns\n', ''), /the header has no "Returns"/],
])('a script is refused for %s', (_, source, message) => {
  expect(() => parseScript('hello.lua', source)).toThrow(message);
});
