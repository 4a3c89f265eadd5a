/**
 * The name of a span in the form of W3C Trace Context, version 00: `00-<trace id>-<span id>-<flags>` in lower-case hex. It
 * has one length and one alphabet, so it cannot carry anything else.
 */
export type Traceparent = string;

/** Whether it is a traceparent that names a span: ids of zeros alone name none. */
export function isTraceparent(value: unknown): value is Traceparent {
  return typeof value === 'string' && TRACEPARENT.test(value);
}

const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
