// Names that the environment knows: tasks, queues and versions, for suggestions and pickers.

import { get } from '../api/client';
import type { DeploymentItem, TaskItem } from '../api/types';
import { useQuery, type Query } from './query';
import { environment } from './session';

/** The machine presets of the API. */
export const MACHINES = ['micro', 'small-1x', 'small-2x', 'medium-1x', 'medium-2x', 'large-1x', 'large-2x'] as const;

/** Pages of 100 names that are read at most. */
const MAX_PAGES = 5;
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
    async (signal) => {
      const read = (page: number) => get('/api/v1/queues', { query: { page: String(page), perPage: '100' }, signal });
      const first = await read(1);
      const pages = Math.min(first.pagination.totalPages, MAX_PAGES);
      const others = await Promise.all(Array.from({ length: pages - 1 }, (_, place) => read(place + 2)));
      return [first, ...others].flatMap((page) => page.data);
    },
    { every: () => EVERY_MS },
  );
  const queues = found.data ?? [];
  return {
    tasks: queues.filter((queue) => queue.type === 'task').map((queue) => queue.name),
    queues: queues.map((queue) => (queue.type === 'task' ? `task/${queue.name}` : queue.name)),
  };
}

/** The newest deployments, newest first, 500 at most. */
export function useDeployments(slug = environment.value?.slug): DeploymentItem[] | undefined {
  const found = useQuery(
    slug ? `${slug}/deployments/newest` : undefined,
    async (signal) => {
      const items: DeploymentItem[] = [];
      let next: string | undefined;
      for (let page = 0; page < MAX_PAGES && (page === 0 || next); page++) {
        const query = { 'page[size]': '100', 'page[after]': next };
        const found = await get('/api/v1/deployments', { query, environment: slug, signal });
        items.push(...found.data);
        next = found.pagination.next;
      }
      return items;
    },
    { every: () => EVERY_MS },
  );
  return found.data;
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
