import type { Result } from '../report/result.js';
import type { SystemId } from '../systems/index.js';

export interface Run {
  /** Few rounds: enough to see that it works, not to quote. */
  readonly quick: boolean;
  /** Only these systems, where the user named some. */
  readonly systems: readonly SystemId[] | undefined;
  /** Tells whoever watches what goes on. */
  readonly say: (text: string) => void;
}

export interface Scenario {
  /** One line for `--help`. */
  readonly what: string;
  run(run: Run): Promise<Result>;
}
