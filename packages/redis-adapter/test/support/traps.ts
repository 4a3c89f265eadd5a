import type { RespCommand, RespProxy, Verdict } from '@oneflight/testkit';
import { claim, invalidate, release, renew, settle } from '../../src/scripts/generated.js';

const SCRIPTS = { claim, renew, settle, release, invalidate };

export type ScriptName = keyof typeof SCRIPTS;
export const SCRIPT_NAMES = ['claim', 'renew', 'settle', 'release', 'invalidate'] as const satisfies readonly ScriptName[];

/** Which script a command runs, if any. */
export function scriptOf({ name, args }: RespCommand): ScriptName | undefined {
  if (name !== 'EVALSHA' && name !== 'EVAL') return undefined;
  const what = args[0]?.toString();
  return SCRIPT_NAMES.find((script) => SCRIPTS[script].sha1 === what || SCRIPTS[script].lua === what);
}

/** An error, such as NOSCRIPT: the script was not run. */
export function isRefusal(reply: Buffer | undefined): boolean {
  return reply?.[0] === '-'.charCodeAt(0);
}

/** Springs once, on the next command or reply of a script, and resolves then. */
export function trap(proxy: RespProxy, at: 'command' | 'reply', script: ScriptName, verdict: Verdict): Promise<void> {
  return new Promise((resolve) => {
    let sprung = false;
    const spring = (command: RespCommand, reply?: Buffer): Verdict => {
      if (sprung || scriptOf(command) !== script || isRefusal(reply)) return 'pass';
      sprung = true;
      resolve();
      return verdict;
    };
    proxy.rules = { [at]: spring };
  });
}
