// Bulk actions: what was done to many runs at once, and to each of them.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import type { BulkItem, BulkMember } from '../../api/types';
import { count, counted, shortId } from '../../core/format';
import { useQuery } from '../../core/query';
import { address } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Confirm } from '../../ui/Dialog';
import { Id } from '../../ui/Copy';
import { Icon } from '../../ui/Icon';
import { Page, Section } from '../../ui/Page';
import { pageQuery, Pager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES, Status, statusTone, statusWord } from '../../ui/Status';
import type { RunStatus } from '../../api/types';
import { Table, type Column } from '../../ui/Table';
import { Elapsed, Time } from '../../ui/Time';
import { AgainDialog } from './AgainDialog';
import '../../styles/verdicts.css';

const EVERY_MS = 2_000;

export function BulkListPage() {
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/bulk-actions', { query: pageQuery(50), signal }),
    {
      every: (page) => (page.data.some((item) => item.status === 'PENDING') ? EVERY_MS : EVERY_MS * 5),
    },
  );
  return (
    <Page title="Bulk actions">
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title="No bulk actions yet">
              <p>
                Select several <a href={pathIn('runs')}>runs</a>, with <kbd>x</kbd> or with <kbd>a</kbd> for all that match, and
                replay or cancel them together.
              </p>
            </Empty>
          ) : (
            <>
              <Table
                label="Bulk actions"
                columns={COLUMNS}
                rows={page.data}
                keyOf={(item) => item.id}
                linkOf={(item) => pathIn('bulk', item.id)}
                keyboard="List"
              />
              <Pager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

const COLUMNS: Column<BulkItem>[] = [
  { title: 'Action', cell: (item) => (item.type === 'REPLAY' ? 'Replay' : 'Cancel') },
  { title: 'Status', cell: (item) => <BulkState of={item} /> },
  { title: 'Name', cell: (item) => item.name, isWide: true },
  { title: 'Runs', cell: (item) => count(item.counts.total), isNumber: true },
  { title: 'Done', cell: (item) => count(item.counts.success), isNumber: true },
  { title: 'Not done', cell: (item) => count(item.counts.failure), isNumber: true },
  { title: 'Started', cell: (item) => <Time at={item.createdAt} /> },
  { title: 'Took', cell: (item) => <Elapsed from={item.createdAt} to={item.completedAt ?? undefined} />, isNumber: true },
];

function BulkState({ of }: { of: BulkItem }) {
  switch (of.status) {
    case 'PENDING':
      return <Badge tone="active" word="Working" shape={SHAPES.on} />;
    case 'COMPLETED':
      return <Badge tone="good" word="Completed" shape={SHAPES.done} />;
    case 'ABORTED':
      return <Badge tone="idle" word="Aborted" shape={SHAPES.stopped} />;
  }
}

export function BulkPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const [asks, setAsking] = useState<'abort' | 'again'>();
  const found = useQuery(
    slug && `${slug}/bulk/${id}`,
    (signal) => get('/api/v1/bulk-actions/{bulk}', { path: { bulk: id }, signal }),
    {
      every: (item) => (item.status === 'PENDING' || goesOn(item) ? EVERY_MS : undefined),
    },
  );
  const item = found.data;
  const abort = async () => {
    await post('/api/v1/bulk-actions/{bulk}/abort', { path: { bulk: id } });
    found.reload();
    return 'The bulk action was aborted.';
  };
  useShortcuts('Bulk action', {
    r: ['Run again', () => item && item.status !== 'PENDING' && item.counts.total > 0 && setAsking('again')],
    c: ['Abort', () => item?.status === 'PENDING' && setAsking('abort')],
  });
  return (
    <Page
      title={item?.name ?? 'Bulk action'}
      tab="Bulk action"
      up={[pathIn('bulk'), 'Bulk actions']}
      beside={
        item && (
          <>
            <BulkState of={item} />
            <Id id={id} />
          </>
        )
      }
      actions={
        item && (
          <>
            {item.type === 'REPLAY' && (
              <a class="button" href={`${pathIn('runs')}?bulkAction=${id}`}>
                <Icon name="runs" />
                The new runs
              </a>
            )}
            {item.status !== 'PENDING' && item.counts.total > 0 && (
              <button type="button" onClick={() => setAsking('again')}>
                <Icon name="replay" />
                Run again
              </button>
            )}
            {item.status === 'PENDING' && (
              <button type="button" onClick={() => setAsking('abort')}>
                <Icon name="cancel" />
                Abort
              </button>
            )}
          </>
        )
      }
    >
      <Loaded query={found}>
        {(loaded) => (
          <>
            <div class="panel stack">
              <p>
                <b>{counted(loaded.counts.total, 'run')}</b> looked at: {count(loaded.counts.success)} done,{' '}
                {count(loaded.counts.failure)} not done. Started <Time at={loaded.createdAt} />.
              </p>
              {loaded.outcomes && <Outcomes of={loaded.outcomes} />}
            </div>
            <Members id={id} isPending={loaded.status === 'PENDING' || goesOn(loaded)} />
          </>
        )}
      </Loaded>
      {asks === 'abort' && (
        <Confirm title="Abort this bulk action?" verb="Abort" isDangerous run={abort} onClose={() => setAsking(undefined)}>
          <p class="faint">What was done until then stays done.</p>
        </Confirm>
      )}
      {asks === 'again' && item && <AgainDialog item={item} onClose={() => setAsking(undefined)} />}
    </Page>
  );
}

/** Whether runs that it has made have not ended. */
function goesOn(item: BulkItem): boolean {
  const tones = Object.keys(item.outcomes ?? {}).map((status) => statusTone(status as RunStatus));
  return tones.some((tone) => tone === 'active' || tone === 'waiting') || Boolean(item.outcomes?.QUEUED);
}

/** Where the new runs are, as one stacked bar. */
function Outcomes({ of }: { of: Record<string, number> }) {
  const entries = Object.entries(of).filter(([, number]) => number > 0) as [RunStatus, number][];
  const total = entries.reduce((sum, [, number]) => sum + number, 0);
  if (total === 0) return null;
  return (
    <div class="verdicts">
      <div class="verdict-bar" aria-hidden="true">
        {entries.map(([status, number]) => (
          <i key={status} class={`fill-${statusTone(status)}`} style={{ width: `${(number / total) * 100}%` }} />
        ))}
      </div>
      <p class="row">
        {entries.map(([status, number]) => (
          <span key={status}>
            {statusWord(status)} <b>{count(number)}</b>
          </span>
        ))}
      </p>
    </div>
  );
}

const MEMBER_COLUMNS: Column<BulkMember>[] = [
  { title: 'Source run', cell: (member) => <code>{shortId(member.runId)}</code> },
  { title: 'Outcome', cell: (member) => <Outcome of={member} /> },
  {
    title: 'New run',
    cell: (member) => member.newRunId && <a href={pathIn('runs', member.newRunId)}>{shortId(member.newRunId)}</a>,
  },
  { title: 'Its status', cell: (member) => member.newRunStatus && <Status of={member.newRunStatus} /> },
  { title: 'Why not', cell: (member) => <span class="faint">{member.reason}</span>, isWide: true },
  {
    title: 'Actions',
    isTitleHidden: true,
    cell: (member) => member.newRunId && <a href={pathIn('runs', member.runId, 'replays', member.newRunId)}>Compare</a>,
  },
];

function Outcome({ of }: { of: BulkMember }) {
  if (of.outcome === 'done') return <Badge tone="good" word="Done" shape={SHAPES.done} />;
  if (of.outcome === 'skipped') return <Badge tone="idle" word="Skipped" shape={SHAPES.stopped} />;
  return <Badge tone="bad" word="Failed" shape={SHAPES.failed} />;
}

function Members({ id, isPending }: { id: string; isPending: boolean }) {
  const asked = { ...pageQuery(50), 'page[before]': undefined };
  const found = useQuery(
    `${environment.value?.slug}/bulk/${id}/members/${JSON.stringify(asked)}`,
    (signal) => get('/api/v1/bulk-actions/{bulk}/members', { path: { bulk: id }, query: asked, signal }),
    { every: () => (isPending ? EVERY_MS : undefined) },
  );
  return (
    <Section title="Runs">
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title={isPending ? 'No run has been looked at yet' : 'No run fitted'} />
          ) : (
            <>
              <Table
                label="Runs of the bulk action"
                columns={MEMBER_COLUMNS}
                rows={page.data}
                keyOf={(member) => member.runId}
                linkOf={(member) => pathIn('runs', member.runId)}
                keyboard="List"
              />
              <Pager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
    </Section>
  );
}
