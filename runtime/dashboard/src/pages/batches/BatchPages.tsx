// Batches: many runs announced together, and what became of each item.

import { get } from '../../api/client';
import type { BatchDetails, BatchSummary } from '../../api/types';
import { count, counted, shortId } from '../../core/format';
import { useQuery } from '../../core/query';
import { address, query } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Id } from '../../ui/Copy';
import { Icon } from '../../ui/Icon';
import { Facts, Page, Section } from '../../ui/Page';
import { Pager, pageQuery } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { RunsTable } from '../runs/RunsTable';

const EVERY_MS = 2_000;

export function BatchesPage() {
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/batches', { query: pageQuery(50), signal }),
    { every: (page) => (page.data.some((item) => !isOver(item.status)) ? EVERY_MS : EVERY_MS * 5) },
  );
  return (
    <Page title="Batches">
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title="No batches yet">
              <p>Many runs that are triggered together make one: tasks do it with a batch trigger, clients with the SDK.</p>
              <pre>{"await tasks.batchTrigger('my-task', [{ payload: { n: 1 } }, { payload: { n: 2 } }]);"}</pre>
            </Empty>
          ) : (
            <>
              <Table
                label="Batches"
                columns={COLUMNS}
                rows={page.data}
                keyOf={(item) => item.id}
                linkOf={(item) => pathIn('batches', item.id)}
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

const COLUMNS: Column<BatchSummary>[] = [
  { title: 'Batch', cell: (item) => <code>{shortId(item.id)}</code> },
  { title: 'Status', cell: (item) => <BatchState of={item} /> },
  { title: 'Items', cell: (item) => count(item.runCount), isNumber: true },
  { title: 'Completed', cell: (item) => count(item.counts.succeeded), isNumber: true },
  {
    title: 'Failed',
    cell: (item) => <span class={item.counts.failed > 0 ? 'wrong' : 'faint'}>{count(item.counts.failed)}</span>,
    isNumber: true,
  },
  { title: 'Unfinished', cell: (item) => count(item.counts.unfinished), isNumber: true },
  { title: 'Without a run', cell: (item) => count(item.counts.withoutRun), isNumber: true },
  {
    title: 'Triggered by',
    cell: (item) =>
      item.parentRunId ? (
        <a href={pathIn('runs', item.parentRunId)} title={item.parentRunId}>
          {shortId(item.parentRunId)}
        </a>
      ) : (
        <span class="faint">the API</span>
      ),
    isWide: true,
  },
  { title: 'Announced', cell: (item) => <Time at={item.createdAt} /> },
];

export function BatchPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/batch/${id}`,
    (signal) => get('/api/v2/batches/{batch}', { path: { batch: id }, signal }),
    {
      every: (batch) => (isOver(batch.status) ? undefined : EVERY_MS),
    },
  );
  return (
    <Page
      title="Batch"
      up={[pathIn('batches'), 'Batches']}
      beside={
        <>
          {found.data && <BatchState of={found.data} />}
          <Id id={id} />
        </>
      }
      actions={
        <a class="button" href={`${pathIn('runs')}?batch=${encodeURIComponent(id)}`}>
          <Icon name="runs" />
          Its runs in the list
        </a>
      }
    >
      <Loaded query={found}>{(batch) => <Parts batch={batch} />}</Loaded>
    </Page>
  );
}

function isOver(status: BatchDetails['status']): boolean {
  return status !== 'PENDING' && status !== 'PROCESSING';
}

function BatchState({ of }: { of: Pick<BatchDetails, 'status'> }) {
  switch (of.status) {
    case 'PENDING':
      return <Badge tone="waiting" word="Being sent" shape={SHAPES.paused} />;
    case 'PROCESSING':
      return <Badge tone="active" word="Processing" shape={SHAPES.on} />;
    case 'COMPLETED':
      return <Badge tone="good" word="Completed" shape={SHAPES.done} />;
    case 'PARTIAL_FAILED':
      return <Badge tone="bad" word="Partly failed" shape={SHAPES.failed} />;
    case 'ABORTED':
      return <Badge tone="bad" word="Aborted" shape={SHAPES.stopped} />;
  }
}

function Parts({ batch }: { batch: BatchDetails }) {
  const { errors } = batch.processing;
  const slug = environment.value?.slug;
  const asked = { ...pageQuery(50), 'filter[batch]': batch.id };
  const runs = useQuery(
    slug && `${slug}/batch-runs/${JSON.stringify(asked)}`,
    (signal) => get('/api/v1/runs', { query: asked, signal }),
    { every: () => (isOver(batch.status) ? undefined : EVERY_MS), keepsOld: !query.value.has('after') },
  );
  return (
    <>
      <Facts
        items={[
          ['Items', `${count(batch.runCount)} announced, ${counted(batch.runs.length, 'run')}`],
          ['Announced', <Time at={batch.createdAt} />],
          ['All arrived', <Time at={batch.processing.completedAt ?? undefined} />],
          ['Changed', <Time at={batch.updatedAt} />],
          ...(batch.idempotencyKey ? [['Idempotency key', <code>{batch.idempotencyKey}</code>] as const] : []),
        ]}
      />
      {errors.length > 0 && (
        <Section title="Items without a run">
          <Table
            label="Items without a run"
            columns={[
              { title: 'Item', cell: (item) => item.index, isNumber: true },
              { title: 'Task', cell: (item) => item.taskIdentifier },
              { title: 'Code', cell: (item) => <code>{item.errorCode}</code> },
              { title: 'Why', cell: (item) => item.error, isWide: true },
            ]}
            rows={errors}
            keyOf={(item) => String(item.index)}
          />
        </Section>
      )}
      <Section title="Runs">
        <Loaded query={runs}>
          {(page) =>
            page.data.length === 0 ? (
              <Empty title="No runs yet">
                <p>They appear as the items of the batch arrive.</p>
              </Empty>
            ) : (
              <>
                <RunsTable label="Runs of the batch" runs={page.data} keyboard="List" />
                <Pager pagination={page.pagination} />
              </>
            )
          }
        </Loaded>
      </Section>
    </>
  );
}
