// The health of the environment at a glance: what is there now, what ended lately, what is slow and
// what fails.

import type { ComponentChildren } from 'preact';
import { get } from '../../api/client';
import type { Overview, TaskStatistics } from '../../api/types';
import { count, duration, percent } from '../../core/format';
import { useQuery } from '../../core/query';
import { query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { FailureShare } from '../../ui/FailureShare';
import { Page, Section } from '../../ui/Page';
import { PeriodPicker, SeriesPlots } from '../../ui/Series';
import { Empty, Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';
import { Elapsed } from '../../ui/Time';
import '../../styles/overview.css';

const EVERY_MS = 5_000;
/** Counts of now stop here: there are more. */
const MAX_COUNT = 10_000;
const MAX_TASKS = 8;

export function OverviewPage() {
  const slug = environment.value?.slug;
  const period = query.value.get('period') ?? '24h';
  const found = useQuery(
    slug && `${slug}/overview/${period}`,
    (signal) => get('/api/v1/overview', { query: { period }, signal }),
    {
      every: () => EVERY_MS,
      keepsOld: true,
    },
  );
  return (
    <Page title="Overview" actions={<PeriodPicker value={period} onChange={(to) => setQuery({ period: to }, true)} />}>
      <Loaded query={found}>{(overview) => <Parts overview={overview} period={period} />}</Loaded>
    </Page>
  );
}

function Parts({ overview, period }: { overview: Overview; period: string }) {
  const { now, ended, series, tasks } = overview;
  const total = ended.completed + ended.failed + ended.dropped;
  const isQuiet = total === 0 && now.executing + now.queued + now.waiting + now.delayed + now.pendingVersion === 0;
  const isLate = now.oldestQueuedAt !== undefined && now.oldestQueuedAt !== null;
  const runs = (status: string) => `${pathIn('runs')}?status=${status}`;
  const lately = (status: string) => `${runs(status)}&period=${period}`;
  if (isQuiet) {
    return (
      <Empty title="Nothing has run here lately">
        <p>Deploy a component and trigger one of its tasks, or choose a longer period.</p>
        <pre>{'dacapo deploy task.wasm\ndacapo trigger <task> \'{"name": "Ada"}\''}</pre>
      </Empty>
    );
  }
  return (
    <>
      <ul class="tiles" aria-label="Now and lately">
        <Tile label="Executing" href={runs('EXECUTING')}>
          {bounded(now.executing)}
        </Tile>
        <Tile label="Queued" href={runs('QUEUED')}>
          {bounded(now.queued)}
        </Tile>
        <Tile label="Oldest queued" href={runs('QUEUED')}>
          {isLate ? <Elapsed from={now.oldestQueuedAt ?? undefined} /> : '–'}
        </Tile>
        <Tile label="Waiting" href={runs('WAITING')}>
          {bounded(now.waiting)}
        </Tile>
        <Tile label="Delayed" href={runs('DELAYED')}>
          {bounded(now.delayed)}
        </Tile>
        <Tile label="No version" href={runs('PENDING_VERSION')} isBad={now.pendingVersion > 0}>
          {bounded(now.pendingVersion)}
        </Tile>
        <Tile label={`Completed, ${period}`} href={lately('COMPLETED')}>
          {count(ended.completed)}
        </Tile>
        <Tile label={`Failed, ${period}`} href={lately('FAILED,CRASHED,TIMED_OUT,SYSTEM_FAILURE')} isBad={ended.failed > 0}>
          {count(ended.failed)}
          {ended.failed > 0 && <small>{percent(ended.failed / total)}</small>}
        </Tile>
      </ul>
      <p class="faint overview-note">
        Completed and failed: what ended in this time. Their lists are of what was triggered in it.
      </p>
      <SeriesPlots series={series} />
      {overview.isCut && <p class="faint">There was more than is counted here: the oldest is missing.</p>}
      <div class="plots">
        <TaskList
          title="Slowest tasks"
          tasks={[...tasks].filter((task) => task.p99Ms != null).sort((one, other) => (other.p99Ms ?? 0) - (one.p99Ms ?? 0))}
        />
        <TaskList
          title="Tasks that fail"
          none="No task has failed."
          tasks={tasks.filter((task) => task.failed > 0).sort((one, other) => other.failed - one.failed)}
        />
      </div>
    </>
  );
}

function bounded(number: number): string {
  return number > MAX_COUNT ? `${count(MAX_COUNT)}+` : count(number);
}

interface TileProps {
  label: string;
  href: string;
  isBad?: boolean;
  children: ComponentChildren;
}

function Tile({ label, href, isBad, children }: TileProps) {
  return (
    <li>
      <a href={href} class={isBad ? 'tile bad' : 'tile'}>
        <span>{label}</span>
        <b>{children}</b>
      </a>
    </li>
  );
}

const COLUMNS: Column<TaskStatistics>[] = [
  { title: 'Task', cell: (task) => task.taskIdentifier },
  { title: 'Runs', cell: (task) => count(task.completed + task.failed + task.dropped), isNumber: true },
  { title: 'Failed', cell: (task) => <FailureShare of={task} />, isNumber: true },
  { title: 'p50', cell: (task) => (task.p50Ms == null ? '–' : duration(task.p50Ms)), isNumber: true },
  { title: 'p99', cell: (task) => (task.p99Ms == null ? '–' : duration(task.p99Ms)), isNumber: true },
];

function TaskList({ title, tasks, none }: { title: string; tasks: readonly TaskStatistics[]; none?: string }) {
  return (
    <Section title={title}>
      {tasks.length === 0 ? (
        <p class="faint">{none ?? 'No run has started.'}</p>
      ) : (
        <Table
          label={title}
          columns={COLUMNS}
          rows={tasks.slice(0, MAX_TASKS)}
          keyOf={(task) => task.taskIdentifier}
          linkOf={(task) => pathIn('tasks', task.taskIdentifier)}
        />
      )}
    </Section>
  );
}
