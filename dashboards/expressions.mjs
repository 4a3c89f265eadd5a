// What the panels of all dashboards are written with.

/** Series of the chosen processes and collapsers. Every expression is bounded by these. */
export const ONE = 'job=~"$job", instance=~"$instance", namespace=~"$namespace"';

export const gauge = (metric, labels = '') => `oneflight_${metric}{${ONE}${labels && `, ${labels}`}}`;
export const rate = (metric, labels = '') => `rate(${gauge(metric, labels)}[$__rate_interval])`;
export const sum = (by, vector) => (by ? `sum by (${by}) (${vector})` : `sum(${vector})`);
export const quantile = (q, by, metric) => `histogram_quantile(${q}, ${sum(`le${by && `, ${by}`}`, rate(`${metric}_bucket`))})`;

export const panel = (title, description, unit, targets, more = {}) => ({ title, description, unit, targets, type: 'timeseries', ...more });
export const target = (expr, legend) => ({ expr, legend });
