// One page of a list after another, by the API's cursors. The place is in the address.

import type { Pagination } from '../api/types';
import { query, setQuery } from '../core/router';

/** The cursor in the address, as the API's query wants it. */
export function pageQuery(size: number): Record<string, string> {
  return {
    'page[size]': String(size),
    'page[after]': query.value.get('after') ?? '',
    'page[before]': query.value.get('before') ?? '',
  };
}

export function Pager({ pagination }: { pagination: Pagination }) {
  const { next, previous } = pagination;
  if (!next && !previous && !query.value.has('after')) return null;
  const go = (after?: string, before?: string) => {
    setQuery({ after, before });
    window.scrollTo(0, 0);
  };
  return (
    <nav class="below" aria-label="Pages of the list">
      <button
        type="button"
        disabled={!previous && !query.value.has('after')}
        onClick={() => go(undefined, previous ?? undefined)}
      >
        {previous ? 'Before' : 'To the beginning'}
      </button>
      <button type="button" disabled={!next} onClick={() => go(next ?? undefined)}>
        After
      </button>
    </nav>
  );
}

interface PageNumber {
  currentPage: number;
  totalPages: number;
}

/** The same for lists that are counted in pages. */
export function NumberedPager({ pagination }: { pagination: PageNumber }) {
  const { currentPage, totalPages } = pagination;
  if (totalPages <= 1) return null;
  const go = (page: number) => setQuery({ page: page > 1 ? String(page) : undefined });
  return (
    <nav class="below" aria-label="Pages of the list">
      <button type="button" disabled={currentPage <= 1} onClick={() => go(currentPage - 1)}>
        Before
      </button>
      <span class="faint">
        Page {currentPage} of {totalPages}
      </span>
      <button type="button" disabled={currentPage >= totalPages} onClick={() => go(currentPage + 1)}>
        After
      </button>
    </nav>
  );
}

export function numberedQuery(perPage: number): Record<string, string> {
  return { page: query.value.get('page') ?? '1', perPage: String(perPage) };
}
