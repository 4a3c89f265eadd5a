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
  return new URL(`../../../../${path}`, import.meta.url);
}

export async function textOf(path: string): Promise<string> {
  return readFile(fileOf(path), 'utf8');
}

export async function dashboard(): Promise<Dashboard> {
  return JSON.parse(await textOf('dashboards/oneflight.json')) as Dashboard;
}

export async function rulesOf(path: string): Promise<Rule[]> {
  const { groups } = parse(await textOf(path)) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

export async function ruleTests(): Promise<RuleTest[]> {
  return (parse(await textOf('observability/rules.test.yml')) as { tests: RuleTest[] }).tests;
}

/** Panels that draw something. */
export function drawn({ panels }: Dashboard): Panel[] {
  return panels.filter(({ type }) => type !== 'row');
}

/** Names of our metrics in an expression, without what histograms add. */
export function metricsIn(expr: string): string[] {
  return Array.from(expr.matchAll(/(?<![\w:])oneflight_\w+/g), ([name]) => name.replace(/_(bucket|sum|count)$/, ''));
}
