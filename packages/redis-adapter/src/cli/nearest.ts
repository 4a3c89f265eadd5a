/** The one of `known` that is at most two typing errors away, and the nearest of them. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  const distances = known.map((name) => ({ name, distance: distance(given, name) }));
  const [best] = distances.filter((candidate) => candidate.distance <= 2).sort((a, b) => a.distance - b.distance);
  return best?.name;
}

/** How many letters must be put in, taken out or replaced (Levenshtein), row by row. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [index, letter] of Array.from(from.slice(0, LENGTH_MAX)).entries()) {
    const next = [index + 1];
    for (const [at, other] of Array.from(to).entries()) {
      const replaced = (row[at] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[at + 1] ?? 0) + 1, (next[at] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

const LENGTH_MAX = 64;
