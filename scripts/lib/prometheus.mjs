import { canUseApt, findOnPath, installWithApt } from './programs.mjs';

/**
 * Finds Prometheus and promtool on the PATH, or installs both with apt-get on Debian and Ubuntu as root. Resolves with the
 * environment that tells a child process where they are. Without them it says so, and the tests that need them are skipped.
 */
export async function findPrometheus(log) {
  if (!hasBoth() && canUseApt()) await install(log);
  if (!hasBoth()) {
    log.info('no prometheus and promtool on the PATH: tests that ask a real Prometheus are skipped');
    return {};
  }
  const env = { PROMETHEUS: findOnPath('prometheus'), PROMTOOL: findOnPath('promtool') };
  log.info(`found ${env.PROMETHEUS} and ${env.PROMTOOL}`);
  return env;
}

function hasBoth() {
  return ['prometheus', 'promtool'].every((name) => findOnPath(name) !== undefined);
}

async function install(log) {
  log.info('no Prometheus found: installing it with apt-get (as root on Debian or Ubuntu)');
  try {
    await installWithApt(log, 'prometheus');
  } catch (error) {
    log.info(error.message);
  }
}
