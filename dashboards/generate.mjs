// Writes oneflight.json from panels.mjs: `node dashboards/generate.mjs`. The result is committed.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rows } from './panels.mjs';

const COLUMNS = 24;
const HEIGHT = 8;
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** The dashboard as Grafana imports it. */
export function dashboard() {
  return {
    uid: 'oneflight',
    title: 'oneflight',
    description: 'Request collapsing: what it saves, how well it works, and how its coordinator does.',
    tags: ['oneflight'],
    editable: false,
    graphTooltip: 1,
    refresh: '30s',
    schemaVersion: 39,
    time: { from: 'now-1h', to: 'now' },
    timezone: 'utc',
    templating: { list: variables() },
    panels: placed(),
  };
}

function variables() {
  const multi = { type: 'query', datasource: DATASOURCE, refresh: 2, multi: true, includeAll: true, allValue: '.+', sort: 1 };
  const chosen = (name, label, query) => ({
    name,
    label,
    ...multi,
    query: { query, refId: name },
    current: { text: ['All'], value: ['$__all'] },
  });
  return [
    { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', current: {} },
    chosen('job', 'Job', 'label_values(oneflight_requests_total, job)'),
    chosen('instance', 'Instance', 'label_values(oneflight_requests_total{job=~"$job"}, instance)'),
    chosen('namespace', 'Collapser', 'label_values(oneflight_requests_total{job=~"$job", instance=~"$instance"}, namespace)'),
  ];
}

function placed() {
  const panels = [];
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
    });
    y += 1;
    let x = 0;
    for (const one of row.panels) {
      const w = one.width ?? COLUMNS / 3;
      if (x + w > COLUMNS) {
        x = 0;
        y += HEIGHT;
      }
      panels.push({ id: panels.length + 1, ...drawn(one), gridPos: { x, y, w, h: HEIGHT } });
      x += w;
    }
    y += HEIGHT;
  }
  return panels;
}

function drawn({ type, title, description, unit, targets, stack = false }) {
  const custom = type === 'timeseries' ? { fillOpacity: stack ? 30 : 5, stacking: { mode: stack ? 'normal' : 'none' } } : {};
  // A share is drawn from 0 to 1, so that 98 % does not look like nothing.
  const range = unit === 'percentunit' ? { min: 0, max: 1 } : { min: 0 };
  return {
    type,
    title,
    description,
    datasource: DATASOURCE,
    fieldConfig: { defaults: { unit, ...range, custom }, overrides: [] },
    options: optionsOf(type),
    targets: targets.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      ...(type === 'heatmap' ? { format: 'heatmap' } : {}),
    })),
  };
}

function optionsOf(type) {
  switch (type) {
    case 'stat':
      return { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'value', graphMode: 'none' };
    case 'heatmap':
      return { calculate: false, yAxis: { unit: 'short' }, tooltip: { mode: 'single' } };
    default:
      return { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } };
  }
}

/** The file's content. */
export function generated() {
  return `${JSON.stringify(dashboard(), null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(new URL('oneflight.json', import.meta.url), generated());
