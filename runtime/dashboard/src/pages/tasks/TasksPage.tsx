// The tasks of the environment: what can be triggered, and by which version.

import { get } from '../../api/client';
import type { DeploymentItem, TaskItem } from '../../api/types';
import { useDeployments } from '../../core/known';
import { useQuery, type Query } from '../../core/query';
import { environment, pathIn } from '../../core/session';
import { Page } from '../../ui/Page';
import { Empty, Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';

export interface DeployedTask extends TaskItem {
  version: string;
  component: string;
}

/** The tasks of the versions that are current. */
export function useTasks(): Query<DeployedTask[]> {
  const slug = environment.value?.slug;
  const current = useDeployments()?.filter((item) => item.isCurrent);
  return useQuery(
    current && `${slug}/tasks/${current.map((item) => item.version).join()}`,
    async (signal) => {
      const details = await Promise.all(
        (current ?? []).map((item) => get('/api/v1/deployments/{deployment}', { path: { deployment: item.version }, signal })),
      );
      return tasksOf(details);
    },
    { keepsOld: true },
  );
}

/** A task is of the newest version that has it. */
function tasksOf(deployments: readonly DeploymentItem[]): DeployedTask[] {
  const tasks = new Map<string, DeployedTask>();
  for (const item of [...deployments].reverse()) {
    for (const task of item.tasks ?? []) tasks.set(task.id, { ...task, version: item.version, component: item.component });
  }
  return [...tasks.values()].sort((one, other) => one.id.localeCompare(other.id));
}

const COLUMNS: Column<DeployedTask>[] = [
  { title: 'Task', cell: (task) => task.id },
  { title: 'Version', cell: (task) => <a href={pathIn('deployments', task.version)}>{task.version}</a> },
  { title: 'Queue', cell: (task) => <span class="faint">{task.queue}</span> },
  { title: 'Cron', cell: (task) => task.cron && <code>{task.cron}</code> },
  { title: 'Attempts', cell: (task) => task.maxAttempts, isNumber: true },
  { title: 'Description', cell: (task) => <span class="faint">{task.description}</span>, isWide: true },
  { title: '', cell: (task) => <a href={`${pathIn('runs')}?taskIdentifier=${encodeURIComponent(task.id)}`}>Runs</a> },
];

export function TasksPage() {
  const found = useTasks();
  return (
    <Page title="Tasks">
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
            <Table label="Tasks" columns={COLUMNS} rows={tasks} keyOf={(task) => task.id} linkOf={(task) => pathIn('tasks', task.id)} keyboard="List" />
          )
        }
      </Loaded>
    </Page>
  );
}
