// Which rows of a table are picked: single ones, ranges, all of the page.

import { useMemo, useRef, useState } from 'preact/hooks';

export interface Selection {
  keys: ReadonlySet<string>;
  has: (key: string) => boolean;
  /** Turns a row on or off; with `isRange`, everything from the last picked row to this one goes on. */
  pick: (key: string, isRange: boolean) => void;
  set: (keys: readonly string[]) => void;
  clear: () => void;
}

/** `order` is the order of the rows that ranges follow. */
export function useSelection(order: readonly string[]): Selection {
  const [keys, setKeys] = useState<ReadonlySet<string>>(new Set());
  const last = useRef<string>();
  const rows = useRef(order);
  rows.current = order;
  return useMemo(
    () => ({
      keys,
      has: (key) => keys.has(key),
      pick: (key, isRange) => {
        const next = new Set(keys);
        const from = last.current === undefined ? -1 : rows.current.indexOf(last.current);
        const to = rows.current.indexOf(key);
        if (isRange && from >= 0 && to >= 0) {
          for (const row of rows.current.slice(Math.min(from, to), Math.max(from, to) + 1)) next.add(row);
        } else if (!next.delete(key)) {
          next.add(key);
        }
        last.current = key;
        setKeys(next);
      },
      set: (all) => setKeys(new Set(all)),
      clear: () => {
        last.current = undefined;
        setKeys(new Set());
      },
    }),
    [keys],
  );
}
