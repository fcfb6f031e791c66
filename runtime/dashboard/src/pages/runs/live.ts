// A list of runs that renews itself without moving what is read: rows that are shown change in
// place, new ones are counted until the reader wants them, and those that no longer fit stay, marked.

import { useRef, useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { Pagination, RunItem } from '../../api/types';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { listQuery, type Filter } from './filter';

const PAGE_ROWS = 50;
const EVERY_MS = 2_000;
/** Pages that are read after the first to find rows that newer ones have pushed down. */
const MAX_MORE_PAGES = 2;

interface Cursor {
  after: string | null;
  before: string | null;
}

interface Page {
  rows: RunItem[];
  pagination: Pagination;
  /** Whether there are older runs than those in `rows`. */
  hasMore: boolean;
}

export interface LiveRuns {
  rows: RunItem[] | undefined;
  /** Runs that are shown but do not fit any more. */
  gone: ReadonlySet<string>;
  /** New runs that are not shown yet. */
  news: number;
  showNews: () => void;
  pagination: Pagination;
  error: Error | undefined;
  reload: () => void;
}

export function useLiveRuns(filter: Filter, cursor: Cursor): LiveRuns {
  const slug = environment.value?.slug;
  const query = { ...listQuery(filter), 'page[after]': cursor.after ?? '', 'page[before]': cursor.before ?? '' };
  const key = slug && `${slug}/runs?${JSON.stringify(query)}`;
  const order = useRef<{ key: string | undefined; ids: string[] }>({ key, ids: [] });
  const [, redraw] = useState(0);
  if (order.current.key !== key) order.current = { key, ids: [] };

  const load = async (signal: AbortSignal): Promise<Page> => {
    const ask = (more: Record<string, string>) =>
      get('/api/v1/runs', { query: { ...query, 'page[size]': String(PAGE_ROWS), ...more }, signal });
    const first = await ask({});
    const rows = [...first.data];
    let next = first.pagination.next;
    const oldest = order.current.ids.at(-1);
    for (let more = 0; more < MAX_MORE_PAGES && next && oldest && !rows.some((row) => row.id === oldest); more++) {
      const page = await ask({ 'page[after]': next, 'page[before]': '' });
      rows.push(...page.data);
      next = page.pagination.next;
    }
    return { rows, pagination: first.pagination, hasMore: Boolean(next) };
  };
  const seen = useRef(new Map<string, RunItem>());
  const found = useQuery(key, load, { every: () => EVERY_MS });

  const page = found.data;
  if (page && order.current.ids.length === 0) {
    order.current.ids = page.rows.slice(0, PAGE_ROWS).map((row) => row.id);
  }
  const fresh = new Map(page?.rows.map((row) => [row.id, row]));
  const shown = order.current.ids;
  const kept = new Map(shown.map((id) => [id, fresh.get(id) ?? seen.current.get(id)]));
  seen.current = new Map([...kept].filter((entry): entry is [string, RunItem] => entry[1] !== undefined));
  const isKnown = new Set(shown);
  const created = (id: string | undefined) => (id ? (seen.current.get(id)?.createdAt ?? '') : '');
  // What is not in an answer that reaches further back does not fit any more.
  const reached = page?.hasMore ? (page.rows.at(-1)?.createdAt ?? '') : '';
  const oldest = shown.length < PAGE_ROWS ? '' : created(shown.at(-1));
  return {
    rows: page && [...seen.current.values()],
    gone: new Set(shown.filter((id) => !fresh.has(id) && created(id) > reached)),
    news: page?.rows.filter((row) => !isKnown.has(row.id) && row.createdAt >= oldest).length ?? 0,
    showNews: () => {
      order.current.ids = page?.rows.slice(0, PAGE_ROWS).map((row) => row.id) ?? [];
      redraw((count) => count + 1);
    },
    pagination: page?.pagination ?? {},
    error: found.error,
    reload: found.reload,
  };
}
