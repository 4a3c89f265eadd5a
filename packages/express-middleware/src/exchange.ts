import type { NextFunction, Request, Response } from 'express';

/** One request, and what Express gives with it. */
export interface Exchange {
  readonly request: Request;
  readonly response: Response;
  readonly next: NextFunction;
}
