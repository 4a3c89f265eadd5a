export type { BreakerOptions } from './breaker-options.js';
export type { NearOptions } from './near-options.js';
export { defaultCodec } from './codec.js';
export type { RedisCoordinatorOptions, RedisLike } from './options.js';
export { redisCoordinator } from './redis-coordinator.js';
export type { QuorumCoordinatorOptions } from './quorum-coordinator.js';
export { quorumCoordinator } from './quorum-coordinator.js';
