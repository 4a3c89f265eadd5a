import type { Report, ReportedFlight } from './report.js';

/** One look in words, in so many lines at most: what does not fit is counted. Without a limit 50 flights and replicas are listed. */
export function screenOf(report: Report, address: string, rows: number): readonly string[] {
  const { flights, replicas } = report;
  const head = headOf(report, address);
  const left = Math.max(0, rows - head.length);
  // A table takes an empty line, its headings, and one line for what is left out.
  const replicasMax = rows === Number.POSITIVE_INFINITY ? LISTED_MAX : Math.max(1, Math.floor(left / 3) - 3);
  const replicaRows = Math.min(replicas.length, replicasMax);
  const replicaLines = replicas.length === 0 ? 0 : 2 + replicaRows + (replicaRows < replicas.length ? 1 : 0);
  const flightsMax = rows === Number.POSITIVE_INFINITY ? LISTED_MAX : Math.max(1, left - replicaLines - 2);
  const flightRows = flights.length <= flightsMax ? flights.length : Math.max(1, flightsMax - 1);
  const [hiddenFlights, hiddenReplicas] = [flights.length - flightRows, replicas.length - replicaRows];
  return [
    ...head,
    ...table(HEADINGS, flights.slice(0, flightRows).map(cellsOf)),
    ...(hiddenFlights > 0 ? [`… and ${hiddenFlights} more, younger ones`] : []),
    ...table(
      ['REPLICA', 'LEADS', 'FOLLOWS'],
      replicas.slice(0, replicaRows).map(({ replica, leads, follows }) => [short(replica), `${leads}`, `${follows}`]),
    ),
    ...(hiddenReplicas > 0 ? [`… and ${hiddenReplicas} more`] : []),
  ].slice(0, rows);
}

const LISTED_MAX = 50;

function headOf({ prefix, at, flights, replicas, servers, perSecond, keys, isComplete }: Report, address: string): string[] {
  const rates = perSecond === null ? '' : `   at least ${perSecond.started} started and ${perSecond.settled} settled per second`;
  return [
    `oneflight top   ${address}   prefix ${prefix}   ${at}`,
    ...servers.map(
      (server) =>
        `Redis ${server.version} at ${server.address}   ${count(server.clients, 'client', 'clients')}   ${server.usedMemory}   ${server.commandsPerSecond} commands/s   ${server.evictedKeys} evicted (${server.maxmemoryPolicy})`,
    ),
    '',
    `${count(flights.length, 'flight', 'flights')} in progress   ${count(replicas.length, 'replica', 'replicas')} in them${rates}`,
    `keys: ${Object.entries(keys)
      .map(([kind, number]) => `${number} ${kind}`)
      .join(', ')}`,
    ...(isComplete ? [] : ['There are more keys on this server than one look goes through: flights may be missing here.']),
  ];
}

const HEADINGS = ['KEY', 'LEADER', 'FOLLOWERS', 'AGE', 'LEASE LEFT', 'NOTE'];

function cellsOf(flight: ReportedFlight): string[] {
  const { key, leader, followers, ageMs, leaseLeftMs } = flight;
  return [
    key.slice(0, 16),
    leader === null ? '-' : short(leader),
    String(followers.length),
    duration(ageMs),
    duration(leaseLeftMs),
    noteOf(flight),
  ];
}

function noteOf({ leader, isLeaderThere, failedAttempts }: ReportedFlight): string {
  const notes = [];
  if (leader === null) notes.push('nobody leads: a follower takes over');
  if (isLeaderThere === false) notes.push('its process is gone');
  if (failedAttempts > 0) notes.push(`failed ${count(failedAttempts, 'time', 'times')} before`);
  return notes.join(', ');
}

/** An inbox is named prefix:v1:i: and 22 random characters. */
function short(inbox: string): string {
  return inbox.slice(inbox.lastIndexOf(':') + 1).slice(0, 8);
}

function duration(ms: number | null): string {
  return ms === null ? '-' : `${(ms / 1_000).toFixed(1)} s`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const lines = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const padded = lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  return ['', ...padded.map((line) => line.trimEnd())];
}
