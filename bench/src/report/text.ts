import type { Result, Table } from './result.js';
import { written } from './words.js';

/** A result for the terminal. */
export function asText({ how, tables, targets }: Result): string {
  const verdicts = targets.map(
    ({ what, target, measured, met }) => `${met ? '  met   ' : '  MISSED'} ${what}: ${measured} (target ${target})`,
  );
  return [how, ...tables.map(tableText), ...(verdicts.length > 0 ? [verdicts.join('\n')] : [])].join('\n\n');
}

function tableText({ title, columns, rows, note }: Table): string {
  const lines = [columns, ...rows.map((row) => row.map(written))];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  const text = lines.map((line) =>
    line.map((cell, index) => (index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0))).join('  '),
  );
  return [...(title === '' ? [] : [title]), ...text, ...(note === undefined ? [] : [note])].join('\n');
}
