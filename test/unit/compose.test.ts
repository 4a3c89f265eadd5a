import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { root } from '../support/root.js';

/** docker-compose.yml, held to the files and ports that it names. What starts of it was tried by hand: docs/operations.md. */
interface Service {
  readonly image?: string;
  readonly build?: { readonly context: string; readonly dockerfile: string; readonly target?: string };
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly expose?: readonly string[];
  readonly volumes?: readonly string[];
  readonly profiles?: readonly string[];
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly deploy?: { readonly resources: { readonly limits: { readonly cpus: string; readonly memory: string } } };
}

const text = read('docker-compose.yml');
const { services } = parse(text) as { services: Record<string, Service> };
const all = Object.entries(services);
const app = services['app'] ?? {};

describe('docker-compose.yml', () => {
  it('starts the shop and all that belongs to it, and k6 and the demo only when they are asked for', () => {
    expect(Object.keys(services).toSorted()).toEqual(['app', 'demo', 'grafana', 'k6', 'load-balancer', 'postgres', 'prometheus', 'redis']);
    expect(all.filter(([, { profiles }]) => profiles !== undefined).map(([name, { profiles }]) => [name, profiles])).toEqual([
      ['demo', ['demo']],
      ['k6', ['load']],
    ]);
  });

  it.each(all)('%s: has an image with a version or a file to build it from, and limits', (_, { image, build, deploy }) => {
    if (build !== undefined) expect(existsSync(join(root, build.context, build.dockerfile))).toBe(true);
    else expect(image).toMatch(/^[\w./-]+:v?\d+\.\d+\.?\d*(-alpine)?$/);
    expect(deploy?.resources.limits).toEqual({ cpus: expect.stringMatching(/^\d$/), memory: expect.stringMatching(/^\d+[MG]$/) });
  });

  it.each(all.filter(([name]) => name !== 'k6'))('%s: says whether it is well', (_, { healthcheck }) => {
    expect(healthcheck?.test[0]).toBe('CMD');
  });

  it('mounts nothing but files of this repository, to be read only', () => {
    for (const [source = '', , mode] of all.flatMap(([, { volumes = [] }]) => volumes).map((volume) => volume.split(':'))) {
      expect([source, existsSync(join(root, source)), mode]).toEqual([source, true, 'ro']);
      expect(source).toMatch(/^\.\//);
    }
  });

  it('opens ports on this machine only, and none of the replicas, of Redis and of PostgreSQL', () => {
    const open = all.flatMap(([name, { ports = [] }]) => ports.map((port) => [name, port.replace(/\$\{\w+:-(\d+)\}/, '$1')]));
    expect(open).toEqual([
      ['load-balancer', '127.0.0.1:8080:80'],
      ['prometheus', '127.0.0.1:9090:9090'],
      ['grafana', '127.0.0.1:3001:3000'],
      ['demo', '127.0.0.1:8081:8081'],
    ]);
  });

  it('waits only for services that say when they are well', () => {
    for (const [name, { condition }] of all.flatMap(([, { depends_on = {} }]) => Object.entries(depends_on))) {
      expect([condition, services[name]?.healthcheck !== undefined]).toEqual(['service_healthy', true]);
    }
  });

  it('holds no secret but the password of a database that only the shop reaches', () => {
    const secrets = all
      .flatMap(([, { environment = {} }]) => Object.entries(environment))
      .filter(([name]) => /PASSW|SECRET|TOKEN/.test(name));
    expect(secrets).toEqual([['POSTGRES_PASSWORD', 'shop']]);
    expect(all.flatMap((pair) => Object.keys(pair[1])).filter((key) => ['env_file', 'secrets', 'privileged'].includes(key))).toEqual([]);
  });

  it('says in its first lines which variables it takes', () => {
    const head = text.slice(0, text.indexOf('services:'));
    const taken = new Set(Array.from(text.matchAll(/\$\{(\w+):-/g), ([, name]) => name));
    expect([...taken].filter((name) => !head.includes(name ?? ''))).toEqual([]);
    expect(Array.from(text.matchAll(/\$\{(?!\w+:-)/g))).toEqual([]);
  });

  it('gives the replicas only variables that they know', () => {
    const config = read('examples/ticket-shop/src/server/config.ts');
    const page = read('examples/ticket-shop/README.md');
    for (const name of Object.keys(app.environment ?? {})) {
      expect(config).toContain(`'${name}'`);
      expect(page).toContain(`\`${name}\``);
    }
  });

  it('has Prometheus look where the replicas serve their metrics, which is not where the load balancer sends anybody', () => {
    const { scrape_configs: jobs } = parse(read('observability/prometheus.yml')) as {
      scrape_configs: { dns_sd_configs: { names: string[]; type: string; port: number }[] }[];
    };
    const found = jobs.flatMap(({ dns_sd_configs: names }) => names).map(({ names, type, port }) => ({ names, type, port }));
    const metricsPort = app.environment?.['METRICS_PORT'];
    expect(found).toEqual([{ names: ['app'], type: 'A', port: Number(metricsPort) }]);
    const nginx = read('examples/ticket-shop/nginx.conf');
    const upstreams = Array.from(nginx.matchAll(/^\s*server app:(\d+)/gm), ([, port]) => port);
    expect(upstreams).toEqual(['3000']);
    expect(nginx).not.toContain(String(metricsPort));
    expect(read('examples/ticket-shop/Dockerfile')).toContain(`PORT=${upstreams[0]}`);
    expect(app.expose).toEqual([upstreams[0], metricsPort]);
  });

  it('has Grafana find its data and its dashboard, and let nobody change them', () => {
    const grafana = services['grafana'];
    const { datasources } = parse(read('observability/grafana/provisioning/datasources/prometheus.yml')) as {
      datasources: { uid: string; url: string; editable: boolean }[];
    };
    const { providers } = parse(read('observability/grafana/provisioning/dashboards/oneflight.yml')) as {
      providers: { allowUiUpdates: boolean; options: { path: string } }[];
    };
    expect(datasources).toMatchObject([{ url: 'http://prometheus:9090', editable: false }]);
    expect(providers).toMatchObject([{ allowUiUpdates: false }]);
    const folder = providers[0]?.options.path ?? '';
    expect(grafana?.volumes).toContain(`./dashboards:${folder}:ro`);
    expect(grafana?.environment?.['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']).toBe(`${folder}/oneflight.json`);
    expect(existsSync(join(root, 'dashboards/oneflight.json'))).toBe(true);
  });

  it('builds the shop and the demo from stages that are there, and publishes the port that the demo listens at', () => {
    const stages = Array.from(read('examples/ticket-shop/Dockerfile').matchAll(/^FROM \S+ AS (\S+)$/gm), ([, stage]) => stage);
    expect(stages.at(-1)).toBe('shop');
    expect(stages).toContain(services['demo']?.build?.target);
    expect(read('examples/ticket-shop/Dockerfile')).toContain('"--host", "0.0.0.0", "--port", "8081"');
  });

  it('has k6 run a script that is there, against the load balancer', () => {
    const { volumes = [], command = [], environment = {} } = services['k6'] ?? {};
    const [source = '', target = ''] = volumes[0]?.split(':') ?? [];
    const script = command.at(-1) ?? '';
    expect(script.startsWith(`${target}/`)).toBe(true);
    const code = read(join(source, script.slice(target.length)));
    expect(environment['SHOP_URL']).toBe('http://load-balancer');
    for (const name of Object.keys(environment)) expect(code).toContain(`__ENV['${name}']`);
  });
});

const compose = composeCommand();

describe.skipIf(compose === undefined)(`docker compose${compose === undefined ? ' (skipped: not on the PATH)' : ''}`, () => {
  it('finds nothing wrong with it', () => {
    const [program = '', ...args] = compose ?? [];
    const said = execFileSync(program, [...args, '--profile', 'load', '--profile', 'demo', 'config', '--quiet'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(said).toBe('');
  });
});

/** The command that there is: the plugin of today's docker, or the program of before. */
function composeCommand(): readonly string[] | undefined {
  return [['docker', 'compose'], ['docker-compose']].find(([program = '', ...args]) => {
    try {
      execFileSync(program, [...args, 'version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}
