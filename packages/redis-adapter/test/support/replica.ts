import type { Coordinator, CoordinatorLink, Message } from '@oneflight/core';

/** A replica that writes down what it hears. */
export interface TestReplica {
  readonly link: CoordinatorLink;
  readonly heard: Message[];
  /** The n-th id of this replica. */
  readonly id: (sequence: number) => string;
  /** Resolves with the first message of a kind, also when it came before. */
  readonly hear: <K extends Message['kind']>(kind: K) => Promise<Extract<Message, { kind: K }>>;
}

export function joinReplica(coordinator: Coordinator, namespace = 'test'): TestReplica {
  const heard: Message[] = [];
  let changed: () => void = () => {};
  const link = coordinator.connect({
    namespace,
    receive(message) {
      heard.push(message);
      changed();
    },
  });
  async function hear<K extends Message['kind']>(kind: K): Promise<Extract<Message, { kind: K }>> {
    for (;;) {
      const found = heard.find((message): message is Extract<Message, { kind: K }> => message.kind === kind);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
  }
  return { link, heard, id: (sequence) => `${link.inbox}#${sequence}`, hear };
}

/** A first claim, or one with some of its fields changed. */
export function claimOf(key: string, id: string, changes: { min?: number; floor?: number; takeover?: boolean } = {}) {
  return { key, id, min: 0, floor: 0, takeover: false, ...changes };
}
