import { canUseApt, findOnPath, installWithApt } from './programs.mjs';

/**
 * Finds nginx on the PATH, or installs it with apt-get on Debian and Ubuntu as root. Resolves with the environment that tells
 * a child process where it is. Without it it says so, and the tests that need it are skipped.
 */
export async function findNginx(log) {
  if (!findOnPath('nginx') && canUseApt()) await install(log);
  const path = findOnPath('nginx');
  if (!path) {
    log.info('no nginx on the PATH: tests of the example behind it are skipped');
    return {};
  }
  log.info(`found ${path}`);
  return { NGINX: path };
}

async function install(log) {
  log.info('no nginx found: installing it with apt-get (as root on Debian or Ubuntu)');
  try {
    await installWithApt(log, 'nginx-light');
  } catch (error) {
    log.info(error.message);
  }
}
