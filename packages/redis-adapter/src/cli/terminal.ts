/** Where the output goes; a terminal is redrawn, anything else gets one look after the other. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly rows?: number;
  readonly columns?: number;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** How much fits. */
export interface Size {
  readonly rows: number;
  readonly columns: number;
}

/** A frame for a size. */
export type Draw = (size: Size) => readonly string[];

/**
 * A terminal on which one frame replaces the other, without flicker: each line is written over the one before and only
 * what is left of that is erased. It has a screen of its own meanwhile; afterwards the user's is back as it was, with the
 * last frame below it.
 */
export class Terminal {
  readonly #output: Output;
  #draw: Draw | undefined;
  #isOpen = false;
  readonly #redraw = (): void => {
    if (this.#isOpen && this.#draw !== undefined) this.#write(this.#draw);
  };

  constructor(output: Output) {
    this.#output = output;
  }

  draw(draw: Draw): void {
    this.#draw = draw;
    this.open();
    this.#redraw();
  }

  /** Takes the screen, also again after `leave`. */
  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#output.on?.('resize', this.#redraw);
    this.#output.write(`${OWN_SCREEN}${HIDE_CURSOR}`);
    this.#redraw();
  }

  /** Gives the screen back, for as long as the program is stopped. */
  leave(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#output.off?.('resize', this.#redraw);
    this.#output.write(`${SHOW_CURSOR}${USERS_SCREEN}`);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.leave();
    const last = this.#draw?.({ ...sizeOf(this.#output), rows: Number.POSITIVE_INFINITY }) ?? [];
    if (last.length > 0) this.#output.write(`${last.join('\n')}\n`);
  }

  #write(draw: Draw): void {
    const size = sizeOf(this.#output);
    const lines = draw(size).slice(0, size.rows);
    // A line feed in the last row would scroll the first one away.
    const below = lines.length < size.rows ? `\n${ERASE_BELOW}` : '';
    this.#output.write(`${HOME}${lines.map((line) => fitted(line, size.columns)).join('\n')}${below}`);
  }
}

/** Whether frames can be drawn over each other there. */
export function isScreen(output: Output, env: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && env['TERM'] !== 'dumb';
}

/** A terminal of no size, as some have before they are told, is taken for one of the usual size. */
function sizeOf({ rows, columns }: Output): Size {
  return { rows: rows || 24, columns: columns || 80 };
}

/** The line, and nothing of an older one behind it. Behind a line that fills its row the cursor still stands on its last character. */
function fitted(line: string, columns: number): string {
  if (line.length < columns) return `${line}${ERASE_LINE}`;
  return line.length === columns ? line : `${line.slice(0, Math.max(0, columns - 1))}…`;
}

const ESC = '\u001B[';
const OWN_SCREEN = `${ESC}?1049h`;
const USERS_SCREEN = `${ESC}?1049l`;
const HIDE_CURSOR = `${ESC}?25l`;
const SHOW_CURSOR = `${ESC}?25h`;
const HOME = `${ESC}H`;
const ERASE_LINE = `${ESC}K`;
const ERASE_BELOW = `${ESC}J`;
