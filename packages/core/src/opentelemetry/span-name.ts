import { isSpanContextValid, type SpanContext } from '@opentelemetry/api';
import type { Traceparent } from '../traceparent.js';

/** A span's name as it travels; undefined where there is no span, because nothing traces. */
export function traceparentOf(span: SpanContext): Traceparent | undefined {
  if (!isSpanContextValid(span)) return undefined;
  return `00-${span.traceId}-${span.spanId}-${span.traceFlags.toString(16).padStart(2, '0')}`;
}

/** The span of another process that a traceparent names. No state of the trace comes with it. */
export function spanOf(traceparent: Traceparent): SpanContext {
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
