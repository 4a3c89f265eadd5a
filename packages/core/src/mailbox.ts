/** Mail for a reader who may be away: what is posted meanwhile is kept. Read in order, and one after the other. */
export class Mailbox<M> {
  readonly #kept: M[] = [];
  #reader: ((mail: M) => void) | undefined;
  #isReading = false;

  post(mail: M): void {
    this.#kept.push(mail);
    this.#read();
  }

  /** Hands over what was kept, and then each mail when it comes, until the reader leaves. */
  open(reader: (mail: M) => void): void {
    this.#reader = reader;
    this.#read();
  }

  /** The reader leaves. */
  shut(): void {
    this.#reader = undefined;
  }

  /** Takes out what nobody read. */
  drain(): readonly M[] {
    return this.#kept.splice(0);
  }

  /** What is posted while a mail is read waits until that is done. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#reader !== undefined) {
        const mail = this.#kept.shift();
        if (mail === undefined) return;
        this.#reader(mail);
      }
    } finally {
      this.#isReading = false;
    }
  }
}
