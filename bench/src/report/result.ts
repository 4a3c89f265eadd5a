/** A number to show, or what stands in its place. */
export type Cell = string | number | undefined;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** What to know about it. */
  readonly note?: string;
}

export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly isOurs?: boolean;
}

export interface Chart {
  /** Also its file's name: lower-case words with hyphens. */
  readonly id: string;
  readonly title: string;
  /** What the numbers are, and which way is better. */
  readonly unit: string;
  readonly bars: readonly Bar[];
}

/** One line of what was aimed at: what came out, and whether that is enough. */
export interface Target {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
}

/** What a scenario found. Everything in it can be written as JSON. */
export interface Result {
  readonly title: string;
  /** How it was measured: one paragraph. */
  readonly how: string;
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly targets: readonly Target[];
}
