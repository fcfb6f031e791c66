// Errors that look alike, as groups: since when, how often, on which versions; replayed together.

import { useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { ErrorGroupItem } from '../../api/types';
import { count } from '../../core/format';
import { useQuery } from '../../core/query';
import { navigate, query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { PeriodPicker } from '../../ui/Series';
import { Empty, Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { BulkDialog } from '../runs/BulkDialog';

const EVERY_MS = 5_000;
const MAX_GROUPS = 200;

export function ErrorsPage() {
  const slug = environment.value?.slug;
  const period = query.value.get('period') ?? '7d';
  const [replayed, setReplayed] = useState<ErrorGroupItem>();
  const [at, setAt] = useState<ErrorGroupItem>();
  const found = useQuery(slug && `${slug}/errors/${period}`, (signal) => get('/api/v1/errors', { query: { period }, signal }), {
    every: () => EVERY_MS,
    keepsOld: true,
  });
  useShortcuts('List', {
    r: ['Replay the group', () => at && setReplayed(at)],
    l: ['Open the last run', () => at && navigate(pathIn('runs', at.lastRunId))],
  });
  const filterOf = (group: ErrorGroupItem) => ({ error: group.fingerprint, period });
  const columns: Column<ErrorGroupItem>[] = [
    { title: 'Error', cell: (group) => <span class="wrong">{group.name}</span> },
    { title: 'Message', cell: (group) => <span title={group.message}>{group.message}</span>, isWide: true },
    { title: 'Task', cell: (group) => <a href={pathIn('tasks', group.taskIdentifier)}>{group.taskIdentifier}</a> },
    { title: 'Runs', cell: (group) => count(group.count), isNumber: true },
    { title: 'First seen', cell: (group) => <Time at={group.firstSeenAt} /> },
    {
      title: 'Last seen',
      cell: (group) => (
        <a href={pathIn('runs', group.lastRunId)}>
          <Time at={group.lastSeenAt} />
        </a>
      ),
    },
    { title: 'Versions', cell: (group) => <Versions of={group.versions} /> },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (group) => (
        <button type="button" class="quiet" onClick={() => setReplayed(group)}>
          <Icon name="replay" />
          Replay
        </button>
      ),
    },
  ];
  return (
    <Page title="Errors" actions={<PeriodPicker value={period} onChange={(to) => setQuery({ period: to }, true)} />}>
      <Loaded query={found}>
        {(list) =>
          list.data.length === 0 ? (
            <Empty title="No errors">
              <p>No run has failed in this time. When one does, its error appears here with all that look like it.</p>
            </Empty>
          ) : (
            <>
              <Table
                label="Groups of errors"
                columns={columns}
                rows={list.data}
                keyOf={(group) => group.fingerprint}
                linkOf={(group) => `${pathIn('runs')}?${new URLSearchParams(filterOf(group))}`}
                keyboard="List"
                onFocusRow={setAt}
              />
              {list.data.length >= MAX_GROUPS && (
                <p class="below faint">The {MAX_GROUPS} groups that were seen last. Choose a shorter period for others.</p>
              )}
            </>
          )
        }
      </Loaded>
      {replayed && <BulkDialog action="replay" picked={{ all: filterOf(replayed) }} onClose={() => setReplayed(undefined)} />}
    </Page>
  );
}

function Versions({ of }: { of: readonly string[] }) {
  const [newest, ...older] = of;
  if (newest === undefined) return <span class="faint">–</span>;
  return (
    <span class="faint" title={of.join('\n')}>
      {newest}
      {older.length > 0 && ` and ${older.length} more`}
    </span>
  );
}
