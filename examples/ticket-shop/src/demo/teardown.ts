/** What must be stopped again, in reverse order of starting. */
export interface Teardown {
  /** From the beginning of `run` on. */
  isRunning(): boolean;
  /** To be called as soon as there is something to stop, not when it is ready. */
  defer(name: string, stop: () => unknown): void;
  /** Stops everything, once; a failure is reported and does not keep the rest from being stopped. */
  run(): Promise<void>;
}

export function createTeardown(report: (text: string) => void): Teardown {
  const steps: { name: string; stop: () => unknown }[] = [];
  let running: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      try {
        await step.stop();
      } catch (error) {
        report(`could not stop ${step.name}: ${String(error)}`);
      }
    }
  }

  return {
    isRunning: () => running !== undefined,
    defer: (name, stop) => void steps.push({ name, stop }),
    run: () => (running ??= stopAll()),
  };
}
