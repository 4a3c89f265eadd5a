/** Mistakes that can be seen only while requests come. Each is said once for each `collapse()`; docs/http.md has a section for each. */
export class Warnings {
  readonly #said = new Set<WarningCode>();

  say(code: WarningCode): void {
    if (this.#said.has(code)) return;
    this.#said.add(code);
    process.emitWarning(`collapse(): ${MESSAGES[code]}`, { type: 'OneflightWarning', code });
  }
}

export type WarningCode = keyof typeof MESSAGES;

const MESSAGES = {
  ONEFLIGHT_HTTP_CREATED_IN_HANDLER:
    'it was called while a request was handled, so it makes a new middleware for each. Call it once, when the application starts',
  ONEFLIGHT_HTTP_COMPRESSION_INSIDE:
    'compression() runs after it, so answers are shared only among callers that accept the same encodings. Mount compression() before it',
  ONEFLIGHT_HTTP_RATE_LIMIT_INSIDE:
    'a rate limit runs after it, so requests that get a shared answer are not counted. Mount the rate limit before it',
  ONEFLIGHT_HTTP_CREDENTIALS_IGNORED:
    "identity is 'ignore' and a request with Authorization came. Its answer is shared only if it says 'public', 's-maxage' or 'must-revalidate'",
  ONEFLIGHT_HTTP_EXPRESS_VERSION:
    'this is Express 4, whose req.host drops the port and whose handlers lose rejections, so nothing is collapsed. Use Express 5',
  ONEFLIGHT_HTTP_NESTED: 'a request passes two of them; the inner one does nothing. Mount one per route',
  ONEFLIGHT_HTTP_SHARE_FAILED: 'the option share threw, so the answer was not shared',
} as const;

/** Whether Express is calling a handler right now. Best effort: it is not seen after an await. */
export function isInsideHandler(): boolean {
  return /\bLayer\.handle(?:Request|_request)?\b/.test(new Error('for its stack').stack ?? '');
}
