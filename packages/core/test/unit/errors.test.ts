import { describe, expect, it } from 'vitest';
import { describe as describeValue, misuse, OneflightError, WaitTimeoutError } from '../../src/errors.js';

describe('errors', () => {
  it('carry a stable code and the name of their class', () => {
    const error = new WaitTimeoutError(50, 'i#1');
    expect(error).toBeInstanceOf(OneflightError);
    expect([error.name, error.code, error.timeoutMs]).toEqual(['WaitTimeoutError', 'ERR_ONEFLIGHT_WAIT_TIMEOUT', 50]);
  });

  it('of misuse say the contract, then what came, and never its content', () => {
    const error = misuse('ERR_ONEFLIGHT_KEY', 'a key', describeValue('password=hunter2'));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe('expected a key, got a string of length 16');
    expect(error.code).toBe('ERR_ONEFLIGHT_KEY');
  });
});
