// How many runs meet the conditions of a list.

import { get } from '../../api/client';
import { count } from '../../core/format';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { listQuery, type Filter } from './filter';

/** `1,234`, `10,000 and more`: the server stops counting at some point. Until it has counted, nothing. */
export function useCount(filter: Filter | undefined): string | undefined {
  const slug = environment.value?.slug;
  const found = useQuery(filter && slug && `${slug}/count/${JSON.stringify(filter)}`, (signal) =>
    get('/api/v1/runs/count', { query: listQuery(filter ?? {}), signal }),
  );
  if (!found.data) return undefined;
  return count(found.data.count) + (found.data.isMore ? ' and more' : '');
}

export function AllCount({ filter }: { filter: Filter }) {
  const number = useCount(filter);
  return <>All {number} that match</>;
}
