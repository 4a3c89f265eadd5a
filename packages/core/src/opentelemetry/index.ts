export { traceCollapser, type TraceOptions } from './trace-collapser.js';
