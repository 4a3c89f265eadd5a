import { createRequire } from 'node:module';
import type * as api from '@opentelemetry/api';
import { misuse } from '../errors.js';

type OpenTelemetry = Pick<typeof api, 'trace' | 'isSpanContextValid' | 'TraceFlags'>;
export type TraceLabels = { readonly trace_id: string; readonly span_id: string };

/**
 * Returns a function that names the span that is active now, if it is sampled: one that is not leads nowhere.
 *
 * @throws TypeError ERR_ONEFLIGHT_METRICS where @opentelemetry/api is not installed.
 */
export function openTelemetryTrace(): () => TraceLabels | undefined {
  const { trace, isSpanContextValid, TraceFlags } = loadApi();
  return () => {
    const context = trace.getActiveSpan()?.spanContext();
    if (context === undefined || !isSpanContextValid(context) || (context.traceFlags & TraceFlags.SAMPLED) === 0) return undefined;
    return { trace_id: context.traceId, span_id: context.spanId };
  };
}

/** At once and only when asked for: metrics without exemplars need no OpenTelemetry. Its state is global, however it is loaded. */
function loadApi(): OpenTelemetry {
  try {
    const loaded: unknown = createRequire(import.meta.url)('@opentelemetry/api');
    if (isApi(loaded)) return loaded;
  } catch {
    // Not installed: said below.
  }
  throw misuse('ERR_ONEFLIGHT_METRICS', '@opentelemetry/api to be installed for options.exemplars', 'none');
}

function isApi(value: unknown): value is OpenTelemetry {
  return typeof value === 'object' && value !== null && 'trace' in value && 'isSpanContextValid' in value && 'TraceFlags' in value;
}
