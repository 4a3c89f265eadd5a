/**
 * What a terminal shows of what a program wrote: enough of a VT100 for programs that draw frames. Unknown sequences are an
 * error, so that nothing is drawn that this does not understand.
 */
export class TerminalScreen {
  #rows: number;
  #columns: number;
  #lines: string[][] = [];
  #row = 0;
  #column = 0;
  /** The last character went into the last column: the next one begins a new line, and no sequence moves on by itself. */
  #isAtEnd = false;
  #users: { lines: string[][]; row: number; column: number } | undefined;
  #pending = '';
  /** Lines that were scrolled away while the program drew frames: there should be none. */
  scrolled = 0;
  isCursorShown = true;

  constructor(rows: number, columns: number) {
    this.#rows = rows;
    this.#columns = columns;
    this.#lines = blank(rows);
  }

  /** Whether the program has a screen of its own. */
  get isOwn(): boolean {
    return this.#users !== undefined;
  }

  get text(): string[] {
    return this.#lines.map((line) =>
      Array.from(line, (character) => character ?? ' ')
        .join('')
        .trimEnd(),
    );
  }

  resize(rows: number, columns: number): void {
    this.#rows = rows;
    this.#columns = columns;
    this.#lines = [...this.#lines.slice(0, rows), ...blank(Math.max(0, rows - this.#lines.length))].map((line) => line.slice(0, columns));
    this.#row = Math.min(this.#row, rows - 1);
  }

  write(chunk: string): void {
    let text = this.#pending + chunk;
    this.#pending = '';
    while (text !== '') {
      const sequence = text.startsWith(ESC) ? /^\[(\??[\d;]*)([A-Za-z])/.exec(text.slice(ESC.length)) : null;
      if (sequence !== null) {
        const [whole, argument = '', letter = ''] = sequence;
        this.#control(argument, letter);
        text = text.slice(ESC.length + whole.length);
        continue;
      }
      if (text.startsWith(ESC)) {
        if (text.length > 20) throw new Error(`a sequence that is not known: ${JSON.stringify(text.slice(0, 20))}`);
        this.#pending = text;
        return;
      }
      const character = String.fromCodePoint(text.codePointAt(0) ?? 0);
      this.#put(character);
      text = text.slice(character.length);
    }
  }

  #put(character: string): void {
    if (character === '\r') this.#column = 0;
    else if (character === '\n') this.#lineFeed();
    else {
      if (this.#isAtEnd) {
        this.#column = 0;
        this.#lineFeed();
      }
      this.#current()[this.#column] = character;
      if (this.#column === this.#columns - 1) this.#isAtEnd = true;
      else this.#column += 1;
      return;
    }
    this.#isAtEnd = false;
  }

  #lineFeed(): void {
    this.#isAtEnd = false;
    if (this.#row < this.#rows - 1) {
      this.#row += 1;
      return;
    }
    this.#lines.shift();
    this.#lines.push([]);
    if (this.isOwn) this.scrolled += 1;
  }

  #control(argument: string, letter: string): void {
    switch (argument + letter) {
      case 'H':
        [this.#row, this.#column, this.#isAtEnd] = [0, 0, false];
        return;
      case 'K':
        this.#current().length = Math.min(this.#current().length, this.#column);
        return;
      case 'J':
        this.#current().length = Math.min(this.#current().length, this.#column);
        for (let row = this.#row + 1; row < this.#rows; row++) this.#lines[row] = [];
        return;
      case '?25l':
      case '?25h':
        this.isCursorShown = letter === 'h';
        return;
      case '?1049h':
        this.#users = { lines: this.#lines, row: this.#row, column: this.#column };
        this.#lines = blank(this.#rows);
        return;
      case '?1049l':
        if (this.#users !== undefined) ({ lines: this.#lines, row: this.#row, column: this.#column } = this.#users);
        this.#users = undefined;
        return;
      default:
        throw new Error(`a sequence that is not known: ${argument}${letter}`);
    }
  }

  #current(): string[] {
    return (this.#lines[this.#row] ??= []);
  }
}

function blank(rows: number): string[][] {
  return Array.from({ length: rows }, () => []);
}

const ESC = '\u001B';
