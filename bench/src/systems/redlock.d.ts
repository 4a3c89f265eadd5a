// The part of redlock 4.2.0 that is used here. @types/redlock would bring the types of another ioredis along.
declare module 'redlock' {
  export interface Lock {
    unlock(): Promise<void>;
  }
  class Redlock {
    constructor(clients: readonly unknown[], options: { readonly retryCount: number });
    acquire(resources: readonly string[], ttlMs: number): Promise<Lock>;
  }
  export default Redlock;
}
