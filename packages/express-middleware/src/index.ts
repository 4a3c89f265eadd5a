export type { CollapseHandler } from './collapse.js';
export { collapse } from './collapse.js';
export type { CapturedHead, CollapseLimits, CollapseOptions, CollapsibleMethod } from './options.js';
export type { CollapseStats, HttpBypassReason, HttpEvent, LeftWhile, UnservedReason } from './tally.js';
export type { UnshareableReason } from './shareable.js';
