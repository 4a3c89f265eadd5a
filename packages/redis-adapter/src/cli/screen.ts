import type { Report, ReportedFlight } from './report.js';

/** One look in words. `rows` limits the flights that are listed. */
export function screenOf(report: Report, address: string, rows: number): string {
  const { flights, replicas, servers, perSecond, keys, isComplete } = report;
  const rates = perSecond === null ? '' : `   at least ${perSecond.started} started and ${perSecond.settled} settled per second`;
  const hidden = flights.length - rows;
  return [
    `oneflight top   ${address}   prefix ${report.prefix}   ${report.at}`,
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
    ...table(HEADINGS, flights.slice(0, rows).map(cellsOf)),
    ...(hidden > 0 ? [`… and ${hidden} more, younger ones`] : []),
    ...table(
      ['REPLICA', 'LEADS', 'FOLLOWS'],
      replicas.slice(0, rows).map(({ replica, leads, follows }) => [short(replica), `${leads}`, `${follows}`]),
    ),
  ].join('\n');
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
