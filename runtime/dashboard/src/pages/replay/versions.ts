// The versions on which a task can run, and what the current one wants of a payload.

import type { DeploymentItem } from '../../api/types';
import { moment } from '../../core/format';
import { useDeployments, useTasks } from '../../core/known';

export interface Versions {
  /** For a select: the current one first, which is meant by an empty value. */
  options: (readonly [version: string, label: string])[];
  /** Of the current version of the task. */
  schema: unknown;
}

export function useVersions(slug: string, task: string): Versions {
  const deployments = useDeployments(slug);
  const owner = useTasks(slug).data?.find((known) => known.id === task);
  const own = deployments?.filter((item) => owner === undefined || item.component === owner.component) ?? [];
  return {
    options: [
      ['', owner ? `The current one (${owner.version})` : 'The current one'],
      ...own.map((item) => [item.version, label(item)] as const),
    ],
    schema: owner?.payloadSchema,
  };
}

function label(item: DeploymentItem): string {
  const state = item.isCurrent ? 'current' : item.deployedAt ? 'promoted before' : 'never promoted';
  return `${item.version} ${item.component}, ${state}, ${moment(Date.parse(item.createdAt))}`;
}
