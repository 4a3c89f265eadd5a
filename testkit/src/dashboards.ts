import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';

/** What the tests read of a dashboard, an alert and a test of promtool. */
export interface Dashboard {
  readonly uid: string;
  readonly editable: boolean;
  readonly templating: { readonly list: readonly Variable[] };
  readonly panels: readonly Panel[];
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string | { readonly query: string };
  readonly datasource?: { readonly uid: string };
  readonly refresh?: number;
  readonly multi?: boolean;
  readonly includeAll?: boolean;
  readonly allValue?: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly legendFormat: string }[];
}

export interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: { readonly severity?: string };
  readonly annotations?: { readonly summary?: string; readonly description?: string; readonly runbook?: string };
}

export interface RuleTest {
  readonly name: string;
  readonly alert_rule_test?: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
}

/** A file of the repository. */
export function fileOf(path: string): URL {
  return new URL(`../../${path}`, import.meta.url);
}

export async function textOf(path: string): Promise<string> {
  return readFile(fileOf(path), 'utf8');
}

/** A dashboard by the name of its file. */
export async function dashboard(name = 'oneflight'): Promise<Dashboard> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a file of this repository, whose shape the tests hold
  return JSON.parse(await textOf(`dashboards/${name}.json`)) as Dashboard;
}

export async function rulesOf(path: string): Promise<Rule[]> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a file of this repository, whose shape the tests hold
  const { groups } = parse(await textOf(path)) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

export async function ruleTests(path: string): Promise<RuleTest[]> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a file of this repository, whose shape the tests hold
  return (parse(await textOf(path)) as { tests: RuleTest[] }).tests;
}

/** Panels that draw something. */
export function drawn({ panels }: Dashboard): Panel[] {
  return panels.filter(({ type }) => type !== 'row');
}

/** What Grafana would send of an expression: its variables filled in. */
export function chosen(expr: string): string {
  return expr
    .replaceAll('$__rate_interval', '5s')
    .replaceAll('$__range', '1m')
    .replaceAll(/\$(job|instance|namespace)/g, '.+');
}

/** The cells of the tables under a heading of a page, down to the next heading of level three or above. */
export function rowsUnder(page: string, title: string): string[][] {
  const [, level = '', body = ''] = new RegExp(`^(#+) ${title}\n([\\s\\S]*?)(?=^#{1,3} |(?![\\s\\S]))`, 'm').exec(page) ?? [];
  if (level === '') throw new Error(`expected a heading ${title}, got none`);
  const lines = body.split('\n').filter((line) => line.startsWith('|'));
  return lines
    .filter((line, index) => !/^\|[\s:|-]+\|$/.test(line) && !/^\|[\s:|-]+\|$/.test(lines[index + 1] ?? ''))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** Names of our metrics in an expression, without what histograms add. */
export function metricsIn(expr: string): string[] {
  return Array.from(expr.matchAll(/(?<![\w:])oneflight_\w+/g), ([name]) => name.replace(/_(bucket|sum|count)$/, ''));
}
