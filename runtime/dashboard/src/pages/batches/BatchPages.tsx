// Batches: many runs announced together, and what became of each item.

import { useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { BatchDetails } from '../../api/types';
import { count, counted } from '../../core/format';
import { useQuery } from '../../core/query';
import { navigate, query } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Id } from '../../ui/Copy';
import { TextField } from '../../ui/Field';
import { Icon } from '../../ui/Icon';
import { Facts, Page, Section } from '../../ui/Page';
import { Pager, pageQuery } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { RunsTable } from '../runs/RunsTable';

const EVERY_MS = 2_000;

export function BatchesPage() {
  const [id, setId] = useState('');
  const open = (event: Event) => {
    event.preventDefault();
    navigate(pathIn('batches', id.trim()));
  };
  return (
    <Page title="Batches">
      <Empty title="Open a batch by its id">
        <p>The id is in the answer of a batch trigger, and on the page of every run that is an item of one.</p>
        <form class="find" onSubmit={open}>
          <TextField label="Id of the batch" value={id} onInput={setId} input={{ placeholder: 'batch_…', required: true }} />
          <button class="primary">Open</button>
        </form>
      </Empty>
    </Page>
  );
}

export function BatchPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/batch/${id}`,
    (signal) => get('/api/v2/batches/{batch}', { path: { batch: id }, signal }),
    {
      every: (batch) => (isOver(batch) ? undefined : EVERY_MS),
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

function isOver(batch: BatchDetails): boolean {
  return batch.status !== 'PENDING' && batch.status !== 'PROCESSING';
}

function BatchState({ of }: { of: BatchDetails }) {
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
    { every: () => (isOver(batch) ? undefined : EVERY_MS), keepsOld: !query.value.has('after') },
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
