// Shapes of routes that the server is about to have; gone once `npm run api` has read them from it.

import type { components } from './schema';

type Schemas = components['schemas'];

export interface BatchListItem {
  id: string;
  status: Schemas['BatchDetails']['status'];
  idempotencyKey?: string;
  createdAt: string;
  runCount: number;
  parentRunId?: string;
  counts: { succeeded: number; failed: number; unfinished: number; withoutRun: number };
}

interface BatchList {
  data: BatchListItem[];
  pagination: Schemas['Pagination'];
}

declare module './schema' {
  interface paths {
    '/api/v1/batches': {
      get: {
        parameters: { query?: Record<string, string> };
        responses: { 200: { content: { 'application/json': BatchList } } };
      };
    };
  }
}
