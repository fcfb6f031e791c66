// The versions on which a task can run, and what the chosen one wants of a payload.

import { get } from '../../api/client';
import type { DeploymentItem } from '../../api/types';
import { moment } from '../../core/format';
import { useDeployments } from '../../core/known';
import { useQuery } from '../../core/query';

export interface Versions {
  /** For a select: the current one first, which is meant by an empty value. */
  options: (readonly [version: string, label: string])[];
  /** Of the current version of the task. */
  schema: unknown;
}

/** Details of deployments are read for the components whose current version has the task. */
export function useVersions(slug: string, task: string): Versions {
  const deployments = useDeployments(slug);
  const current = deployments?.filter((item) => item.isCurrent) ?? [];
  const found = useQuery(deployments && `${slug}/versions-of/${task}/${current.map((item) => item.version).join()}`, (signal) =>
    ownerOf(current, task, signal),
  );
  const owner = found.data?.owner;
  const own = deployments?.filter((item) => owner === undefined || item.component === owner.component) ?? [];
  const label = (item: DeploymentItem) => {
    const when = moment(Date.parse(item.createdAt));
    return `${item.version} ${item.component}, ${item.isCurrent ? 'current' : item.deployedAt ? 'promoted before' : 'never promoted'}, ${when}`;
  };
  return {
    options: [
      ['', owner ? `The current one (${owner.version})` : 'The current one'],
      ...own.map((item) => [item.version, label(item)] as const),
    ],
    schema: found.data?.schema,
  };
}

async function ownerOf(current: DeploymentItem[], task: string, signal: AbortSignal) {
  for (const item of current) {
    const details = await get('/api/v1/deployments/{deployment}', { path: { deployment: item.version }, signal });
    const found = details.tasks?.find((known) => known.id === task);
    if (found) return { owner: item, schema: found.payloadSchema };
  }
  return { owner: undefined, schema: undefined };
}
