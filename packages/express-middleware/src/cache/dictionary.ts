/** What a member of a dictionary may be; what has no use here is only recognised. */
export type DictionaryItem = number | boolean | string | null;

/**
 * A structured field that is a dictionary (RFC 9651 section 4.2.2), without the parameters of its members. Undefined for one
 * that is not: a field that fails to parse is ignored as a whole.
 */
export function parseDictionary(value: string): ReadonlyMap<string, DictionaryItem> | undefined {
  const input: Input = { text: value.replace(/^ +/, '').replace(/ +$/, ''), at: 0 };
  const found = new Map<string, DictionaryItem>();
  try {
    while (input.at < input.text.length) {
      const name = take(input, KEY);
      const item = accept(input, '=') ? itemOrList(input) : true;
      parameters(input);
      found.delete(name); // the last one counts, and where it stands
      found.set(name, item);
      take(input, SPACES);
      if (input.at === input.text.length) return found;
      take(input, COMMA);
      if (input.at === input.text.length) return undefined;
    }
    return found;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

class Malformed extends Error {}

interface Input {
  readonly text: string;
  at: number;
}

const KEY = /[a-z*][a-z0-9_.*-]*/y;
const SPACES = /[ \t]*/y;
const COMMA = /,[ \t]*/y;
const NUMBER = /-?(?:\d{1,12}\.\d{1,3}|\d{1,15})(?![\d.])/y;
const STRING = /"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/y;
const TOKEN = /[A-Za-z*][!#$%&'*+.^_`|~\w:/-]*/y;
const BYTES = /:[A-Za-z0-9+/=]*:/y;
const FLAG = /\?[01]/y;
const DATE = /@-?\d{1,15}/y;
const TEXT = /%"(?:[\x20-\x21\x23-\x24\x26-\x7e]|%[0-9a-f]{2})*"/y;

function itemOrList(input: Input): DictionaryItem {
  if (!accept(input, '(')) return bareItem(input);
  for (;;) {
    take(input, / */y);
    if (accept(input, ')')) return null;
    bareItem(input);
    parameters(input);
    if (!/[ )]/.test(input.text.charAt(input.at))) throw new Malformed();
  }
}

function bareItem(input: Input): DictionaryItem {
  const number = attempt(input, NUMBER);
  if (number !== undefined) return Number(number);
  const flag = attempt(input, FLAG);
  if (flag !== undefined) return flag === '?1';
  for (const form of [STRING, TOKEN, BYTES, DATE, TEXT]) {
    const text = attempt(input, form);
    if (text !== undefined) return text;
  }
  throw new Malformed();
}

function parameters(input: Input): void {
  while (accept(input, ';')) {
    take(input, / */y);
    take(input, KEY);
    if (accept(input, '=')) bareItem(input);
  }
}

function accept(input: Input, character: string): boolean {
  if (input.text.charAt(input.at) !== character) return false;
  input.at++;
  return true;
}

function take(input: Input, form: RegExp): string {
  const text = attempt(input, form);
  if (text === undefined) throw new Malformed();
  return text;
}

function attempt(input: Input, form: RegExp): string | undefined {
  form.lastIndex = input.at;
  const [text] = form.exec(input.text) ?? [];
  if (text !== undefined) input.at += text.length;
  return text;
}
