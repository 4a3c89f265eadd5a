/** Progress for people: a headline per step, details indented below it. Goes to stdout unless told otherwise. */
export function createLog(stream = process.stdout) {
  return {
    stream,
    step: (text) => void stream.write(`\n==> ${text}\n`),
    info: (text) => void stream.write(`    ${text}\n`),
  };
}

/** How long something took, for people. */
export function elapsed(startedAt) {
  const seconds = (performance.now() - startedAt) / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
