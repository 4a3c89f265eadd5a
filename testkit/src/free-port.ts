import { once } from 'node:events';
import { createServer } from 'node:net';

/** A Redis Cluster node also listens on its port plus 10,000, which must be a port too. */
const PORT_MAX = 55_535;

/** Finds a port of 127.0.0.1 that nobody listens on now. Somebody may before you do: be ready to ask again. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : PORT_MAX + 1;
  // Closed only after the next try, so that the same port does not come back.
  const found = port <= PORT_MAX ? port : await freePort();
  server.close();
  return found;
}
