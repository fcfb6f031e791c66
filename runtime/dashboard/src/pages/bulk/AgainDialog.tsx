// The same again on the runs of a bulk action. A request may name few runs: many become several actions.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiFailure, get, post } from '../../api/client';
import type { BulkItem } from '../../api/types';
import { count, counted } from '../../core/format';
import { navigate } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Confirm } from '../../ui/Dialog';

/** Runs that a request may name. */
const MAX_NAMED = 500;
/** Runs that are read from here, a hundred at a time. */
const MAX_AGAIN = 10_000;

export function AgainDialog({ item, onClose }: { item: BulkItem; onClose: () => void }) {
  const [read, setRead] = useState(0);
  /** What is still to be started: after a failure it goes on there, and does nothing twice. */
  const left = useRef<string[]>();
  const abort = useRef(new AbortController());
  useEffect(() => () => abort.current.abort(), []);
  const { total } = item.counts;
  const run = async () => {
    const ids = (left.current ??= await memberIds(item.id, setRead, abort.current.signal));
    let made = '';
    const isOne = total <= MAX_NAMED;
    while (ids.length > 0) {
      const body = {
        action: item.type === 'REPLAY' ? 'replay' : 'cancel',
        name: item.name,
        runIds: ids.slice(0, MAX_NAMED),
      };
      made = (await post('/api/v1/bulk-actions', { bodyText: JSON.stringify(body) })).id;
      ids.splice(0, MAX_NAMED);
    }
    navigate(isOne ? pathIn('bulk', made) : pathIn('bulk'));
    return isOne
      ? 'The bulk action was started again, on the same runs.'
      : `It was started again on the same runs, ${count(MAX_NAMED)} to an action.`;
  };
  return (
    <Confirm
      title="Run this bulk action again?"
      verb="Run again"
      isDangerous={environment.value?.type === 'PRODUCTION'}
      isGuarded
      run={run}
      onClose={onClose}
    >
      <p>
        {item.type === 'REPLAY'
          ? `Each of its ${counted(total, 'run')} is replayed once more, with all effects.`
          : `Those of its ${counted(total, 'run')} that go on are canceled.`}
        {total > MAX_NAMED && ` They become several actions, of ${count(MAX_NAMED)} runs each.`}
      </p>
      {read > 0 && (
        <p class="faint" role="status">
          {count(read)} of {counted(total, 'run')} read.
        </p>
      )}
    </Confirm>
  );
}

/** The runs that it looked at. */
async function memberIds(id: string, onRead: (number: number) => void, signal: AbortSignal): Promise<string[]> {
  const ids: string[] = [];
  let after = '';
  do {
    const query = { 'page[size]': '100', 'page[after]': after };
    const page = await get('/api/v1/bulk-actions/{bulk}/members', { path: { bulk: id }, query, signal });
    ids.push(...page.data.map((member) => member.runId));
    onRead(ids.length);
    after = page.pagination.next ?? '';
  } while (after && ids.length < MAX_AGAIN);
  if (after) throw new ApiFailure(`It has more than ${count(MAX_AGAIN)} runs: select them in the list of runs instead.`, 0);
  return ids;
}
