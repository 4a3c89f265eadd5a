import { HELP, parseArguments } from './arguments.js';
import { runDemo } from './demo.js';
import { toJson } from './report.js';
import { createTeardown } from './teardown.js';
import type { DemoOptions } from './arguments.js';

const teardown = createTeardown((text) => console.error(text));
const parsed = parseArguments(process.argv.slice(2));

switch (parsed.kind) {
  case 'help':
    console.log(HELP);
    break;
  case 'wrong':
    console.error(`${parsed.message}\n\n${HELP}`);
    process.exitCode = 2;
    break;
  case 'run':
    await run(parsed.options);
    break;
}

async function run(options: DemoOptions): Promise<void> {
  let serving = false;
  const ended = new Promise<number>((resolve) => {
    process.on('SIGINT', () => resolve(serving ? 0 : 130)); // Ctrl-C is the way to leave the live page
    process.on('SIGTERM', () => resolve(143));
    process.on('SIGHUP', () => resolve(129));
    process.on('uncaughtException', (error) => (console.error(error), resolve(1)));
    process.on('unhandledRejection', (error) => (console.error(error), resolve(1)));
  });
  let isOver = false;
  void ended.then(() => (isOver = true));
  const shown = show(options, () => isOver).then((code) => {
    serving = code === undefined;
    return code ?? ended;
  });
  const code = await Promise.race([ended, shown]);
  await teardown.run();
  process.exit(code);
}

/** The exit code; undefined when the demo goes on serving. */
async function show(options: DemoOptions, isOver: () => boolean): Promise<number | undefined> {
  const say = (text: string) => (options.json ? console.error(text) : console.log(text));
  try {
    const { comparison, serve } = await runDemo({ options, teardown, say });
    if (options.json) console.log(toJson(comparison));
    if (options.once) return comparison.without.failures + comparison.with.failures > 0 ? 1 : 0;
    const { pageUrl, shopUrl } = await serve();
    say(`The live page is at ${pageUrl}\nThe shop is at ${shopUrl}\nCtrl-C stops everything.`);
    return undefined;
  } catch (error) {
    // Whatever was under way fails when everything is being stopped.
    if (!isOver()) console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}
