// Names that the environment knows: tasks, queues and versions, for suggestions and pickers.

import { get } from '../api/client';
import type { DeploymentItem, TaskItem } from '../api/types';
import { useQuery, type Query } from './query';
import { environment } from './session';

/** The machine presets of the API. */
export const MACHINES = ['micro', 'small-1x', 'small-2x', 'medium-1x', 'medium-2x', 'large-1x', 'large-2x'] as const;

/** Names change seldom. */
const EVERY_MS = 60_000;

interface KnownQueues {
  tasks: string[];
  /** As the API names them: a task's own is `task/<id>`. */
  queues: string[];
}

/** Tasks and queues; every task has a queue of its own or a named one. */
export function useKnownQueues(): KnownQueues {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/known-queues`,
    (signal) => get('/api/v1/queues', { query: { perPage: '100' }, signal }),
    {
      every: () => EVERY_MS,
    },
  );
  const queues = found.data?.data ?? [];
  return {
    tasks: queues.filter((queue) => queue.type === 'task').map((queue) => queue.name),
    queues: queues.map((queue) => (queue.type === 'task' ? `task/${queue.name}` : queue.name)),
  };
}

/** The newest deployments, newest first, 100 at most. */
export function useDeployments(slug = environment.value?.slug): DeploymentItem[] | undefined {
  const found = useQuery(
    slug ? `${slug}/deployments/newest` : undefined,
    (signal) => get('/api/v1/deployments', { query: { 'page[size]': '100' }, environment: slug, signal }),
    { every: () => EVERY_MS },
  );
  return found.data?.data;
}

/** A task with the version that it runs on. */
export interface DeployedTask extends TaskItem {
  version: string;
  component: string;
}

/** The tasks of the versions that are current, by name; of no environment, none. */
export function useTasks(slug = environment.value?.slug): Query<DeployedTask[]> {
  const current = useDeployments(slug)?.filter((item) => item.isCurrent);
  return useQuery(
    current && `${slug}/tasks/${current.map((item) => item.version).join()}`,
    async (signal) => {
      const ask = (item: DeploymentItem) =>
        get('/api/v1/deployments/{deployment}', { path: { deployment: item.version }, environment: slug, signal });
      return tasksOf(await Promise.all((current ?? []).map(ask)));
    },
    { keepsOld: true, isFixed: true },
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
