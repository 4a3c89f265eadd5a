import type { BrowserContext } from 'playwright-core';

export function pathOfChromium(): string | undefined;
export function startChromium(): Promise<{ readonly context: BrowserContext; close(): Promise<void> }>;
