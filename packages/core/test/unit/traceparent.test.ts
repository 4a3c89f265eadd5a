import { expect, test } from 'vitest';
import { isTraceparent } from '../../src/index.js';

const VALID = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test.each([VALID, VALID.replace(/01$/, '00'), VALID.replace(/01$/, 'ff')])('%s is a traceparent', (text) => {
  expect(isTraceparent(text)).toBe(true);
});

test.each([
  ['nothing', undefined],
  ['an empty string', ''],
  ['a number', 1],
  ['a list that reads like one', [VALID]],
  ['upper case', VALID.toUpperCase()],
  ['another version', VALID.replace(/^00/, '01')],
  ['the version that is none', VALID.replace(/^00/, 'ff')],
  ['a trace id of zeros', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`],
  ['a span id of zeros', `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`],
  ['a short trace id', '00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01'],
  ['a long span id', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7a-01'],
  ['no flags', VALID.slice(0, -3)],
  ['more behind it', `${VALID}-baggage`],
  ['a line behind it', `${VALID}\n`],
  ['a space before it', ` ${VALID}`],
])('%s is none', (_, value) => {
  expect(isTraceparent(value)).toBe(false);
});
