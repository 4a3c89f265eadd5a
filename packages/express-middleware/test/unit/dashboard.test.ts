import { createCollapser } from '@oneflight/core';
import { collectMetrics } from '@oneflight/core/prometheus';
import { dashboard, drawn, metricsIn, rowsUnder, rulesOf, textOf } from '@oneflight/testkit';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';

import { collapse } from '../../src/index.js';
import { collectHttpMetrics } from '../../src/prometheus/index.js';

// What holds for every dashboard and every file of alerts is in packages/core/test/unit/dashboards.test.ts.

/** Names of the metrics of a middleware, and of those of its collapser. */
async function metricNames(): Promise<{ readonly http: string[]; readonly core: string[] }> {
  const [http, core] = [new Registry(), new Registry()];
  const collapser = createCollapser();
  collectHttpMetrics(collapse(collapser), { registry: http });
  collectMetrics(collapser, { registry: core });
  const namesIn = (registry: Registry): string[] => registry.getMetricsAsArray().map(({ name }) => name);
  return { http: namesIn(http), core: namesIn(core) };
}

describe('the dashboard for HTTP', () => {
  it('shows every metric of a middleware, and beside those only ones that its collapser has', async () => {
    const { http, core } = await metricNames();
    const exprs = drawn(await dashboard('oneflight-http')).flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const used = new Set(exprs.flatMap(metricsIn));
    expect([...used].filter((name) => !core.includes(name)).toSorted()).toEqual(http.toSorted());
  });

  it('has alerts on metrics that exist', async () => {
    const { http } = await metricNames();
    const used = (await rulesOf('observability/http-alerts.yml')).flatMap(({ expr }) => metricsIn(expr));
    expect(used.filter((name) => !http.includes(name))).toEqual([]);
    expect(used.length).toBeGreaterThan(3);
  });

  it('is in docs/metrics.md, panel by panel and alert by alert, and nothing else is', async () => {
    const page = await textOf('docs/metrics.md');
    const titles = drawn(await dashboard('oneflight-http')).map(({ title }) => title);
    expect(rowsUnder(page, 'Dashboard for HTTP').map(([title]) => title)).toEqual(titles);
    const alerts = await rulesOf('observability/http-alerts.yml');
    const told = rowsUnder(page, 'Alerts for HTTP').map(([alert, severity]) => [alert, severity]);
    expect(told).toEqual(alerts.map(({ alert, labels }) => [`[${alert}](runbooks/${alert}.md)`, labels?.severity]));
  });
});
