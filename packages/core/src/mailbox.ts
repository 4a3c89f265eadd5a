/** An unbounded wait for one of several things: what is posted while nobody waits is kept, in order. */
export class Mailbox<M> {
  readonly #kept: M[] = [];
  #waiting: ((mail: M) => void) | undefined;

  post(mail: M): void {
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#kept.push(mail);
      return;
    }
    this.#waiting = undefined;
    waiting(mail);
  }

  /** The oldest mail, now or when it comes. One reader at a time. */
  next(): Promise<M> {
    const [oldest] = this.#kept.splice(0, 1);
    if (oldest !== undefined) return Promise.resolve(oldest);
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  /** Takes out what nobody read. */
  drain(): readonly M[] {
    return this.#kept.splice(0);
  }
}
