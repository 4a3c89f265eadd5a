// Writes each dashboard from its panels: `node dashboards/generate.mjs`. The results are committed.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rows as httpRows } from './http-panels.mjs';
import { rows } from './panels.mjs';

const COLUMNS = 24;
const HEIGHT = 8;
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** By name: what each dashboard is, and the metric that every process it shows has. */
const BOARDS = {
  oneflight: {
    title: 'oneflight',
    description: 'Request collapsing: what it saves, how well it works, and how its coordinator does.',
    metric: 'oneflight_requests_total',
    rows,
  },
  'oneflight-http': {
    title: 'oneflight: HTTP',
    description: 'The Express middleware: how requests were answered, why some were not collapsed, and what is stored.',
    metric: 'oneflight_http_requests_total',
    rows: httpRows,
  },
};

export const names = Object.keys(BOARDS);

/** A dashboard as Grafana imports it. */
function dashboard(name) {
  const board = BOARDS[name];
  return {
    uid: name,
    title: board.title,
    description: board.description,
    tags: ['oneflight'],
    editable: false,
    graphTooltip: 1,
    refresh: '30s',
    schemaVersion: 39,
    time: { from: 'now-1h', to: 'now' },
    timezone: 'utc',
    links: [{ type: 'dashboards', title: 'oneflight', tags: ['oneflight'], asDropdown: false, includeVars: true, keepTime: true }],
    templating: { list: variables(board.metric) },
    panels: placed(board.rows),
  };
}

function variables(metric) {
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
    chosen('job', 'Job', `label_values(${metric}, job)`),
    chosen('instance', 'Instance', `label_values(${metric}{job=~"$job"}, instance)`),
    chosen('namespace', 'Collapser', `label_values(${metric}{job=~"$job", instance=~"$instance"}, namespace)`),
  ];
}

function placed(boardRows) {
  const panels = [];
  let y = 0;
  for (const row of boardRows) {
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

/** The content of a dashboard's file. */
export function generated(name) {
  return `${JSON.stringify(dashboard(name), null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of names) writeFileSync(new URL(`${name}.json`, import.meta.url), generated(name));
}
