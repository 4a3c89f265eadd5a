/** Opens one for all who are in at the same time; the last one out closes it. */
export function shared<T>(
  open: () => T,
  close: (opened: T) => Promise<void>,
): () => { readonly opened: T; readonly leave: () => Promise<void> } {
  let current: { readonly opened: T; users: number } | undefined;
  return () => {
    const mine = (current ??= { opened: open(), users: 0 });
    mine.users += 1;
    return {
      opened: mine.opened,
      async leave(): Promise<void> {
        mine.users -= 1;
        if (mine.users > 0) return;
        if (current === mine) current = undefined;
        await close(mine.opened);
      },
    };
  };
}
