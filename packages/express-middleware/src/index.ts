export { collapse } from './collapse.js';
export type { CollapseOptions } from './options.js';
