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
/** Rows that are read from where the shown ones begin, once newer ones have pushed them down. */
const PUSHED_ROWS = 100;

interface Cursor {
  after: string | null;
  before: string | null;
}

interface Page {
  /** The newest, and those that are shown. */
  rows: RunItem[];
  /** Around the newest. */
  pagination: Pagination;
  /** The last of the newest. */
  end: string | undefined;
  /** Whether there are older runs than those in `rows`. */
  hasMore: boolean;
  /** Whether there are more new runs than those in `rows`. */
  hasMoreNews: boolean;
}

export interface LiveRuns {
  rows: RunItem[] | undefined;
  /** Runs that are shown but do not fit any more. */
  gone: ReadonlySet<string>;
  /** New runs that are not shown yet. */
  news: number;
  /** Whether `news` are only the newest of them. */
  hasMoreNews: boolean;
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
    const { pagination } = first;
    const end = first.data.at(-1)?.id;
    const isFound = new Set(first.data.map((row) => row.id));
    const { ids } = order.current;
    const oldest = ids.at(-1);
    const newest = ids.map((id) => seen.current.get(id)).find((row) => row !== undefined);
    if (!pagination.next || !oldest || !newest || isFound.has(oldest)) {
      return { rows: first.data, pagination, end, hasMore: Boolean(pagination.next), hasMoreNews: false };
    }
    const from = { 'page[after]': '', 'page[before]': '', 'page[size]': String(PUSHED_ROWS) };
    const pushed = await ask({ ...from, 'filter[createdAt][to]': newest.createdAt });
    return {
      rows: [...first.data, ...pushed.data.filter((row) => !isFound.has(row.id))],
      pagination,
      end,
      hasMore: Boolean(pushed.pagination.next),
      hasMoreNews: !ids.some((id) => isFound.has(id)),
    };
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
    hasMoreNews: page?.hasMoreNews ?? false,
    showNews: () => {
      order.current.ids = page?.rows.slice(0, PAGE_ROWS).map((row) => row.id) ?? [];
      redraw((count) => count + 1);
    },
    pagination: page ? behind(page, shown.at(-1)) : {},
    error: found.error,
    reload: found.reload,
  };
}

/** The pages around what is shown, which newer runs may have pushed down. An id is a cursor, too. */
function behind({ rows, pagination, end, hasMore }: Page, last: string | undefined): Pagination {
  if (last === undefined || last === end) return pagination;
  const { next: _, ...rest } = pagination;
  return hasMore || (rows.at(-1)?.id ?? '') < last ? { ...rest, next: last } : rest;
}
