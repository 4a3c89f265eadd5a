import type { ReplicaView } from '../src/demo/replicas.js';
import type { Status } from '../src/demo/status.js';
import { createCharts } from './charts.js';
import { byId, setAttribute, setText } from './dom.js';
import { render } from './render.js';
import { burstSaid } from './words.js';

const draw = createCharts();
let status: Status | undefined;

const events = new EventSource('/demo/events');
events.addEventListener('open', () => showState('live', 'Live'));
events.addEventListener('error', () => showState('ended', 'No answer from the demo'));
events.addEventListener('message', ({ data }: MessageEvent<string>) => {
  const next: unknown = JSON.parse(data);
  if (isStatus(next)) update(next);
});

byId('collapse').addEventListener('click', () => {
  const mode = status?.collapse === 'off' ? 'cluster' : 'off';
  order(`collapse?mode=${mode}`, mode === 'off' ? 'Collapsing is off: each request queries the database.' : 'Collapsing is on.');
});
byId('visitors').addEventListener('click', () => {
  const on = status?.visitors.on !== true;
  order(`visitors?on=${on}`, on ? 'Visitors come.' : 'Visitors leave.');
});
byId('burst').addEventListener('click', () => {
  if (status?.bursting === false) order('burst', 'Burst fired.');
});
byId('kill').addEventListener('click', () => order('kill'));

function update(next: Status): void {
  tellWhatHappened(status, next);
  status = next;
  render(next, draw, (replica) => order(`kill?replica=${replica}`));
}

function tellWhatHappened(before: Status | undefined, now: Status): void {
  if (before === undefined) return;
  if (now.lastBurst !== null && now.lastBurst.number !== before.lastBurst?.number) say(burstSaid(now.lastBurst));
  for (const replica of now.replicas) {
    const was = before.replicas.find(({ number }) => number === replica.number);
    const news = was === undefined || was.state === replica.state ? undefined : newsOf(replica, was);
    if (news !== undefined) say(news);
  }
}

function newsOf({ number, state }: ReplicaView, was: ReplicaView): string | undefined {
  if (state === 'gone') return `Replica ${number} is gone: process ${was.pid ?? ''} got SIGKILL.`;
  if (state === 'running') return `Replica ${number} is back.`;
  return undefined;
}

/** Sends an order; `said` is shown once it was obeyed. What else follows from it comes with the next status. */
function order(what: string, said?: string): void {
  send(what)
    .then((refused) => (refused === undefined ? said !== undefined && say(said) : say(`Not now: ${refused}`)))
    .catch(() => say('The demo does not answer.'));
}

async function send(what: string): Promise<string | undefined> {
  const response = await fetch(`/demo/${what}`, { method: 'POST' });
  if (response.ok) return undefined;
  const answer: unknown = await response.json();
  const error = typeof answer === 'object' && answer !== null && 'error' in answer ? String(answer.error) : String(response.status);
  return error.replaceAll('_', ' ');
}

function isStatus(value: unknown): value is Status {
  return typeof value === 'object' && value !== null && 'seconds' in value && 'replicas' in value;
}

function say(text: string): void {
  setText(byId('said'), text);
}

function showState(state: string, text: string): void {
  setAttribute(byId('state'), 'data-state', state);
  setText(byId('state'), text);
}
