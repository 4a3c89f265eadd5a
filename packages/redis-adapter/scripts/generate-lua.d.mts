export declare const scriptsFolder: string;
export declare const generatedFile: string;
export declare function generate(folder?: string): string;
export declare function parseScript(
  file: string,
  source: string,
): { readonly name: string; readonly keys: string[]; readonly args: string[]; readonly lua: string; readonly sha1: string };
