// The run as its task sees it in `ctx`, put together from what the API says of the run. Pure. What the
// API does not say is left out.

import type { EnvironmentItem, RunDetails } from '../../api/types';

export function contextOf(run: RunDetails, environment: EnvironmentItem | undefined): Record<string, unknown> {
  return {
    task: { id: run.taskIdentifier },
    run: {
      id: run.id,
      tags: run.tags,
      isTest: run.isTest,
      isReplay: run.isReplay,
      replayedFrom: run.replayedFrom,
      createdAt: run.createdAt,
      startedAt: run.startedAt,
      idempotencyKey: run.idempotencyKey,
      maxAttempts: run.maxAttempts,
      maxDuration: run.maxDuration,
      priority: run.priority,
      version: run.version,
      parentTaskRunId: run.relatedRuns.parent?.id,
      rootTaskRunId: run.relatedRuns.root?.id,
    },
    attempt: { number: run.attemptCount },
    queue: { name: run.queue },
    environment: environment && { id: environment.id, slug: environment.slug, type: environment.type },
    deployment: run.version ? { version: run.version, runtime: 'wasm' } : undefined,
    batch: run.batchId ? { id: run.batchId } : undefined,
    machine: run.machine ? { name: run.machine } : undefined,
  };
}
