export { freePort } from './free-port.js';
export type { PostgresServer } from './postgres-server.js';
export { startPostgres } from './postgres-server.js';
export type { RedisOptions, TestServer } from './redis-server.js';
export { startRedis } from './redis-server.js';
export type { Direction, ProxyConnection, TcpProxy } from './tcp-proxy.js';
export { startProxy } from './tcp-proxy.js';
export { waitFor } from './wait-for.js';
