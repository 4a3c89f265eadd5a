/** What a command may be given. */
export type Argument = string | number | Buffer;

/** The bytes of a command: one character for each, and what is long as it is. */
export type Wire = string | readonly (string | Buffer)[];

/** A command as Redis reads it (RESP): how many parts, then each with its length. */
export function encodeCommand(name: string, args: readonly Argument[]): Wire {
  let text = partsOf(1 + args.length) + encodePart(name);
  if (!args.some(isLong)) {
    for (const argument of args) text += encodePart(argument);
    return text;
  }
  const pieces: (string | Buffer)[] = [];
  for (const argument of args) {
    if (!isLong(argument)) {
      text += encodePart(argument);
      continue;
    }
    pieces.push(`${text}$${argument.length}\r\n`, argument);
    text = '\r\n';
  }
  return [...pieces, text];
}

/** The line before the parts of a command. */
export function partsOf(count: number): string {
  return `*${count}\r\n`;
}

/** One part, which is not long. */
export function encodePart(argument: Argument): string {
  const bytes = inBytes(argument);
  return `$${bytes.length}\r\n${bytes}\r\n`;
}

/** Each byte as one character: nearly all that we send is ASCII, and then it is the text itself. */
function inBytes(argument: Argument): string {
  if (typeof argument === 'number') return String(argument);
  if (typeof argument !== 'string') return argument.toString('latin1');
  return Buffer.byteLength(argument) === argument.length ? argument : Buffer.from(argument).toString('latin1');
}

/** Too long to be copied as text. */
function isLong(argument: Argument): argument is Buffer {
  return typeof argument === 'object' && argument.length > LONG_BYTES;
}

const LONG_BYTES = 16_384;
