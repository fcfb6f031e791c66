// The tasks of the environment: what can be triggered, and by which version.

import { get } from '../../api/client';
import type { TaskStatistics } from '../../api/types';
import { count, duration } from '../../core/format';
import { useTasks, type DeployedTask } from '../../core/known';
import { useQuery } from '../../core/query';
import { query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Page } from '../../ui/Page';
import { PeriodPicker } from '../../ui/Series';
import { TaskSparks } from '../../ui/Spark';
import { FailureShare } from '../../ui/FailureShare';
import { Empty, Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';

const EVERY_MS = 10_000;

export function TasksPage() {
  const slug = environment.value?.slug;
  const period = query.value.get('period') ?? '24h';
  const found = useTasks();
  const overview = useQuery(
    slug && `${slug}/overview/${period}`,
    (signal) => get('/api/v1/overview', { query: { period }, signal }),
    {
      every: () => EVERY_MS,
      keepsOld: true,
    },
  );
  const statistics = new Map(overview.data?.tasks.map((task) => [task.taskIdentifier, task]));
  return (
    <Page title="Tasks" actions={<PeriodPicker value={period} onChange={(to) => setQuery({ period: to }, true)} />}>
      <Loaded query={found}>
        {(tasks) =>
          tasks.length === 0 ? (
            <Empty title="No task is deployed yet">
              <p>
                Tasks come with a <a href={pathIn('deployments')}>deployment</a> that is current.
              </p>
              <pre>dacapo deploy target/wasm32-wasip2/release/my_tasks.wasm</pre>
            </Empty>
          ) : (
            <Table
              label="Tasks"
              columns={columnsOf(statistics, period)}
              rows={tasks}
              keyOf={(task) => task.id}
              linkOf={(task) => pathIn('tasks', task.id)}
              keyboard="List"
            />
          )
        }
      </Loaded>
    </Page>
  );
}

function columnsOf(statistics: ReadonlyMap<string, TaskStatistics>, period: string): Column<DeployedTask>[] {
  const ms = (value: number | null | undefined) => (value == null ? <span class="faint">–</span> : duration(value));
  return [
    { title: 'Task', cell: (task) => task.id },
    { title: 'Ended, and how long', cell: (task) => statistics.has(task.id) && <TaskSparks task={task.id} period={period} /> },
    { title: 'Runs', cell: (task) => count(totalOf(statistics.get(task.id))), isNumber: true },
    { title: 'Failed', cell: (task) => <FailureShare of={statistics.get(task.id)} />, isNumber: true },
    { title: 'p50', cell: (task) => ms(statistics.get(task.id)?.p50Ms), isNumber: true },
    { title: 'p99', cell: (task) => ms(statistics.get(task.id)?.p99Ms), isNumber: true },
    { title: 'Description', cell: (task) => <span class="faint">{task.description}</span>, isWide: true },
    { title: 'Version', cell: (task) => <a href={pathIn('deployments', task.version)}>{task.version}</a> },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (task) => <a href={`${pathIn('runs')}?taskIdentifier=${encodeURIComponent(task.id)}`}>Runs</a>,
    },
  ];
}

function totalOf(task: TaskStatistics | undefined): number {
  return task ? task.completed + task.failed + task.dropped : 0;
}
