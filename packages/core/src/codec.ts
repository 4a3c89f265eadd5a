/**
 * How a value travels to other replicas. `decode(encode(value))` must look the same to a caller as `value` itself.
 *
 * `encode` throws for what cannot travel; callers beside the leader then still get the value, and the other replicas
 * load for themselves. `decode` gets bytes that may come from an enemy: it returns plain data or throws, and runs nothing.
 */
export interface Codec<T = unknown> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}
