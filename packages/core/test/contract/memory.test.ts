import { describe, expect, it } from 'vitest';
import type { Coordinator } from '../../src/coordinator.js';
import { coordinatorContract, memoryHub, type MemoryCoordinator } from '../../src/testing/index.js';

coordinatorContract({
  name: 'the memory hub',
  runner: { describe, it, expect },
  async open(timings) {
    const hub = memoryHub(timings);
    const coordinators = new Map<Coordinator, MemoryCoordinator>();
    return {
      coordinator() {
        const coordinator = hub.coordinator();
        coordinators.set(coordinator, coordinator);
        return coordinator;
      },
      advance: (ms) => hub.clock.advance(ms),
      async crash(coordinator) {
        coordinators.get(coordinator)?.crash();
      },
      async wipe() {
        hub.wipe();
      },
      async close() {
        await hub.clock.advance(600_000);
        expect(hub.keys()).toEqual([]);
        expect(hub.clock.pending).toBe(0);
      },
    };
  },
});
