import { OneflightError } from '@oneflight/core';

/**
 * The handler answered equal requests with a server error, several times in a row. Those who were still waiting get this
 * error through `next`, so that the application's own error handling answers them; nothing of the failed answers reaches them.
 */
export class FailedAnswerError extends OneflightError {
  readonly status: number;

  constructor(status: number, options?: ErrorOptions) {
    super(
      'ERR_ONEFLIGHT_HTTP_FAILED_ANSWER',
      `the handler answered status ${status} to requests equal to this one, so it was not run again for this one. Find out why it fails`,
      options,
    );
    this.status = status;
  }
}

/** The coordinator is out of reach, and `whenDegraded: 'reject'` asked not to run the handler without it. */
class UnavailableError extends OneflightError {
  readonly status = 503;

  constructor(options: ErrorOptions) {
    super(
      'ERR_ONEFLIGHT_HTTP_UNAVAILABLE',
      "the coordinator is out of reach and whenDegraded is 'reject'. Use 'load' to collapse inside each process meanwhile",
      options,
    );
  }
}

/** The answer broke off: one other request takes over. It reaches no application. */
export class CutAnswerError extends OneflightError {
  constructor(what: string, options?: ErrorOptions) {
    super('ERR_ONEFLIGHT_HTTP_CUT', what, options);
  }
}

/** This request cannot run for the others. It reaches no application. */
export class StepAsideError extends OneflightError {
  constructor(why: string) {
    super('ERR_ONEFLIGHT_HTTP_STEP_ASIDE', why);
  }
}

/** What a waiting request is told by an error that ended its flight: to fail with an error, or to run its own handler. */
export function errorFor(error: unknown): Error | undefined {
  const code = propertyOf(error, 'code');
  if (code === 'ERR_ONEFLIGHT_COORDINATOR') return new UnavailableError({ cause: error });
  if (code !== 'ERR_ONEFLIGHT_HTTP_FAILED_ANSWER') return undefined;
  const status = propertyOf(error, 'status');
  const isServerError = typeof status === 'number' && Number.isInteger(status) && status >= 500 && status <= 599;
  return new FailedAnswerError(isServerError ? status : 500, { cause: error });
}

function propertyOf(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined;
}
