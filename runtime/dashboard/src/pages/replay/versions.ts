// The versions on which a task can run, and what the chosen one wants of a payload.

import { get } from '../../api/client';
import type { DeploymentItem } from '../../api/types';
import { day } from '../../core/format';
import { useDeployments, useTasks } from '../../core/known';
import { useQuery } from '../../core/query';

export interface Versions {
  /** For a select: the current one first, which is meant by an empty value. */
  options: (readonly [version: string, label: string])[];
  /** What the chosen version wants; `undefined` if it does not say. */
  schema: unknown;
  /** Whether the chosen version is known not to have the task. */
  isMissing: boolean;
}

/** `chosen` is a version, or empty for the current one. */
export function useVersions(slug: string, task: string, chosen: string): Versions {
  const deployments = useDeployments(slug);
  const current = useTasks(slug).data?.find((known) => known.id === task);
  const own = deployments?.filter((item) => current === undefined || item.component === current.component) ?? [];
  const picked = useQuery(
    chosen && slug ? `${slug}/deployment/${chosen}` : undefined,
    (signal) => get('/api/v1/deployments/{deployment}', { path: { deployment: chosen }, environment: slug, signal }),
    { isFixed: true },
  );
  const pickedTask = picked.data?.tasks?.find((known) => known.id === task);
  return {
    options: [
      ['', current ? `The current one (${current.version})` : 'The current one'],
      ...own.map((item) => [item.version, label(item)] as const),
    ],
    schema: (chosen ? pickedTask : current)?.payloadSchema,
    isMissing: chosen !== '' && picked.data !== undefined && pickedTask === undefined,
  };
}

/** What there is to say beside the payload. */
export function noteOf({ schema, isMissing }: Versions): string | undefined {
  if (isMissing) return 'This version does not have the task.';
  return schema ? 'Checked against the schema that the version declares.' : undefined;
}

function label(item: DeploymentItem): string {
  const state = item.isCurrent ? 'current' : item.deployedAt ? 'promoted before' : 'never promoted';
  return `${item.version} ${item.component}, ${state}, ${day(Date.parse(item.createdAt))}`;
}
