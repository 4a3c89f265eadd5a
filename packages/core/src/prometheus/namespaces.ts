/** More names than this make `namespace` useless and the metrics expensive. */
const NAMESPACES_MAX = 50;

/** The values of the label `namespace`: collapsers' names, bounded. */
export class Namespaces {
  readonly #names = new Set<string>();

  /** The label for a collapser of this name. */
  labelOf(name: string): string {
    if (!this.#names.has(name) && this.#names.size >= NAMESPACES_MAX) return 'other';
    this.#names.add(name);
    return name;
  }
}
