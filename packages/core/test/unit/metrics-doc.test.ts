import { Registry } from 'prom-client';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { createCollapser } from '../../src/index.js';
import { collectMetrics } from '../../src/prometheus/index.js';
import { COPY_LABEL_VALUES } from '../../src/prometheus/copy-metrics.js';
import { LABEL_VALUES } from '../../src/prometheus/labels.js';
import { dashboard, drawn, rowsUnder as rowsOfPage, rulesOf, textOf } from '@oneflight/testkit';

/** docs/metrics.md is compared with what there is. */
let page: string;

beforeAll(async () => {
  page = await textOf('docs/metrics.md');
});

describe('docs/metrics.md', () => {
  it('names every metric with its type, its labels and how workers are aggregated, and no other', async () => {
    const registry = new Registry();
    collectMetrics(createCollapser(), { registry });
    const metrics = registry.getMetricsAsArray() as unknown as { name: string; type: string; labelNames: string[]; aggregator: string }[];
    const rows = rowsUnder('Every metric').map(([name, type, labels, , aggregated]) => [name, type, labels, aggregated]);
    const expected = metrics.map(({ name, type, labelNames, aggregator }) => [
      `\`${name}\``,
      type,
      labelNames
        .filter((label) => label !== 'namespace')
        .map((label) => `\`${label}\``)
        .join(', '),
      aggregator,
    ]);
    expect(rows.toSorted()).toEqual(expected.toSorted());
  });

  it('names every value of every label', () => {
    const values = [...Object.values(LABEL_VALUES), ...Object.values(COPY_LABEL_VALUES)].flat();
    expect(values.filter((value) => !page.includes(`\`${value}\``))).toEqual([]);
  });

  it('names every panel, alert and recording rule, and no other', async () => {
    expect(rowsUnder('Dashboard').map(([title]) => title)).toEqual(drawn(await dashboard()).map(({ title }) => title));
    const alerts = await rulesOf('observability/alerts.yml');
    const recordings = await rulesOf('observability/rules.yml');
    expect(rowsUnder('Alerts').map(([first]) => first)).toEqual([
      ...alerts.map(({ alert }) => `[${alert}](runbooks/${alert}.md)`),
      ...recordings.map(({ record }) => `\`${record}\``),
    ]);
    const severities = rowsUnder('Alerts')
      .slice(0, alerts.length)
      .map(([, severity]) => severity);
    expect(severities).toEqual(alerts.map(({ labels }) => labels?.severity));
  });

  it('names every type of event and all of its fields, and no other', async () => {
    const source = await textOf('packages/core/src/events.ts');
    const union = source.slice(source.indexOf('export type CollapserEvent ='), source.indexOf('export type BypassReason'));
    const events = union
      .split("readonly type: '")
      .slice(1)
      .map((part) => {
        const type = part.slice(0, part.indexOf("'"));
        const rest = part.slice(0, part.indexOf('}'));
        return [`\`${type}\``, Array.from(rest.matchAll(/readonly (\w+):/g), ([, field]) => `\`${field}\``).join(', ')];
      });
    expect(events.length).toBeGreaterThan(12);
    expect(
      rowsUnder('Events')
        .map(([type, fields]) => [type, fields])
        .toSorted(),
    ).toEqual(events.toSorted());
  });

  it('says of every field of an event what it is', () => {
    const inTable = rowsUnder('Events').flatMap(([, fields = '']) => fields.split(', ').filter(Boolean));
    const explained = rowsUnder('Fields').flatMap(([names = '']) => names.split(', '));
    expect(explained.toSorted()).toEqual(['`collapser`', '`type`', ...new Set(inTable)].toSorted());
  });

  it('names the options of collectMetrics and the attributes of spans that the code has', async () => {
    const options = await textOf('packages/core/src/prometheus/collect-metrics.ts');
    const names = Array.from(
      /interface CollectMetricsOptions \{([\s\S]*?)\n\}/.exec(options)?.[1]?.matchAll(/readonly (\w+)\?:/g) ?? [],
      ([, name]) => `\`${name}\``,
    );
    expect(
      rowsUnder('Metrics for Prometheus')
        .slice(0, names.length)
        .map(([name]) => name),
    ).toEqual(names);
    const sources = await Promise.all(['call-span', 'traced-calls'].map((file) => textOf(`packages/core/src/opentelemetry/${file}.ts`)));
    const attributes = new Set(Array.from(sources.join('').matchAll(/'((?:collapse|error)\.\w+)'/g), ([, name]) => `\`${name}\``));
    expect(
      rowsUnder('Tracing with OpenTelemetry')
        .map(([name]) => name)
        .toSorted(),
    ).toEqual([...attributes].toSorted());
  });

  it('has YAML that is YAML', () => {
    for (const [, block = ''] of page.matchAll(/^```yaml\n([\s\S]*?)^```/gm))
      expect(Object.keys(parse(block) as object)).toEqual(['services']);
  });
});

function rowsUnder(title: string): string[][] {
  return rowsOfPage(page, title);
}
