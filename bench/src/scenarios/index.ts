import { burst } from './burst.js';
import { closedLoop } from './closed-loop.js';
import { crashRecovery } from './crash-recovery.js';
import { httpOverhead } from './http-overhead.js';
import { localJoin } from './local-join.js';
import { manyKeys } from './many-keys.js';
import type { Scenario } from './scenario.js';
import { payloadSizes, replicas } from './sizes.js';

/** In the order in which they run and are reported. */
export const SCENARIOS: ReadonlyMap<string, Scenario> = new Map([
  ['local-join', localJoin],
  ['burst', burst],
  ['many-keys', manyKeys],
  ['closed-loop', closedLoop],
  ['crash-recovery', crashRecovery],
  ['http-overhead', httpOverhead],
  ['payload-sizes', payloadSizes],
  ['replicas', replicas],
]);
