// The part of redlock 4.2.0 that is used here. @types/redlock would bring the types of another ioredis along.
declare module 'redlock' {
  export default class Redlock {
    constructor(servers: readonly RedlockServer[], options?: RedlockOptions);
    acquire(resources: readonly string[], ttlMs: number): PromiseLike<{ readonly expiration: number }>;
  }

  export interface RedlockOptions {
    readonly driftFactor?: number;
    readonly retryCount?: number;
    readonly lockScript?: (script: string) => string;
    readonly unlockScript?: (script: string) => string;
    readonly extendScript?: (script: string) => string;
  }

  /** What redlock asks of a client. */
  export interface RedlockServer {
    evalsha(hash: string, args: readonly unknown[], callback: RedlockCallback): unknown;
    eval(args: readonly unknown[], callback: RedlockCallback): unknown;
  }

  export type RedlockCallback = (error: Error | null, response?: number) => void;
}
