// All paths of the API that the page knows: those of the document, and those of the statistics,
// which the document of the next build has, too.

import type { paths } from './schema';

type Reply<T> = { 200: { content: { 'application/json': T } } };
type Get<T, Q = never> = { get: { parameters: { query?: Q }; responses: Reply<T> } };

export interface Series {
  from: string;
  stepSeconds: number;
  completed: number[];
  failed: number[];
  dropped: number[];
  p50Ms: (number | null)[];
  p99Ms: (number | null)[];
}

export interface TaskStatistics {
  taskIdentifier: string;
  completed: number;
  failed: number;
  dropped: number;
  p50Ms?: number;
  p99Ms?: number;
}

export interface Overview {
  now: { executing: number; queued: number; waiting: number; delayed: number; pendingVersion: number; oldestQueuedAt?: string };
  ended: { completed: number; failed: number; dropped: number };
  series: Series;
  tasks: TaskStatistics[];
  isCut: boolean;
}

export interface ErrorGroupItem {
  fingerprint: string;
  taskIdentifier: string;
  name: string;
  message: string;
  count: number;
  firstSeenAt: string;
  lastSeenAt: string;
  lastRunId: string;
  versions: string[];
}

interface StatisticsPaths {
  '/api/v1/overview': Get<Overview, { period?: string }>;
  '/api/v1/tasks/{task}/statistics': Get<TaskStatistics & { series: Series; isCut: boolean }, { period?: string }>;
  '/api/v1/errors': Get<{ data: ErrorGroupItem[] }, { period?: string }>;
  '/api/v1/runs/count': Get<{ count: number; isMore: boolean }, Record<string, string | undefined>>;
}

/** What lists say of a run beside what they said before. */
export interface RunItemMore {
  queue?: string;
  attemptCount?: number;
  error?: { name?: string; message: string };
}

/** What the page of a run says beside what it said before. */
export interface RunDetailsMore {
  concurrencyKey?: string;
  priority?: number;
  machine?: string;
  maxAttempts?: number;
  maxDuration?: number;
  bulkActionId?: string;
}

export type Paths = paths & StatisticsPaths;
