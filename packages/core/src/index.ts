export type { Clock, Timer } from './clock.js';
export { systemClock } from './clock.js';
export type { Codec } from './codec.js';
export type {
  CircuitState,
  CacheRead,
  CacheWrite,
  Claim,
  ClaimRequest,
  Coordinator,
  CoordinatorLink,
  CoordinatorTimings,
  CopyRead,
  CopyStats,
  FlightId,
  HolderRequest,
  KeyHash,
  Message,
  Outcome,
  PeekRequest,
  RejectReason,
  ReleaseRequest,
  Renewal,
  Replica,
  Settlement,
  SettleRequest,
  StoredLifetimes,
  StoredOutcome,
  TagHash,
  TagIndex,
} from './coordinator.js';
export type { CoordinatorFailure, MisuseCode } from './errors.js';
export {
  ClosedError,
  CoordinatorError,
  describe,
  LoadTimeoutError,
  misuse,
  OneflightError,
  PayloadError,
  ReentrantFlightError,
  RemoteLoadError,
  WaitTimeoutError,
} from './errors.js';
export type { OptionCheck } from './check-options.js';
export { checkOptions, milliseconds, objectWith, oneOf, wholeNumber } from './check-options.js';
export type { CloseOptions, Collapser, WrapOptions } from './collapser.js';
export { createCollapser } from './collapser.js';
export type { Key, KeyPart } from './key.js';
export type { CollapserOptions, Lifetimes, Limits, LoadContext, Loader, PeekOptions, RunOptions, StoredValue } from './options.js';
export type { CollapserStats, Totals } from './stats.js';
export type { BatchContext, Batch, BatchLoader } from './batch.js';
export type { RunManyOptions } from './run-many.js';
export type { WarmEntry, WarmOptions, WarmProgress, WarmReport } from './warm.js';
export type { WatchOptions } from './watch.js';
export type { CallOutcome, FlightResult, Source } from './waiters.js';
export type { BypassReason, CollapserEvent, EventListener, EventType, Operation, PublishedEvent } from './events.js';
export { channelName } from './events.js';
export type { OnceOptions } from './once.js';
export { isTraceparent, type Traceparent } from './traceparent.js';
