import type { Measurement } from '../src/demo/measure.js';
import type { ReplicaView } from '../src/demo/replicas.js';
import type { Second, Status } from '../src/demo/status.js';
import type { DrawCharts } from './charts.js';
import { byId, create, setAttribute, setRows, setText } from './dom.js';
import { counted, latencySaid, loadSaid, milliseconds, number, workSaved } from './words.js';

/** Brings the page up to date. `kill` is what the button of a replica does. */
export function render(status: Status, draw: DrawCharts, kill: (replica: number) => void): void {
  renderControls(status);
  renderMinute(status.seconds, draw);
  renderBursts(status);
  renderReplicas(status, kill);
}

function renderControls({ collapse, visitors, bursting, load, busyMs, replicas }: Status): void {
  setAttribute(byId('collapse'), 'aria-checked', String(collapse !== 'off'));
  setAttribute(byId('visitors'), 'aria-checked', String(visitors.on));
  setText(byId('visitors-name'), `${number(visitors.count)} visitors`);
  setAttribute(byId('burst'), 'aria-disabled', String(bursting));
  setText(byId('burst'), bursting ? 'Burst under way' : `Fire ${counted(load.requests, 'request', 'requests')}`);
  setAttribute(byId('kill'), 'aria-disabled', String(!replicas.some(({ state }) => state === 'running')));
  setText(
    byId('scene'),
    `Everybody asks for the same seats at the same time. ${load.replicas} replicas behind a load balancer share one PostgreSQL, where each seat query is made to take ${number(busyMs)} ms: a busy database.`,
  );
}

let drawn: Second | undefined;

function renderMinute(seconds: readonly Second[], draw: DrawCharts): void {
  const last = seconds.at(-1);
  if (last?.at === drawn?.at) return;
  drawn = last;
  const sum = (value: (second: Second) => number) => seconds.reduce((total, second) => total + value(second), 0);
  const requests = sum((second) => second.requests);
  const queries = sum((second) => second.databaseQueries);
  setText(byId('saved'), workSaved(requests, queries));
  setText(byId('requests'), number(requests));
  setText(byId('queries'), number(queries));
  setText(byId('failures'), number(sum((second) => second.failures)));
  const most = Math.max(1, requests, queries);
  byId('requests-bar').style.width = `${(100 * requests) / most}%`;
  byId('queries-bar').style.width = `${(100 * queries) / most}%`;
  setText(byId('requests-now'), last === undefined ? '–' : number(last.requests));
  setText(byId('queries-now'), last === undefined ? '–' : number(last.databaseQueries));
  for (const name of ['p50', 'p95', 'p99'] as const) setText(byId(`${name}-now`), milliseconds(last?.latency?.[`${name}Ms`]));
  setAttribute(byId('load-chart'), 'aria-label', loadSaid(seconds));
  setAttribute(byId('latency-chart'), 'aria-label', latencySaid(seconds));
  setRows(byId('minute-rows'), minuteRows(seconds));
  draw(seconds);
}

function minuteRows(seconds: readonly Second[]): string[][] {
  const now = seconds.at(-1)?.at ?? 0;
  return seconds.toReversed().map(({ at, requests, databaseQueries, failures, latency }) => {
    const latencies = [latency?.p50Ms, latency?.p95Ms, latency?.p99Ms].map(milliseconds);
    return [number(now - at), number(requests), number(databaseQueries), number(failures), ...latencies];
  });
}

function renderBursts({ first, lastBurst, load }: Status): void {
  const rows = [burstRow('Without collapsing', load.requests, first.without), burstRow('With collapsing', load.requests, first.with)];
  if (lastBurst !== null) {
    const how = lastBurst.collapse === 'off' ? 'off' : 'on';
    rows.push(burstRow(`Burst ${lastBurst.number}, collapsing ${how}`, lastBurst.requests, lastBurst));
  }
  setRows(byId('burst-rows'), rows);
  const blocks = load.keys === 1 ? 'one block' : `${number(load.keys)} blocks`;
  setText(
    byId('bursts-note'),
    `All requests of a burst are sent at once, for ${blocks} of seats. The first two were fired before this page.`,
  );
}

function burstRow(name: string, requests: number, burst: Measurement): string[] {
  const latencies = [burst.p50Ms, burst.p95Ms, burst.p99Ms].map(milliseconds);
  return [name, number(requests), number(burst.databaseQueries), ...latencies, number(burst.failures)];
}

const STATES: Readonly<Record<ReplicaView['state'], string>> = { running: 'Running', starting: 'Starting', gone: 'Gone' };

interface Card {
  readonly element: HTMLElement;
  readonly state: HTMLElement;
  readonly pid: HTMLElement;
  readonly leadsName: HTMLElement;
  readonly leads: HTMLElement;
  readonly waiting: HTMLElement;
  readonly led: HTMLElement;
  readonly followed: HTMLElement;
  readonly kill: HTMLElement;
}

const cards = new Map<number, Card>();

function renderReplicas({ replicas, collapse }: Status, kill: (replica: number) => void): void {
  for (const replica of replicas) {
    const card = cards.get(replica.number) ?? createCard(replica.number, kill);
    const { state, pid, activity } = replica;
    setAttribute(card.element, 'data-state', state);
    setAttribute(card.state, 'data-state', state);
    setText(card.state, STATES[state]);
    setText(card.pid, state === 'gone' || pid === null ? '–' : String(pid));
    setText(card.leadsName, collapse === 'off' ? 'Queries under way' : 'Leads block');
    setChips(card.leads, leadsOf(replica, collapse));
    setText(card.waiting, number(activity.waiting));
    setText(card.led, number(activity.led));
    setText(card.followed, number(activity.followed));
    setAttribute(card.kill, 'aria-disabled', String(state !== 'running'));
  }
}

/** The blocks of the flights that it leads; without collapsing there are no flights, only many queries. */
function leadsOf({ state, activity }: ReplicaView, collapse: Status['collapse']): string[] {
  if (state === 'gone') return [];
  if (collapse !== 'off') return activity.loading.map(({ blockId }) => String(blockId));
  return [number(activity.loading.reduce((sum, { queries }) => sum + queries, 0))];
}

function setChips(place: HTMLElement, chips: readonly string[]): void {
  const shown = Array.from(place.children, ({ textContent }) => textContent);
  if (shown.length === chips.length && shown.every((text, index) => text === chips[index])) return;
  place.replaceChildren(...chips.map((text) => create('span', 'chip', text)));
}

function createCard(replica: number, kill: (replica: number) => void): Card {
  const dd = (className = '') => create('dd', className);
  const card = {
    element: create('li', 'panel replica'),
    state: create('p', 'state'),
    pid: dd(),
    leadsName: create('dt'),
    leads: dd('leads'),
    waiting: dd(),
    led: dd(),
    followed: dd(),
    kill: create('button', '', 'Kill'),
  };
  const { element } = card;
  const term = (name: string, value: HTMLElement) => [create('dt', '', name), value];
  element.append(create('header', '', create('h3', '', `Replica ${replica}`), card.state));
  const counts = [term('Callers waiting', card.waiting), term('Flights led', card.led), term('Flights followed', card.followed)];
  element.append(create('dl', '', card.leadsName, card.leads, ...counts.flat(), ...term('Process', card.pid)));
  card.kill.setAttribute('type', 'button');
  card.kill.setAttribute('aria-label', `Kill replica ${replica}`);
  card.kill.addEventListener('click', () => kill(replica));
  element.append(card.kill);
  byId('replicas').append(element);
  cards.set(replica, card);
  return card;
}
