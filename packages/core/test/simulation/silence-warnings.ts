/** Warnings are of no interest in a simulation, and thousands of runs would print them. */
export function silenceWarnings(): () => void {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  return () => {
    process.emitWarning = emitWarning;
  };
}
