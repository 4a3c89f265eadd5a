/** The version of this package; a test keeps it equal to package.json, which a bundle does not have. */
export const VERSION = '0.1.0';
