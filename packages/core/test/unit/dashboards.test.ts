import { existsSync } from 'node:fs';
import { Registry } from 'prom-client';
import { beforeAll, describe, expect, it } from 'vitest';
import { createCollapser } from '../../src/index.js';
import { collectMetrics } from '../../src/prometheus/index.js';
import { dashboard, drawn, fileOf, metricsIn, rulesOf, ruleTests, textOf, type Dashboard, type Panel, type Rule } from '@oneflight/testkit';

/** Metrics that no panel shows, and why. */
const UNUSED: Readonly<Record<string, string>> = {};

const { generated, names } = (await import(fileOf('dashboards/generate.mjs').href)) as {
  generated: (name: string) => string;
  names: string[];
};

describe.each(names)('the dashboard %s', (name) => {
  let board: Dashboard;
  let panels: Panel[];

  beforeAll(async () => {
    board = await dashboard(name);
    panels = drawn(board);
  });

  it('is what its script generates', async () => {
    expect(await textOf(`dashboards/${name}.json`)).toBe(generated(name));
  });

  it('cannot be edited in Grafana, where changes would be lost, and has an id that stays', () => {
    expect(board).toMatchObject({ editable: false, uid: name });
  });

  it('lets its user choose the data source, job, instance and collapser; the choice follows the time range', () => {
    const { list } = board.templating;
    expect(list.map(({ name }) => name)).toEqual(['datasource', 'job', 'instance', 'namespace']);
    for (const variable of list.slice(1)) {
      expect(variable).toMatchObject({ multi: true, includeAll: true, allValue: '.+', refresh: 2, datasource: { uid: '${datasource}' } });
    }
  });

  it('has a title, a description and a unit on every panel, no title twice, and no panel over another', () => {
    for (const { title, description = '', fieldConfig } of panels) {
      expect(title).not.toBe('');
      expect(description.length, title).toBeGreaterThan(20);
      expect(fieldConfig?.defaults.unit, title).toMatch(/^\w+$/);
    }
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    expect(new Set(board.panels.map(({ id }) => id)).size).toBe(board.panels.length);
    expect(board.panels.flatMap((one) => board.panels.filter((other) => other.id > one.id && overlap(one, other)))).toEqual([]);
    expect(board.panels.filter(({ gridPos: { x, w } }) => x + w > 24)).toEqual([]);
  });

  it('asks the chosen data source for the chosen jobs and instances only, in every expression', () => {
    for (const { title, datasource, targets = [] } of panels) {
      expect(datasource?.uid, title).toBe('${datasource}');
      expect(targets.length, title).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
      for (const { expr } of targets) {
        const selectors = [...expr.matchAll(/oneflight_\w+\{([^}]*)\}/g)];
        expect(selectors.length, expr).toBe(metricsIn(expr).length);
        for (const [, matchers] of selectors) {
          expect(matchers).toContain('job=~"$job"');
          expect(matchers).toContain('instance=~"$instance"');
        }
      }
    }
  });

  it('takes the rate of every counter over an interval that fits the scrapes, and aggregates it', async () => {
    const counters = await namesOf('counter', 'histogram');
    for (const { expr } of expressions()) {
      for (const [range] of expr.matchAll(/\[[^\]]*\]/g)) expect(['[$__rate_interval]', '[$__range]']).toContain(range);
      for (const metric of metricsIn(expr).filter((one) => counters.has(one) || one.endsWith('_total'))) {
        expect(expr).toMatch(new RegExp(`sum(?: by \\([\\w, ]+\\) )?\\((?:rate|increase)\\(${metric}`));
      }
    }
  });

  function expressions(): { expr: string }[] {
    return panels.flatMap(({ targets = [] }) => targets);
  }
});

it('the dashboard of the collapser uses only metrics that exist, and shows every metric that exists or says why not', async () => {
  const used = drawn(await dashboard()).flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => metricsIn(expr)));
  expect([...new Set(used), ...Object.keys(UNUSED)].toSorted()).toEqual([...(await namesOf())].toSorted());
});

it('the alerts and recording rules use only metrics that exist, and rules that are recorded', async () => {
  const recordings = await rulesOf('observability/rules.yml');
  const metrics = await namesOf();
  const recorded = new Set(recordings.map(({ record }) => record));
  for (const { expr } of [...(await rulesOf('observability/alerts.yml')), ...recordings]) {
    expect(metricsIn(expr).filter((name) => !metrics.has(name))).toEqual([]);
    for (const [name] of expr.matchAll(/\w+:oneflight_\w+:\w+/g)) expect(recorded).toContain(name);
  }
});

describe.each([
  ['alerts.yml', 'rules.test.yml'],
  ['http-alerts.yml', 'http-rules.test.yml'],
])('the alerts of %s', (file, tests) => {
  let alerts: Rule[];

  beforeAll(async () => {
    alerts = await rulesOf(`observability/${file}`);
  });

  it('say what happened and to whom, how bad it is, and which page tells what to do', async () => {
    for (const { alert, labels, annotations } of alerts) {
      expect(labels?.severity, alert).toMatch(/^(critical|warning|info)$/);
      expect(annotations?.summary, alert).toContain('{{ $labels.namespace }}');
      expect(annotations?.description, alert).toBeDefined();
      expect(annotations?.runbook).toBe(`docs/runbooks/${alert}.md`);
      expect(existsSync(fileOf(`docs/runbooks/${alert}.md`)), alert).toBe(true);
    }
  });

  it('have a runbook each that says what it means, what it does to users, how to find the cause, and what to do', async () => {
    for (const { alert = '' } of alerts) {
      const page = await textOf(`docs/runbooks/${alert}.md`);
      expect(Array.from(page.matchAll(/^#+ (.+)$/gm), ([, heading]) => heading)).toEqual([
        alert,
        'Meaning',
        'Impact',
        'Diagnosis',
        'Mitigation',
      ]);
    }
  });

  it('are tested: each alert fires in one test at least, and is quiet in another', async () => {
    const cases = (await ruleTests(`observability/${tests}`)).flatMap(({ alert_rule_test: some = [] }) => some);
    for (const { alert } of alerts) {
      const own = cases.filter(({ alertname }) => alertname === alert);
      expect(
        own.some(({ exp_alerts }) => exp_alerts.length > 0),
        `${alert} fires`,
      ).toBe(true);
      expect(
        own.some(({ exp_alerts }) => exp_alerts.length === 0),
        `${alert} is quiet`,
      ).toBe(true);
    }
  });
});

/** Names of all metrics, or of those of some types. */
async function namesOf(...types: string[]): Promise<Set<string>> {
  const registry = new Registry();
  collectMetrics(createCollapser(), { registry });
  const all = (await registry.getMetricsAsJSON()) as unknown as { name: string; type: string }[];
  return new Set(all.filter(({ type }) => types.length === 0 || types.includes(type)).map(({ name }) => name));
}

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
