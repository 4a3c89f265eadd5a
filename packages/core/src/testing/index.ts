export {
  coordinatorContract,
  type ContractClause,
  type ContractIt,
  type ContractRunner,
  type ContractServer,
  type ContractSubject,
  type ContractTimings,
} from './coordinator-contract.js';
export type { ContractExpect } from './contract/stage.js';
export { endedCalls } from './ended-calls.js';
export { ManualClock } from './manual-clock.js';
export { memoryCodec } from './memory-codec.js';
export { memoryHub, type MemoryCoordinator, type MemoryHub, type MemoryHubOptions } from './memory-hub.js';
export type { Operation } from './memory-server.js';
export type { StoredKey } from './memory-store.js';
export { promptNetwork, SERVER, type Leg, type Network, type OperationName } from './network.js';
