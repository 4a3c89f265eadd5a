/** The slow API behind this one. */
export interface Catalog {
  matches(): Promise<unknown>;
  ordersOf(user: string): Promise<unknown>;
}

export function catalogAt(url: string): Catalog {
  const get = async (path: string): Promise<unknown> => {
    const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(20_000) });
    if (!response.ok) throw new Error(`the catalog answered ${response.status} to ${path}`);
    return response.json();
  };
  return {
    matches: () => get('/matches'),
    ordersOf: (user) => get(`/orders?user=${encodeURIComponent(user)}`),
  };
}
