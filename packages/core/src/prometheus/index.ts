export { collectMetrics, type CollectMetricsOptions } from './collect-metrics.js';
export type { MetricsRegistry } from './maker.js';
