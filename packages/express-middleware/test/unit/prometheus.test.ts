import { readFile } from 'node:fs/promises';

import { createCollapser } from '@oneflight/core';
import { Counter, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';

import { collapse, type CollapseHandler, type CollapseStats } from '../../src/index.js';
import { BYPASS_REASONS, UNSERVED_REASONS, UNSHAREABLE_REASONS } from '../../src/prometheus/reasons.js';
import { collectHttpMetrics } from '../../src/prometheus/index.js';

/** A middleware that says it has done this. */
function having(namespace: string, done: Partial<CollapseStats>): CollapseHandler {
  const idle = collapse(createCollapser({ name: namespace }));
  const stats = (): CollapseStats => ({ ...idle.stats(), ...done });
  return Object.assign(() => {}, { namespace, stats });
}

async function valueOf(registry: Registry, line: string): Promise<string | undefined> {
  const text = await registry.metrics();
  return text
    .split('\n')
    .find((one) => one.startsWith(`${line} `))
    ?.split(' ')[1];
}

describe('collectHttpMetrics', () => {
  it('shows what each middleware did, those of one collapser together', async () => {
    const registry = new Registry();
    const done = { collapsed: 7, replayed: 5, streamed: 2, truncated: 1, capturedBytes: 9, unshareable: { set_cookie: 3 } };
    collectHttpMetrics(having('seats', done), { registry });
    collectHttpMetrics(having('seats', { collapsed: 1 }), { registry });
    collectHttpMetrics(having('matches', { bypassed: { skip: 4 }, unserved: { timeout: 6 } }), { registry });
    for (let look = 0; look < 2; look += 1) {
      expect(await valueOf(registry, 'oneflight_http_collapsed_total{namespace="seats"}')).toBe('8');
      expect(await valueOf(registry, 'oneflight_http_replayed_total{namespace="seats",how="complete"}')).toBe('3');
      expect(await valueOf(registry, 'oneflight_http_replayed_total{namespace="seats",how="live"}')).toBe('2');
      expect(await valueOf(registry, 'oneflight_http_truncated_total{namespace="seats"}')).toBe('1');
      expect(await valueOf(registry, 'oneflight_http_unshareable_total{namespace="seats",reason="set_cookie"}')).toBe('3');
      expect(await valueOf(registry, 'oneflight_http_unshareable_total{namespace="matches",reason="set_cookie"}')).toBe('0');
      expect(await valueOf(registry, 'oneflight_http_bypassed_total{namespace="matches",reason="skip"}')).toBe('4');
      expect(await valueOf(registry, 'oneflight_http_unserved_total{namespace="matches",reason="timeout"}')).toBe('6');
      expect(await valueOf(registry, 'oneflight_http_captured_bytes{namespace="seats"}')).toBe('9');
    }
  });

  it('keeps what was counted when it is ended, and forgets what was held', async () => {
    const registry = new Registry();
    const stop = collectHttpMetrics(having('seats', { collapsed: 7, capturedBytes: 9 }), { registry });
    stop();
    expect(await valueOf(registry, 'oneflight_http_collapsed_total{namespace="seats"}')).toBe('7');
    expect(await valueOf(registry, 'oneflight_http_captured_bytes{namespace="seats"}')).toBe('0');
  });

  it('begins anew in a registry that was cleared, and keeps registries and prefixes apart', async () => {
    const [registry, other] = [new Registry(), new Registry()];
    const middleware = having('seats', { collapsed: 1 });
    collectHttpMetrics(middleware, { registry });
    collectHttpMetrics(middleware, { registry: other });
    collectHttpMetrics(middleware, { registry, prefix: 'shop_' });
    registry.clear();
    collectHttpMetrics(middleware, { registry });
    expect(await valueOf(registry, 'oneflight_http_collapsed_total{namespace="seats"}')).toBe('1');
    expect(await registry.metrics()).not.toContain('shop_');
  });

  it('refuses a middleware that it collects already, metrics of the same names, and what is no middleware', () => {
    const registry = new Registry();
    const middleware = having('seats', {});
    collectHttpMetrics(middleware, { registry });
    expect(() => collectHttpMetrics(middleware, { registry })).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_METRICS' }));
    const taken = new Registry();
    taken.registerMetric(new Counter({ name: 'oneflight_http_captures', help: 'foreign', registers: [] }));
    expect(() => collectHttpMetrics(middleware, { registry: taken })).toThrow(/oneflight_http_captures/);
    expect(taken.getMetricsAsArray()).toHaveLength(1);
    expect(() => collectHttpMetrics((() => {}) as never)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_OPTION' }));
    expect(() => collectHttpMetrics(middleware, { prefix: '1' })).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_OPTION' }));
  });

  it('is documented: each metric with its type, its labels and how workers are aggregated, each reason by name', async () => {
    const registry = new Registry();
    collectHttpMetrics(having('seats', {}), { registry });
    const metrics = registry.getMetricsAsArray() as unknown as { name: string; type: string; labelNames: string[]; aggregator: string }[];
    const page = await readFile(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
    const section = page.slice(page.indexOf('\n### HTTP\n'), page.indexOf('\n### Several workers'));
    const rows = section
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => line.split('|').map((cell) => cell.trim()))
      .map(([, name, type, labels, , aggregated]) => [name, type, labels, aggregated]);
    const expected = metrics.map(({ name, type, labelNames, aggregator }) => {
      const labels = labelNames.filter((label) => label !== 'namespace').map((label) => `\`${label}\``);
      return [`\`${name}\``, type, labels.join(', '), aggregator];
    });
    expect(rows.toSorted()).toEqual(expected.toSorted());
    const http = await readFile(new URL('../../../../docs/http.md', import.meta.url), 'utf8');
    const reasons = [...BYPASS_REASONS, ...UNSHAREABLE_REASONS, ...UNSERVED_REASONS];
    expect(reasons.filter((reason) => !section.includes(`\`${reason}\``) && !http.includes(`\`${reason}\``))).toEqual([]);
  });
});
