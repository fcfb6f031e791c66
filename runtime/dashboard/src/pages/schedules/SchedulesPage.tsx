// What fires by the clock: declared by tasks, or made here and over the API.

import { useState } from 'preact/hooks';
import { del, get, post } from '../../api/client';
import type { ScheduleItem } from '../../api/types';
import { useAction } from '../../core/action';
import { useQuery } from '../../core/query';
import { address, navigate } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { numberedQuery, NumberedPager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { Fires, readSchedule } from './Fires';
import { ScheduleDialog } from './ScheduleDialog';

const EVERY_MS = 10_000;
type Open = { kind: 'new' } | { kind: 'edit' | 'delete' | 'fires' | 'test'; schedule: ScheduleItem };

export function SchedulesPage() {
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/schedules', { query: numberedQuery(50), signal }),
    {
      every: () => EVERY_MS,
    },
  );
  const change = useAction(async (schedule: ScheduleItem) => {
    const path = { schedule: schedule.id };
    if (schedule.active) await post('/api/v1/schedules/{schedule}/deactivate', { path });
    else await post('/api/v1/schedules/{schedule}/activate', { path });
    found.reload();
    return schedule.active ? 'It fires no more.' : 'It fires again.';
  });
  const test = useAction(fireOnce);
  const askTest = (schedule: ScheduleItem) => {
    if (environment.value?.type === 'PRODUCTION') setOpen({ kind: 'test', schedule });
    else void test.run(schedule);
  };
  const columns: Column<ScheduleItem>[] = [
    { title: 'Task', cell: (schedule) => schedule.task },
    { title: 'State', cell: (schedule) => <ScheduleState of={schedule} /> },
    { title: 'Cron', cell: (schedule) => <code>{schedule.generator.expression}</code> },
    { title: 'In words', cell: (schedule) => <span class="faint">{schedule.generator.description}</span>, isWide: true },
    { title: 'Time zone', cell: (schedule) => schedule.timezone },
    {
      title: 'Fires next',
      cell: (schedule) =>
        schedule.active ? (
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'fires', schedule })} title="The next five times">
            <Time at={schedule.nextRun ?? undefined} />
          </button>
        ) : (
          <span class="faint">–</span>
        ),
      isNamed: true,
    },
    {
      title: 'From',
      cell: (schedule) => (
        <span class="faint">{schedule.type === 'DECLARATIVE' ? 'the task' : (schedule.externalId ?? 'the API')}</span>
      ),
      isNamed: true,
    },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (schedule) => (
        <span class="actions">
          <button type="button" class="quiet" disabled={test.isBusy} onClick={() => askTest(schedule)}>
            Test
          </button>
          <button type="button" class="quiet" disabled={change.isBusy} onClick={() => void change.run(schedule)}>
            {schedule.active ? 'Deactivate' : 'Activate'}
          </button>
          {schedule.type === 'IMPERATIVE' && (
            <>
              <button type="button" class="quiet" onClick={() => setOpen({ kind: 'edit', schedule })}>
                Change
              </button>
              <button
                type="button"
                class="quiet"
                aria-label={`Delete the schedule of ${schedule.task}`}
                onClick={() => setOpen({ kind: 'delete', schedule })}
              >
                <Icon name="trash" />
              </button>
            </>
          )}
        </span>
      ),
    },
  ];
  return (
    <Page
      title="Schedules"
      actions={
        <button type="button" class="primary" onClick={() => setOpen({ kind: 'new' })}>
          <Icon name="plus" />
          New schedule
        </button>
      }
    >
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title="No schedules yet">
              <p>A task may declare one, with a cron pattern in its code; or make one here for any task.</p>
            </Empty>
          ) : (
            <>
              <Table
                label="Schedules"
                columns={columns}
                rows={page.data}
                keyOf={(schedule) => schedule.id}
                linkOf={(schedule) => `${pathIn('runs')}?schedule=${schedule.id}`}
                keyboard="List"
              />
              <NumberedPager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
      {open?.kind === 'new' && <ScheduleDialog onDone={found.reload} onClose={close} />}
      {open?.kind === 'edit' && <ScheduleDialog schedule={open.schedule} onDone={found.reload} onClose={close} />}
      {open?.kind === 'fires' && <Fires schedule={open.schedule} onClose={close} />}
      {open?.kind === 'test' && <Test schedule={open.schedule} onClose={close} />}
      {open?.kind === 'delete' && <Delete schedule={open.schedule} onDone={found.reload} onClose={close} />}
    </Page>
  );
}

/** Triggers its task as if it were due now. */
async function fireOnce(schedule: ScheduleItem): Promise<string> {
  const { upcoming = [] } = await readSchedule(schedule.id);
  const payload = {
    scheduleId: schedule.id,
    type: schedule.type,
    timestamp: new Date().toISOString(),
    timezone: schedule.timezone,
    ...(schedule.externalId ? { externalId: schedule.externalId } : {}),
    upcoming,
  };
  const made = await post('/api/v1/tasks/{task}/trigger', {
    path: { task: schedule.task },
    bodyText: JSON.stringify({ payload, options: { test: true } }),
  });
  navigate(pathIn('runs', made.id));
  return 'A test run was triggered, as if it were due now.';
}

function Test({ schedule, onClose }: { schedule: ScheduleItem; onClose: () => void }) {
  return (
    <Confirm
      title={`Trigger ${schedule.task} now?`}
      verb="Trigger"
      isDangerous
      isGuarded
      run={() => fireOnce(schedule)}
      onClose={onClose}
    >
      <p>This is production. The run is marked as a test, and has all its effects.</p>
    </Confirm>
  );
}

function ScheduleState({ of }: { of: ScheduleItem }) {
  return of.active ? (
    <Badge tone="good" word="Active" shape={SHAPES.on} />
  ) : (
    <Badge tone="idle" word="Inactive" shape={SHAPES.paused} />
  );
}

function Delete({ schedule, onDone, onClose }: { schedule: ScheduleItem; onDone: () => void; onClose: () => void }) {
  const remove = async () => {
    await del('/api/v1/schedules/{schedule}', { path: { schedule: schedule.id } });
    onDone();
    return 'The schedule was deleted.';
  };
  return (
    <Confirm title="Delete this schedule?" verb="Delete" isDangerous run={remove} onClose={onClose}>
      <p>
        <b>{schedule.task}</b> <code>{schedule.generator.expression}</code>. The runs that it fired stay.
      </p>
    </Confirm>
  );
}
