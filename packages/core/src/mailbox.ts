/** Mail for a reader who may be away: what is posted meanwhile is kept. Read in order, and one after the other. */
export class Mailbox<M> {
  #kept: M[] | undefined;
  #reader: ((mail: M) => void) | undefined;
  #isReading = false;

  /** What comes while a mail is read waits until that is done. */
  post(mail: M): void {
    if (this.#reader === undefined || this.#isReading) (this.#kept ??= []).push(mail);
    else this.#read(mail);
  }

  /** Hands over what was kept, and then each mail when it comes, until the reader leaves. */
  open(reader: (mail: M) => void): void {
    this.#reader = reader;
    this.#read(this.#kept?.shift());
  }

  /** The reader leaves. */
  shut(): void {
    this.#reader = undefined;
  }

  /** Takes out what nobody read. */
  drain(): readonly M[] {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    return kept;
  }

  #read(first: M | undefined): void {
    this.#isReading = true;
    try {
      let mail = first;
      while (mail !== undefined && this.#reader !== undefined) {
        this.#reader(mail);
        mail = this.#reader === undefined ? undefined : this.#kept?.shift();
      }
    } finally {
      this.#isReading = false;
    }
  }
}
