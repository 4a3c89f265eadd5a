import { once } from 'node:events';
import { APPS } from './apps.js';

/*
 * A process with all the apps, each on a port of its own. Tells the ports, then its CPU time in milliseconds whenever it
 * is asked.
 */
const ports: number[] = [];
for (const app of Object.values(APPS)) {
  const server = app().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address !== null && typeof address === 'object') ports.push(address.port);
}
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ cpuMs: (user + system) / 1_000 });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ports });
