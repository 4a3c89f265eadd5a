export type { CollectHttpMetricsOptions } from './collect-http-metrics.js';
export { collectHttpMetrics } from './collect-http-metrics.js';
