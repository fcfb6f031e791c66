// The queues of the environment: what is in them now, their limits, and the brake.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import type { QueueItem } from '../../api/types';
import { useAction } from '../../core/action';
import { count } from '../../core/format';
import { useQuery } from '../../core/query';
import { address } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Confirm } from '../../ui/Dialog';
import { TextField } from '../../ui/Field';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { numberedQuery, NumberedPager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';

const EVERY_MS = 2_000;

export function QueuesPage() {
  const [limited, setLimited] = useState<QueueItem>();
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/queues', { query: numberedQuery(50), signal }),
    {
      every: () => EVERY_MS,
    },
  );
  // As it is now, not as it was when the keyboard came to it.
  const [atId, setAtId] = useState<string>();
  const at = found.data?.data.find((queue) => queue.id === atId);
  const pause = useAction(async (queue: QueueItem) => {
    const action = queue.paused ? 'resume' : 'pause';
    await post('/api/v1/queues/{queue}/pause', { path: { queue: queue.id }, body: { type: 'id', action } });
    found.reload();
    return queue.paused ? `${queue.name} goes on.` : `${queue.name} is paused: what runs goes on, nothing starts.`;
  });
  const [asked, setAsked] = useState<QueueItem>();
  const isProduction = environment.value?.type === 'PRODUCTION';
  const turn = (queue: QueueItem) => {
    if (isProduction && !queue.paused) setAsked(queue);
    else void pause.run(queue);
  };
  useShortcuts('List', {
    p: ['Pause, or resume', () => at && turn(at)],
    l: ['Change the limit', () => at && setLimited(at)],
  });
  const columns: Column<QueueItem>[] = [
    { title: 'Queue', cell: (queue) => queue.name },
    { title: 'Kind', cell: (queue) => <span class="faint">{queue.type === 'task' ? 'of the task' : 'named'}</span> },
    { title: 'State', cell: (queue) => <QueueState of={queue} /> },
    { title: 'Running', cell: (queue) => count(queue.running), isNumber: true },
    { title: 'Queued', cell: (queue) => count(queue.queued), isNumber: true },
    { title: 'At a time', cell: (queue) => <Limit of={queue} />, isWide: true, isNamed: true },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (queue) => (
        <span class="actions">
          <button type="button" class="quiet" onClick={() => setLimited(queue)}>
            Limit
          </button>
          <button type="button" class="quiet" disabled={pause.isBusy} onClick={() => turn(queue)}>
            <Icon name={queue.paused ? 'play' : 'pause'} />
            {queue.paused ? 'Resume' : 'Pause'}
          </button>
        </span>
      ),
    },
  ];
  return (
    <Page title="Queues">
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title="No queues yet">
              <p>Every deployed task has one of its own; tasks and triggers may name others.</p>
            </Empty>
          ) : (
            <>
              <Table
                label="Queues"
                columns={columns}
                rows={page.data}
                keyOf={(queue) => queue.id}
                linkOf={(queue) =>
                  `${pathIn('runs')}?queue=${encodeURIComponent(queue.type === 'task' ? `task/${queue.name}` : queue.name)}`
                }
                keyboard="List"
                onFocusRow={(queue) => setAtId(queue?.id)}
              />
              <NumberedPager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
      {asked && (
        <Confirm
          title={`Pause ${asked.name} in production?`}
          verb="Pause"
          isDangerous
          run={async () => void (await pause.run(asked))}
          onClose={() => setAsked(undefined)}
        >
          <p>What runs goes on; nothing starts until it is resumed.</p>
        </Confirm>
      )}
      {limited && <LimitDialog queue={limited} onDone={found.reload} onClose={() => setLimited(undefined)} />}
    </Page>
  );
}

function QueueState({ of }: { of: QueueItem }) {
  if (of.paused) return <Badge tone="waiting" word="Paused" shape={SHAPES.paused} />;
  if (of.concurrencyLimit !== null && of.running >= of.concurrencyLimit && of.queued > 0) {
    return <Badge tone="active" word="At its limit" shape={SHAPES.on} />;
  }
  return of.running + of.queued > 0 ? (
    <Badge tone="active" word="Busy" shape={SHAPES.on} />
  ) : (
    <Badge tone="idle" word="Idle" shape={SHAPES.done} />
  );
}

function Limit({ of }: { of: QueueItem }) {
  const { current, base, override, overriddenAt } = of.concurrency;
  if (current === null) return <span class="faint">no limit</span>;
  return (
    <>
      {count(current)}
      {override !== null && (
        <span class="faint">
          {' '}
          instead of {base === null ? 'no limit' : count(base)}, since <Time at={overriddenAt ?? undefined} />
        </span>
      )}
    </>
  );
}

function LimitDialog({ queue, onDone, onClose }: { queue: QueueItem; onDone: () => void; onClose: () => void }) {
  const { base, override } = queue.concurrency;
  const [limit, setLimit] = useState(override === null ? '' : String(override));
  const save = async () => {
    if (limit === '') {
      await post('/api/v1/queues/{queue}/concurrency/reset', { path: { queue: queue.id }, body: { type: 'id' } });
    } else {
      await post('/api/v1/queues/{queue}/concurrency/override', {
        path: { queue: queue.id },
        body: { type: 'id', concurrencyLimit: Number(limit) },
      });
    }
    onDone();
    return 'The limit was saved.';
  };
  return (
    <Confirm title={`Limit of ${queue.name}`} verb="Save" run={save} onClose={onClose}>
      <TextField
        label="Runs that execute at a time"
        value={limit}
        onInput={setLimit}
        hint={`Empty: as deployed (${base === null ? 'no limit' : count(base)}). 0 lets none start. It counts for every concurrency key.`}
        input={{ type: 'number', min: 0, max: 100_000, autofocus: true }}
      />
    </Confirm>
  );
}
