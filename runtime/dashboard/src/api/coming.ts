// Shapes of routes that the server is about to have; gone once `npm run api` has read them from it.

import type { components } from './schema';

type Schemas = components['schemas'];

export interface CallItem {
  seq: number;
  attempt: number;
  kind: string;
  target: string;
  arguments?: string;
  at?: string;
  durationMs?: number;
  http?: { method: string; url: string; host: string; status?: number; requestBytes?: number; responseBytes?: number };
  error?: string;
  isUnanswered?: boolean;
  runIds?: string[];
  tokenId?: string;
}

export interface CallList {
  calls: CallItem[];
  isCut: boolean;
  note?: string;
}

export interface ReplayNow {
  output?: unknown;
  error?: { name?: string; message: string; stackTrace?: string };
  logs: { level: string; message: string; source: string }[];
  outputIsCut?: boolean;
  logsAreCut?: boolean;
}

export interface ComparedRun {
  runId: string;
  taskIdentifier: string;
  version?: string;
  isRecorded: boolean;
}

export interface RunComparison {
  then: ComparedRun;
  now: ComparedRun;
  comparison: Schemas['Comparison'];
  notes: string[];
}

export interface BatchListItem {
  id: string;
  status: Schemas['BatchDetails']['status'];
  idempotencyKey?: string;
  createdAt: string;
  runCount: number;
  parentRunId?: string;
  counts: { succeeded: number; failed: number; unfinished: number; withoutRun: number };
}

interface StoredRules {
  rules: Record<string, unknown>;
  updatedAt?: string;
}

interface Answered<A> {
  parameters: { query?: Record<string, string> };
  responses: { 200: { content: { 'application/json': A } } };
}

declare module './schema' {
  interface paths {
    '/api/v1/runs/{run}/calls': { get: Answered<CallList> };
    '/api/v1/runs/{run}/context': { get: Answered<{ context: Record<string, unknown>; isRecorded: boolean }> };
    '/api/v1/runs/{run}/comparison': { get: Answered<RunComparison> };
    '/api/v1/replay-rules': {
      get: Answered<StoredRules>;
      put: Answered<StoredRules> & { requestBody: { content: { 'application/json': StoredRules } } };
    };
    '/api/v1/batches': { get: Answered<{ data: BatchListItem[]; pagination: Schemas['Pagination'] }> };
  }
}
